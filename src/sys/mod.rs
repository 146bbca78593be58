//! The operating system as values: environment, clock, paths, processes, files, signals.

pub mod clock;
pub mod env;
pub mod paths;
