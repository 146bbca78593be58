//! One file per feature that a user would notice.

mod ci_env;
mod config_command;
mod config_files;
mod embedded;
mod exec;
mod executor;
mod git;
mod git_patch_property;
mod layer;
mod multiwerf;
mod registry;
mod slug;
mod template;
mod ui;
mod yaml;
