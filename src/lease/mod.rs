//! What a process owns, written down before it is made, and whether its owner still lives.
//!
//! A process id alone comes back after a while, so an [`Owner`] is the id, the moment the process started and the boot of
//! the machine. Whoever finds something whose owner is dead may clear it.

use std::fs;
use std::io;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    /// Clock ticks between boot and the start of the process.
    pub started: u64,
    /// Random id of the boot.
    pub boot: String,
}

impl Owner {
    /// This process.
    pub fn current() -> io::Result<Self> {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        let pid = std::process::id();
        if let Some(owner) = CURRENT.get().filter(|owner| owner.pid == pid) {
            return Ok(owner.clone());
        }
        let started = start_time(pid)
            .ok_or_else(|| io::Error::other("cannot read the start time of this process from `/proc/self/stat`"))?;
        let owner = Self { pid, started, boot: boot_id()? };
        let _ = CURRENT.set(owner.clone());
        Ok(owner)
    }

    /// Whether that very process still runs. In doubt (`/proc` unreadable) it does.
    pub fn is_alive(&self) -> bool {
        boot_id().map_or(true, |boot| boot == self.boot) && start_time(self.pid) == Some(self.started)
    }
}

/// The 22nd field of `/proc/<pid>/stat`; the name in the second may contain anything, so fields count from its last `)`.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_namesakes_do_not() {
        let me = Owner::current().unwrap();
        assert!(me.is_alive());
        assert!(!Owner { started: me.started + 1, ..me.clone() }.is_alive(), "the same id, started later");
        assert!(!Owner { boot: "another".to_owned(), ..me.clone() }.is_alive(), "before the last boot");
    }

    #[test]
    fn a_process_that_ended_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner { pid: child.id(), started: start_time(child.id()).unwrap(), boot: boot_id().unwrap() };
        assert!(owner.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!owner.is_alive());
    }
}
