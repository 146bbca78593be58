//! A file per user-visible feature.

mod config_command;
mod config_files;
mod multiwerf;
mod slug;
mod template;
mod yaml;
