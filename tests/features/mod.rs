//! One file per user-visible feature.

mod ci_env;
mod multiwerf;
mod registry;
mod slug;
mod ui;
