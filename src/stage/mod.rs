//! What a stage is, what it depends on, and which stored one fits. Pure.

pub mod mapping;
