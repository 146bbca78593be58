pub mod program;
//! What the tests share.

pub mod git_repo;
