//! What the tests share.

pub mod fault_registry;
pub mod program;
pub mod project;
