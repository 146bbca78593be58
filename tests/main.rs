//! One test binary: a file per user-visible feature, contract suites over the traits, and what they share.

mod contract;
mod features;
mod support;
