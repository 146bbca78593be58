//! A file per user-visible feature.

mod config;
mod yaml;
mod multiwerf;
mod slug;
