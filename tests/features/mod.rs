//! One file per user-visible feature.

mod ci_env;
mod config_command;
mod config_files;
mod exec;
mod executor;
mod gitlab_runner;
mod multiwerf;
mod registry;
mod settings;
mod slug;
mod template;
mod ui;
mod yaml;
