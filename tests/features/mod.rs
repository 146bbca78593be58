//! (see the modules)

mod template;
