//! The operating system as values: environment, clock, paths, processes, files, signals.

pub mod clock;
pub mod env;
pub mod exterminator;
pub mod files;
pub mod paths;
pub mod process;
pub mod process_table;
pub mod project_tree;
pub mod remove;
pub mod signal;
