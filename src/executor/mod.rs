pub mod error;
pub mod job;
pub mod state;
pub mod sub_stage;
