//! One file per user-visible feature.

mod registry;
