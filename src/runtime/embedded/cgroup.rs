//! Control groups: what the child could not say before its end, and what it could not take away.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;
use rustix::process::{Pid, Signal};

use crate::runtime::Limits;
use crate::sys::paths::in_user_namespace;

const ROOT: &str = "/sys/fs/cgroup";
/// For how long the dead may stay in a group.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Those limits that we may set here: their controllers are there and ours to write.
pub fn enforceable(limits: &Limits) -> Limits {
    Limits {
        memory: limits.memory.filter(|_| is_ours("memory")),
        pids: limits.pids.filter(|_| is_ours("pids")),
        cpus: limits.cpus.filter(|_| is_ours("cpu")),
    }
}

fn is_ours(controller: &str) -> bool {
    let root = Path::new(ROOT);
    let version_1 = root.join(controller);
    let hierarchy = if version_1.join("cgroup.procs").exists() {
        version_1
    } else {
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_ascii_whitespace().any(|name| name == controller) {
            return false;
        }
        root.to_owned()
    };
    !in_user_namespace() && rustix::fs::access(&hierarchy, Access::WRITE_OK).is_ok()
}

/// Whether memory can be limited together with swap. Version 2 always counts it, but need not where there is none.
pub fn counts_swap() -> bool {
    let memory = Path::new(ROOT).join("memory");
    if memory.join("cgroup.procs").exists() {
        return memory.join("memory.memsw.limit_in_bytes").exists();
    }
    fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1)
}

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
        remove_when_empty(&directory);
    }
}

/// What was killed leaves its group a moment later.
fn remove_when_empty(directory: &Path) {
    for _ in 0..ATTEMPTS {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            _ => return,
        }
    }
}

/// Version 2 has one hierarchy, version 1 one for each controller.
fn directories(group: &str) -> Vec<PathBuf> {
    let group = group.trim_start_matches('/');
    let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = hierarchies.chain([PathBuf::from(ROOT)]).map(|hierarchy| hierarchy.join(group));
    all.filter(|directory| directory.is_dir()).collect()
}
