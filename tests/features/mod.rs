//! One file per feature that a user would notice.
//! One file per user-visible feature.

mod config_command;
mod config_files;
mod embedded;
mod git;
mod layer;
//! One file per user-visible feature.

mod ci_env;
mod config;
mod multiwerf;
mod registry;
mod slug;
mod ui;
mod yaml;
//! (see the modules)

mod template;
mod yaml;
mod git_patch_property;
