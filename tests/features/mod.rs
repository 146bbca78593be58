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
