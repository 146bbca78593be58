//! What a process owns, written down before it is made, and whether its owner still lives.
//!
//! A process id alone comes back after a while, so an [`Owner`] is the id, the moment the process started and the boot of
//! the machine. Whoever finds something whose owner is dead may clear it.
//!
//! Each job of a runner has a pid namespace of its own, in which the ids of others mean nothing. There a process tells
//! that it lives by an abstract socket that it keeps bound and the kernel gives back when it dies.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
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
    /// Inode of the pid namespace that `pid` counts in; 0, which is none, in what was written before there was this field.
    #[serde(default)]
    pub namespace: u64,
}

impl Owner {
    /// This process.
    pub fn current() -> io::Result<Self> {
        static CURRENT: OnceLock<(Owner, Option<UnixDatagram>)> = OnceLock::new();
        let pid = std::process::id();
        if let Some((owner, _)) = CURRENT.get().filter(|(owner, _)| owner.pid == pid) {
            return Ok(owner.clone());
        }
        let started = start_time(pid)
            .ok_or_else(|| io::Error::other("cannot read the start time of this process from `/proc/self/stat`"))?;
        let owner = Self { pid, started, boot: boot_id()?, namespace: namespace()? };
        let sign = owner.sign_of_life()?;
        CURRENT.get_or_init(|| (owner.clone(), UnixDatagram::bind_addr(&sign).ok()));
        Ok(owner)
    }

    /// Whether that very process still runs. In doubt (`/proc` unreadable) it does.
    pub fn is_alive(&self) -> bool {
        if boot_id().is_ok_and(|boot| boot != self.boot) {
            return false;
        }
        match namespace() {
            Ok(namespace) if namespace == self.namespace => start_time(self.pid) == Some(self.started),
            _ => self.gives_sign_of_life(),
        }
    }

    fn gives_sign_of_life(&self) -> bool {
        let connect = || UnixDatagram::unbound()?.connect_addr(&self.sign_of_life()?);
        !matches!(connect().map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionRefused))
    }

    fn sign_of_life(&self) -> io::Result<SocketAddr> {
        let Self { pid, started, boot, namespace } = self;
        SocketAddr::from_abstract_name(format!("slipway/{boot}/{namespace}/{pid}/{started}"))
    }
}

fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
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
    fn in_another_pid_namespace_the_socket_tells() {
        let elsewhere = Owner { namespace: 1, ..Owner::current().unwrap() };
        assert!(!elsewhere.is_alive());
        let _sign = UnixDatagram::bind_addr(&elsewhere.sign_of_life().unwrap()).unwrap();
        assert!(elsewhere.is_alive());
    }

    #[test]
    fn a_process_that_ended_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner {
            pid: child.id(),
            started: start_time(child.id()).unwrap(),
            boot: boot_id().unwrap(),
            namespace: namespace().unwrap(),
        };
        assert!(owner.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!owner.is_alive());
    }
}
