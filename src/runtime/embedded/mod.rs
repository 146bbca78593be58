//! The embedded, daemonless runtime.
