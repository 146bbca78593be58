//! A file per user-visible feature.

mod config;
mod yaml;
