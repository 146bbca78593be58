//! werf.yaml: from templates and text to a typed, checked project (spec/build.md section 1).
//!
//! `model` is what the rest of the program sees; `raw` mirrors the YAML and nothing else; `convert` holds every check;
//! `error` shows a problem with the section it is in.

pub mod model;

pub use model::*;
