//! (see the modules)

mod ui;
