//! What several features need.

pub mod fault_registry;
pub mod git_repo;
pub mod program;
