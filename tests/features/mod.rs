//! (see the modules)

mod layer;
