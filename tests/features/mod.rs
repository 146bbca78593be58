//! (see the modules)
