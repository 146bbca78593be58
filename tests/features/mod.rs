//! One file per user-visible feature.

mod embedded;
mod layer;
mod registry;
