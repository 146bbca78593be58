//! One file per user-visible feature.

mod ci_env;
mod config;
mod exec;
mod executor;
mod multiwerf;
mod registry;
mod slug;
mod ui;
mod yaml;
