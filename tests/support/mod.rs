pub mod program;
//! What the tests share.

pub mod fault_registry;
