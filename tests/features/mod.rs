//! One file per feature that a user would notice.

mod build;
mod build_accidents;
mod ci_env;
mod config_command;
mod config_files;
mod embedded;
mod exec;
mod executor;
mod git;
mod git_patch_property;
mod gitlab_runner;
mod layer;
mod multiwerf;
mod registry;
mod settings;
mod slug;
mod ssh_agent;
mod template;
mod ui;
mod virtual_merge;
mod yaml;
