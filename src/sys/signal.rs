//! Signals that end the run, turned into a token that everything under way listens to.
//!
//! The first one asks: work stops, containers are removed, locks are given back, and the command ends with code 17. A second one
//! does not wait for that.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};

/// `timeout` and others send one signal to the process and to its group: what comes this close together is one request.
const SAME_REQUEST: Duration = Duration::from_millis(200);

const WATCHED: [(SignalKind, &str, u8); 4] = [
    (SignalKind::interrupt(), "SIGINT", 2),
    (SignalKind::terminate(), "SIGTERM", 15),
    (SignalKind::quit(), "SIGQUIT", 3),
    (SignalKind::hangup(), "SIGHUP", 1),
];

/// What was asked of this process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Interruption {
    token: CancellationToken,
    cause: Arc<OnceLock<&'static str>>,
}

impl Interruption {
    /// Watches SIGINT, SIGTERM, SIGQUIT and SIGHUP from now on; those that the parent had set to be ignored (`nohup`) stay so.
    /// Needs a tokio runtime.
    pub fn watch() -> std::io::Result<Self> {
        let ignored = ignored_signals();
        let interruption = Self::default();
        let first = Arc::new(OnceLock::new());
        for (kind, name, number) in WATCHED {
            if ignored >> (number - 1) & 1 == 0 {
                tokio::spawn(listen(signal(kind)?, name, interruption.clone(), first.clone()));
            }
        }
        Ok(interruption)
    }

    /// Cancelled when the run has to end; hand clones (or children) of it down.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Ends the run as a signal would; `cause` is what [`Interruption::cause`] says then.
    pub fn interrupt(&self, cause: &'static str) {
        // The first cause stands.
        let _ = self.cause.set(cause);
        self.token.cancel();
    }

    /// The signal's name, once the run has to end.
    pub fn cause(&self) -> Option<&'static str> {
        self.cause.get().copied()
    }

    /// The error that a command ends with once it was interrupted: `interrupted`, exit code 17.
    pub fn error() -> Error {
        Error::new(ErrorKind::Interrupted, "interrupted")
    }
}

async fn listen(mut signal: Signal, name: &'static str, interruption: Interruption, first: Arc<OnceLock<Instant>>) {
    while signal.recv().await.is_some() {
        if first.get_or_init(Instant::now).elapsed() > SAME_REQUEST {
            std::process::exit(i32::from(ErrorKind::Interrupted.exit_code()));
        }
        interruption.interrupt(name);
    }
}

/// The mask of ignored signals, bit 0 for signal 1; 0 where nobody tells.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    #[test]
    fn the_first_cause_stands() {
        let interruption = Interruption::default();
        assert_eq!(interruption.cause(), None);
        interruption.clone().interrupt("SIGTERM");
        interruption.interrupt("SIGINT");
        assert_eq!(interruption.cause(), Some("SIGTERM"));
        assert!(interruption.token().is_cancelled());
    }

    #[tokio::test]
    #[ignore = "the process that the tests below send signals to"]
    async fn watcher() {
        let interruption = Interruption::watch().unwrap();
        println!("\nready");
        interruption.token().cancelled().await;
        println!("{}", interruption.cause().unwrap());
        tokio::time::sleep(SAME_REQUEST + Duration::from_millis(50)).await;
        println!("slow to end");
        tokio::time::sleep(Duration::from_secs(1000)).await;
    }

    struct Watcher {
        child: Child,
        said: std::io::Lines<BufReader<std::process::ChildStdout>>,
    }

    impl Watcher {
        fn start(before: &str) -> Self {
            let program = std::env::current_exe().unwrap();
            let script = format!("{before} exec \"$0\" --exact sys::signal::tests::watcher --ignored --nocapture");
            let mut child =
                Command::new("sh").arg("-c").arg(script).arg(program).stdout(Stdio::piped()).spawn().unwrap();
            let said = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut watcher = Self { child, said };
            watcher.wait_for("ready");
            watcher
        }

        fn wait_for(&mut self, text: &str) {
            assert!(self.said.any(|line| line.unwrap() == text), "{text} was never said");
        }

        fn send(&self, signal: Signal) {
            let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
            kill_process(pid, signal).unwrap();
        }
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        let mut watcher = Watcher::start("");
        watcher.send(Signal::TERM);
        watcher.send(Signal::TERM);
        watcher.wait_for("SIGTERM");
        watcher.wait_for("slow to end");
        watcher.send(Signal::INT);
        assert_eq!(watcher.child.wait().unwrap().code(), Some(17));
    }

    #[test]
    fn a_signal_that_the_parent_ignores_stays_ignored() {
        let mut watcher = Watcher::start("trap '' HUP;");
        watcher.send(Signal::HUP);
        watcher.send(Signal::QUIT);
        watcher.wait_for("SIGQUIT");
        watcher.child.kill().unwrap();
        watcher.child.wait().unwrap();
    }
}
