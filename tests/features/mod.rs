//! A file per user-visible feature.

mod config_command;
mod config_files;
mod multiwerf;
mod slug;
mod yaml;
//! (see the modules)

mod template;
