//! Publishing: an image's last stage, labelled, under its tags in the images repo (publish-and-cleanup.md section 4).
//!
//! `plan` (what goes where: data) → `push` (look, lock, look again, push) → `report`.

pub mod plan;
pub mod push;
pub mod repo;
pub mod report;

pub use plan::{Publication, TagOptions};
pub use push::{Press, publish};
pub use report::PublishReport;
