//! (see the modules)

mod embedded;
mod layer;
