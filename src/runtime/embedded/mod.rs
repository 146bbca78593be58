//! The runtime without a daemon.

pub mod child;
mod container;
mod marks;
mod overlay;
mod spec;
mod store;
mod terminal;
mod unpack;
mod wire;
