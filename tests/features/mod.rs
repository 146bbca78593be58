//! One file per feature that a user would notice.

mod config_command;
mod config_files;
mod embedded;
mod git;
mod layer;
mod multiwerf;
mod registry;
mod slug;
mod ui;
mod yaml;
//! (see the modules)

mod template;
mod yaml;
mod git_patch_property;
