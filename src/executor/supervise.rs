//! The process between the `run` hook and a script: it sees to it that nothing which the script started outlives it.
//!
//! The hook starts it in a PID namespace of its own where the host allows that; then the kernel ends everything in the
//! namespace together with this process. Elsewhere it is the reaper of all its descendants, and ends them itself.
//!
//! Its stdin is a socket to the hook. The hook sends [`TERMINATE`], or goes away, which means: at once. It gets one
//! [`Message`] line back.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};

use crate::sys::process_table;

/// Asks the script, and all that it started, to end by SIGTERM.
pub(super) const TERMINATE: u8 = b't';
/// How long what was asked to end may take.
const GRACE: Duration = Duration::from_secs(3);
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// How the script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Its exit code; 128 and the signal's number when one ended it, as shells say it.
    Exited(u8),
    /// It could not be started.
    NotStarted(String),
}

impl Message {
    fn line(&self) -> String {
        match self {
            Self::Exited(code) => format!("exited {code}\n"),
            Self::NotStarted(reason) => format!("failed {}\n", reason.replace('\n', " ")),
        }
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        match line.trim_end().split_once(' ')? {
            ("exited", code) => Some(Self::Exited(code.parse().ok()?)),
            ("failed", reason) => Some(Self::NotStarted(reason.to_owned())),
            _ => None,
        }
    }
}

/// Runs a program to its end, and ends what it leaves behind. Called in a process that was made for this.
pub fn supervise(program: &OsStr, args: &[OsString]) -> io::Result<()> {
    let mut hook = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let namespace = enter();
    let message = match Command::new(program).args(args).stdin(Stdio::null()).spawn() {
        Ok(child) => {
            let control = hook.try_clone()?;
            std::thread::Builder::new().spawn(move || obey(control, namespace))?;
            let code = wait(Pid::from_raw(child.id().cast_signed()))?;
            if namespace == Namespace::Shared {
                kill_descendants();
            }
            Message::Exited(code)
        }
        Err(error) => Message::NotStarted(error.to_string()),
    };
    hook.write_all(message.line().as_bytes())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    /// We are its first process; the kernel ends the others with us.
    Own,
    Shared,
}

/// Set when the script was asked to end: then we wait for all that it started, not only for itself.
static TERMINATING: AtomicBool = AtomicBool::new(false);

/// Leaves the hook's session and signal mask, and takes charge of whatever the script will start.
fn enter() -> Namespace {
    let _ = setsid();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    if std::process::id() == 1 {
        // Without a /proc of the namespace's own, programs see numbers of processes that are not theirs.
        if let Err(error) = mount_proc() {
            eprintln!("Warning: the job sees the host's processes: cannot mount its own /proc: {error}");
        }
        return Namespace::Own;
    }
    let _ = nix::sys::prctl::set_child_subreaper(true);
    Namespace::Shared
}

fn mount_proc() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Mounts of the host still come in; none of ours get out.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NONE)
}

/// Does what the hook says, and ends everything when the hook is gone.
fn obey(mut hook: UnixStream, namespace: Namespace) {
    let mut byte = [0];
    while let Ok(1) = hook.read(&mut byte) {
        if byte == [TERMINATE] && !TERMINATING.swap(true, Ordering::Relaxed) {
            signal_all(namespace, Signal::SIGTERM);
            let _ = hook.set_read_timeout(Some(GRACE));
        }
    }
    if namespace == Namespace::Shared {
        kill_descendants();
    }
    std::process::exit(1);
}

fn signal_all(namespace: Namespace, signal: Signal) {
    match namespace {
        Namespace::Own => drop(kill(Pid::from_raw(-1), signal)),
        Namespace::Shared => {
            for pid in process_table::descendants().unwrap_or_default() {
                let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
            }
        }
    }
}

/// Waits for the script, and for whatever becomes our child meanwhile.
fn wait(script: Pid) -> io::Result<u8> {
    let mut code = None;
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == script => code = Some(status.to_le_bytes()[0]),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == script => {
                code = Some(128u8.saturating_add((signal as i32).to_le_bytes()[0]));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => break,
            Err(error) => return Err(error.into()),
        }
        if code.is_some() && !TERMINATING.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(code.unwrap_or(1))
}

/// Ends all descendants, also those that are started meanwhile. A process in an uninterruptible call is given up.
fn kill_descendants() {
    let deadline = Instant::now() + KILL_DEADLINE;
    while Instant::now() < deadline {
        // Stopped first, so that they cannot start others while we go through the list.
        signal_all(Namespace::Shared, Signal::SIGSTOP);
        signal_all(Namespace::Shared, Signal::SIGKILL);
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(_) => return,
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => {}
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
