//! A file per user-visible feature.

mod config;
mod multiwerf;
mod slug;
mod yaml;
