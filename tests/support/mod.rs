//! What the tests share.

pub mod coordinator;
pub mod fault_registry;
pub mod program;
pub mod project;
