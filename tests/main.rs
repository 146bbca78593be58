//! One test binary: a file per user-visible feature, contract suites over the traits, and what they share.

// A test that fails shall fail loudly.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod contract;
mod features;
mod support;
