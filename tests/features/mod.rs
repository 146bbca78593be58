//! (see the modules)

mod embedded;
mod layer;
//! One file per user-visible feature.

mod registry;
