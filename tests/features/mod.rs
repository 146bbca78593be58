//! One file per feature that a user would notice.

mod git;
