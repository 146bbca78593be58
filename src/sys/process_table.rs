//! Processes of this host, as `/proc` shows them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

/// One process for as long as it lives: its number alone may come back as another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: u32,
    /// Clock ticks between the start of the system and that of the process.
    pub start_time: u64,
    pub boot_id: String,
}

impl ProcessIdentity {
    pub fn of_this_process() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start_time: Stat::of(pid)?.start_time, boot_id: boot_id()? })
    }

    /// Whether this very process still runs. A process that has ended and was not waited for does not.
    pub fn is_alive(&self) -> bool {
        let same = |stat: Stat| stat.start_time == self.start_time && stat.state != b'Z';
        boot_id().is_ok_and(|id| id == self.boot_id) && Stat::of(self.pid).is_ok_and(same)
    }
}

/// What we read of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    pub state: u8,
    pub parent: u32,
    pub group: u32,
    pub start_time: u64,
}

impl Stat {
    pub fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown form of /proc/PID/stat"))
    }

    /// The name of the program may hold anything, so fields are counted from its closing parenthesis.
    fn parse(text: &[u8]) -> Option<Self> {
        let after_name = text.get(text.iter().rposition(|byte| *byte == b')')? + 1..)?;
        let fields: Vec<&str> = std::str::from_utf8(after_name).ok()?.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            parent: number(1)?,
            group: number(2)?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The nearest ancestor outside our process group: who started the hook, whatever wrapper scripts stand between.
pub fn starter() -> io::Result<u32> {
    let own_group = Stat::of(std::process::id())?.group;
    let mut pid = std::os::unix::process::parent_id();
    if pid == 0 {
        // Our parent is outside of our PID namespace; the namespace's first process is the nearest we can see.
        return Ok(1);
    }
    loop {
        let stat = Stat::of(pid)?;
        if stat.group != own_group || stat.parent == 0 {
            return Ok(pid);
        }
        pid = stat.parent;
    }
}

/// Every process below this one.
pub fn descendants() -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Ok(stat) = Stat::of(pid) {
            parents.push((pid, stat.parent));
        }
    }
    let mut found = vec![std::process::id()];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, its_parent)| *its_parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Every other process that has this very file open, as far as we may look.
pub fn with_open(file: &fs::File) -> io::Result<Vec<u32>> {
    let wanted = file.metadata()?;
    let is_same = |entry: io::Result<fs::DirEntry>| {
        let open = entry.and_then(|entry| fs::metadata(entry.path()));
        open.is_ok_and(|open| (open.dev(), open.ino()) == (wanted.dev(), wanted.ino()))
    };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        if pid != std::process::id() && open.any(is_same) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Differs after every start of the system.
fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Seconds since the system started; goes on over suspends and knows nothing of the wall clock.
pub fn uptime() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split('.').next().and_then(|seconds| seconds.parse().ok());
    seconds.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown form of /proc/uptime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_only_while_it_runs() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        assert!(identity.is_alive());
        assert!(!ProcessIdentity { start_time: identity.start_time + 1, ..identity.clone() }.is_alive());
        assert!(!ProcessIdentity { boot_id: "other".into(), ..identity.clone() }.is_alive());
        assert!(descendants().unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }

    #[test]
    fn whoever_has_a_file_open_is_found() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(with_open(&file).unwrap(), [0u32; 0]);
        let stdin = file.try_clone().unwrap();
        let mut child = std::process::Command::new("sleep").arg("100").stdin(stdin).spawn().unwrap();
        assert_eq!(with_open(&file).unwrap(), [child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn names_of_programs_do_not_confuse_the_fields() {
        let text = b"12 (a) Z 1 (b) S 7 8 8 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.start_time), (b'S', 7, 8, 4711));
        assert!(Stat::parse(b"nonsense").is_none());
    }
}
