//! A file per user-visible feature.

mod yaml;
