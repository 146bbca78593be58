//! Where stages live and what is recorded beside them.

pub mod local;
pub mod lock;
pub mod records;

pub use local::{LocalStages, Stored};
pub use lock::Locks;
