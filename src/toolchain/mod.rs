//! What this host lends to build containers: programs that the user's image need not have (decisions 3.6).

use std::path::PathBuf;

/// A bash that needs nothing else: Debian's package `bash-static`. `None` when the host has none.
pub fn static_bash() -> Option<PathBuf> {
    which::which("bash-static").ok()
}
