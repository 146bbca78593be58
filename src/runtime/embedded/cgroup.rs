//! Control groups: what the child could not say before its end, and what it could not take away.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal};

const ROOT: &str = "/sys/fs/cgroup";

/// Whether the kernel killed something in a group for memory.
pub fn was_out_of_memory(group: &str) -> bool {
    let events = [format!("{ROOT}/memory{group}/memory.oom_control"), format!("{ROOT}{group}/memory.events")];
    let killed =
        |text: String| text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0");
    events.iter().filter_map(|path| fs::read_to_string(path).ok()).any(killed)
}

/// Kills what is left in a group and removes it, in every hierarchy, as far as that goes: an empty group does no harm.
pub fn remove(group: &str) {
    for directory in directories(group) {
        let left = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        for pid in left.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_dir(directory);
    }
}

/// Version 2 has one hierarchy, version 1 one for each controller.
fn directories(group: &str) -> Vec<PathBuf> {
    let group = group.trim_start_matches('/');
    let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = hierarchies.chain([PathBuf::from(ROOT)]).map(|hierarchy| hierarchy.join(group));
    all.filter(|directory| directory.is_dir()).collect()
}
