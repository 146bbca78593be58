mod multiwerf;
mod slug;
//! One file per user-visible feature.

mod registry;
//! (see the modules)

mod ui;
