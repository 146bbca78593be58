mod multiwerf;
mod slug;
//! A file per user-visible feature.

mod yaml;
//! (see the modules)

mod ui;
mod layer;
