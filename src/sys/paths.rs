//! What the kernel says of who we are. Where things are kept follows from it in `settings`.

/// Whether this process sees only some user ids: root here is somebody else outside.
pub fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}
