//! Ends this process when one of its ancestors is gone: CI systems that cancel a job kill the job's shell only
//! (spec/publish-and-cleanup.md 8.4).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::signal::Interruption;

/// How often those are looked at that the kernel does not watch for us.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches all ancestors from now on, in a thread. When one is gone, our own pid is added to `killed_pids` (1.1's
/// `<home>/.killed_pids`) and the run is interrupted. Nothing is watched where /proc is missing.
pub fn watch_ancestors(interruption: Interruption, killed_pids: &Path) -> std::io::Result<()> {
    let ancestors = ancestors(std::process::id());
    let killed_pids = killed_pids.to_owned();
    if ancestors.is_empty() {
        return Ok(());
    }
    let watch = move || {
        wait_for_a_death(&ancestors);
        // The note is a courtesy to whoever reads it; without it the run ends all the same.
        let note = OpenOptions::new().create(true).append(true).open(&killed_pids);
        let _ = note.and_then(|mut file| writeln!(file, "{}", std::process::id()));
        interruption.interrupt("the death of a parent process");
    };
    std::thread::Builder::new().name("exterminator".into()).spawn(watch)?;
    Ok(())
}

/// A process that is known by pid and start time, so that a later one with the same pid is not taken for it.
#[derive(Debug)]
struct Ancestor {
    pid: u32,
    started: u64,
    /// Readable once the process has ended; not on kernels before 5.3.
    watched: Option<OwnedFd>,
}

impl Ancestor {
    fn of(pid: u32, started: u64) -> Self {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Self { pid, started, watched: raw.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) }
    }

    /// A process that has ended and waits for its parent to notice (state Z) is gone as well.
    fn is_gone(&self) -> bool {
        !matches!(stat(self.pid), Some(stat) if stat.started == self.started && !matches!(stat.state, 'Z' | 'X'))
    }
}

/// Parent, its parent, and so on, up to the one whose parent nobody knows.
fn ancestors(of: u32) -> Vec<Ancestor> {
    let mut found: Vec<Ancestor> = Vec::new();
    let mut next = stat(of).map(|stat| stat.parent);
    while let Some(pid) = next.filter(|pid| *pid != 0 && found.iter().all(|known| known.pid != *pid)) {
        let Some(stat) = stat(pid) else { break };
        found.push(Ancestor::of(pid, stat.started));
        next = Some(stat.parent);
    }
    found
}

fn wait_for_a_death(ancestors: &[Ancestor]) {
    let all_watched = ancestors.iter().all(|ancestor| ancestor.watched.is_some());
    let pause = Timespec { tv_sec: i64::try_from(LOOK_EVERY.as_secs()).unwrap_or(1), tv_nsec: 0 };
    while !ancestors.iter().any(Ancestor::is_gone) {
        let watched = ancestors.iter().filter_map(|ancestor| ancestor.watched.as_ref());
        let mut watched: Vec<PollFd> = watched.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let ended = poll(&mut watched, (!all_watched).then_some(&pause));
        if matches!(ended, Ok(count) if count > 0) {
            return;
        }
        if ended.is_err() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

struct Stat {
    state: char,
    parent: u32,
    /// Clock ticks since boot.
    started: u64,
}

/// Of `/proc/<pid>/stat`, where the program's name, between parentheses, may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let stat = String::from_utf8_lossy(stat);
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Fields 5 to 21 lie between.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[tokio::test]
    #[ignore = "the process whose parent the test below kills"]
    async fn orphan() {
        let killed_pids = std::env::var_os("KILLED_PIDS").unwrap();
        let interruption = Interruption::default();
        watch_ancestors(interruption.clone(), Path::new(&killed_pids)).unwrap();
        println!("\nwatching {}", std::process::id());
        interruption.token().cancelled().await;
        println!("interrupted by {}", interruption.cause().unwrap());
    }

    /// Acceptance 74 of spec/build.md.
    #[test]
    fn killing_the_parent_interrupts_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let killed_pids = dir.path().join(".killed_pids");
        let script = "\"$0\" --exact sys::exterminator::tests::orphan --ignored --nocapture; :";
        let mut parent = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("KILLED_PIDS", &killed_pids)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(parent.stdout.take().unwrap()).lines().map(Result::unwrap);
        let pid = said.find_map(|line| Some(line.strip_prefix("watching ")?.to_owned())).unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        let after: Vec<String> = said.collect();
        assert!(after.contains(&"interrupted by the death of a parent process".to_owned()), "{after:?}");
        assert_eq!(fs::read_to_string(&killed_pids).unwrap(), format!("{pid}\n"));
    }

    #[test]
    fn ancestors_start_with_the_parent() {
        let mut child = sleeper();
        let found = ancestors(child.id());
        assert_eq!(found.first().map(|ancestor| ancestor.pid), Some(std::process::id()));
        assert!(found.len() > 1 && !found.iter().any(Ancestor::is_gone));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn names_cannot_confuse_the_fields() {
        let stat = b"7 (a) R 99 (b) S 5 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 1";
        let stat = parse_stat(stat).unwrap();
        assert_eq!((stat.state, stat.parent, stat.started), ('S', 5, 4242));
        for broken in [&b""[..], b"7 (a", b"7 (a) S", b"7 (a) S x 1", b"\xff\xfe) S 1 2"] {
            assert!(parse_stat(broken).is_none());
        }
    }

    #[test]
    fn a_death_is_noticed_with_and_without_pidfd() {
        for with_pidfd in [true, false] {
            let mut child = sleeper();
            let mut ancestor = Ancestor::of(child.id(), stat(child.id()).unwrap().started);
            if !with_pidfd {
                ancestor.watched = None;
            }
            let waiting = std::thread::spawn(move || wait_for_a_death(&[ancestor]));
            // Not waited for before the thread has seen it: a zombie is gone, too.
            child.kill().unwrap();
            waiting.join().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_pid_taken_over_by_another_process_counts_as_gone() {
        let mut child = sleeper();
        let started = stat(child.id()).unwrap().started;
        assert!(!Ancestor::of(child.id(), started).is_gone());
        assert!(Ancestor::of(child.id(), started + 1).is_gone());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
