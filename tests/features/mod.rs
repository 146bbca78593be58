//! One file per feature that a user would notice.

mod git;
mod git_patch_property;
