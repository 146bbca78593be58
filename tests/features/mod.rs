//! One file per feature that a user would notice.

mod accidents;
mod build;
mod build_accidents;
mod ci_env;
mod cli;
mod config_command;
mod config_files;
mod embedded;
mod exec;
mod executor;
mod fitting;
mod git;
mod git_patch_property;
mod gitlab_runner;
mod layer;
mod multiwerf;
mod publish;
mod registry;
mod run;
mod settings;
mod slug;
mod template;
mod ui;
mod unprivileged;
mod why;
mod yaml;
