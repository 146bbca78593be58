//! The runtime over Docker Engine.
