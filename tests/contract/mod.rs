//! The same cases over every implementation of a trait.

mod docker;
mod runtime;
