//! A file per user-visible feature.

mod config_command;
mod config_files;
mod multiwerf;
mod slug;
mod yaml;
//! (see the modules)

mod ui;
mod embedded;
mod layer;
//! One file per feature that a user would notice.

mod git;
//! One file per user-visible feature.

mod registry;
