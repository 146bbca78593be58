//! Where we keep things on this host (decisions 5.2).

use std::path::{Path, PathBuf};

use super::env::Env;

/// The directory of everything that outlives a command: `/var/lib/slipway` for root, `$XDG_DATA_HOME/slipway` or
/// `~/.local/share/slipway` for others, `$SLIPWAY_STATE_DIR` before both.
pub fn state_dir(env: &Env) -> PathBuf {
    state_dir_of(env, rustix::process::geteuid().is_root() && !in_user_namespace())
}

/// Whether this process sees only some user ids: root here is somebody else outside.
pub fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}

fn state_dir_of(env: &Env, root: bool) -> PathBuf {
    if let Some(directory) = env.get_os("SLIPWAY_STATE_DIR") {
        return env.current_dir.join(directory);
    }
    if root {
        return PathBuf::from("/var/lib/slipway");
    }
    let data = env.get_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env.get_os("HOME").map_or_else(|| Path::new("/nonexistent"), Path::new).join(".local/share");
    data.unwrap_or_else(home).join("slipway")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_depends_on_who_we_are() {
        let env = |variables: &[(&str, &str)]| Env::literal(variables.iter().copied(), "/srv");
        for (variables, root, expected) in [
            (&[("HOME", "/root")][..], true, "/var/lib/slipway"),
            (&[("HOME", "/home/me")], false, "/home/me/.local/share/slipway"),
            (&[("HOME", "/home/me"), ("XDG_DATA_HOME", "/data")], false, "/data/slipway"),
            (&[("HOME", "/home/me"), ("XDG_DATA_HOME", "data")], false, "/home/me/.local/share/slipway"),
            (&[("SLIPWAY_STATE_DIR", "state")], true, "/srv/state"),
        ] {
            assert_eq!(state_dir_of(&env(variables), root), Path::new(expected), "{variables:?}");
        }
    }
}
