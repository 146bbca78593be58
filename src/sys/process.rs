//! Running a helper program: no stdin, a time limit, bounded memory, and an error that tells what was run and what it said.
//!
//! Arguments are shown in errors and visible to everybody on the host: a secret never goes there, but into the environment or a file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::error::{ErrorKind, Explain};

/// Of stderr the end is kept, where the reason stands.
const STDERR_KEPT: usize = 8 << 10;
/// A helper that says more than this on stdout is out of control.
const STDOUT_LIMIT: usize = 64 << 20;

/// A program to run, with all that its process is given.
#[derive(Debug)]
pub struct Helper {
    arguments: Vec<OsString>,
    variables: Vec<(OsString, Option<OsString>)>,
    current_dir: Option<PathBuf>,
    limit: Option<Duration>,
}

impl Helper {
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { arguments: vec![program.into()], variables: Vec::new(), current_dir: None, limit: None }
    }

    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, beside those of our own process.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), Some(value.into())));
        self
    }

    #[must_use]
    pub fn without_env(mut self, name: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), None));
        self
    }

    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Kills the program, and what it started, when it takes longer.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs it to its end and gives its stdout. Dropping the future kills the program and what it started.
    ///
    /// # Errors
    /// When it cannot be started, ends with another status than 0, takes too long or says too much.
    pub async fn run(self) -> Result<Vec<u8>, ProcessError> {
        let (ended, stdout, stderr) = self.run_to_end().await?;
        if ended.success() {
            return Ok(stdout);
        }
        Err(ProcessError::Failed { command: self.shown(), status: ended, stderr: text(&stderr) })
    }

    async fn run_to_end(&self) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), ProcessError> {
        let mut child = self.command().spawn().map_err(|source| self.cannot_start(source))?;
        let group = Group::of(child.id());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (fits, ()) = tokio::join!(read_up_to_limit(out, &mut stdout), read_end(err, &mut stderr));
            (fits, child.wait().await)
        };
        let limit = self.limit.unwrap_or(Duration::MAX);
        let ended = tokio::time::timeout(limit, work).await;
        match ended {
            Err(_) => Err(ProcessError::TimedOut { command: self.shown(), limit, stderr: text(&stderr) }),
            Ok((false, _)) => Err(ProcessError::TooMuch { command: self.shown() }),
            Ok((true, Err(source))) => Err(ProcessError::Start { command: self.shown(), source }),
            Ok((true, Ok(status))) => {
                group.leave();
                Ok((status, stdout, stderr))
            }
        }
    }

    fn command(&self) -> Command {
        let mut arguments = self.arguments.iter();
        let mut command = Command::new(arguments.next().map_or(OsStr::new(""), OsString::as_os_str));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).process_group(0);
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = &self.current_dir {
            command.current_dir(dir);
        }
        command
    }

    fn cannot_start(&self, source: std::io::Error) -> ProcessError {
        let dir_exists = self.current_dir.as_ref().is_none_or(|dir| dir.is_dir());
        if source.kind() == std::io::ErrorKind::NotFound && dir_exists {
            let program = self.arguments.first().map(|program| program.to_string_lossy().into_owned());
            return ProcessError::Missing { program: program.unwrap_or_default() };
        }
        ProcessError::Start { command: self.shown(), source }
    }

    /// The command line as a shell would take it.
    fn shown(&self) -> String {
        self.arguments.iter().map(|argument| quoted(&argument.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }
}

/// Why a helper program gave no result.
#[derive(Debug, Error)]
pub enum ProcessError {
    #[error("cannot run `{program}`: there is no such program")]
    Missing { program: String },
    #[error("cannot run `{command}`")]
    Start { command: String, source: std::io::Error },
    #[error("`{command}` did not end within {} s{}", .limit.as_secs(), said(.stderr))]
    TimedOut { command: String, limit: Duration, stderr: String },
    #[error("`{command}` printed more than {} MiB", STDOUT_LIMIT >> 20)]
    TooMuch { command: String },
    #[error("`{command}` failed: {status}{}", said(.stderr))]
    Failed { command: String, status: ExitStatus, stderr: String },
}

impl Explain for ProcessError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Environment
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { program } => vec![format!("install `{program}`, or put it on PATH")],
            _ => Vec::new(),
        }
    }
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said:\n{stderr}") }
}

fn text(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).trim().to_owned()
}

fn quoted(argument: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=@%+,".contains(char);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

/// Whether all of it fits.
async fn read_up_to_limit(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> bool {
    let Some(stream) = stream else { return true };
    // What cannot be read any more has ended.
    let _ = stream.take(STDOUT_LIMIT as u64 + 1).read_to_end(into).await;
    into.len() <= STDOUT_LIMIT
}

/// Reads everything, keeps the end.
async fn read_end(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut part = vec![0; STDERR_KEPT];
    while let Ok(count @ 1..) = stream.read(&mut part).await {
        into.extend_from_slice(part.get(..count).unwrap_or_default());
        into.drain(..into.len().saturating_sub(STDERR_KEPT));
    }
}

/// The process group of a child: killed when dropped, so that nothing the child started outlives it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: Option<u32>) -> Self {
        Self(child.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The child has ended by itself.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Already gone is as good.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Helper {
        Helper::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn stdout_is_the_result_and_stdin_is_empty() {
        let out = shell("cat; printf %s \"$NAME\"; pwd").env("NAME", "a b ").dir("/").run().await.unwrap();
        assert_eq!(out, b"a b /\n");
    }

    #[tokio::test]
    async fn errors_tell_what_was_run_and_what_it_said() {
        let failed = shell("echo out; echo 'no such thing' >&2; exit 3").run().await.unwrap_err();
        insta::assert_snapshot!(failed, @r"
        `sh -c 'echo out; echo '\''no such thing'\'' >&2; exit 3'` failed: exit status: 3; it said:
        no such thing
        ");
        let missing = Helper::new("no-such-program-here").args(["x"]).run().await.unwrap_err();
        insta::assert_snapshot!(missing, @"cannot run `no-such-program-here`: there is no such program");
        assert_eq!(missing.hints(), ["install `no-such-program-here`, or put it on PATH"]);
        let nowhere = Helper::new("true").dir("/no/such/dir").run().await.unwrap_err();
        insta::assert_snapshot!(nowhere, @"cannot run `true`");
        let silent = Helper::new("false").run().await.unwrap_err();
        insta::assert_snapshot!(silent, @"`false` failed: exit status: 1");
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let script = "sleep 1000 & echo $! > pid; echo waiting >&2; wait";
        let hangs = shell(script).dir(dir.path()).limit(Duration::from_secs(1)).run().await.unwrap_err();
        insta::assert_snapshot!(hangs, @r"
        `sh -c 'sleep 1000 & echo $! > pid; echo waiting >&2; wait'` did not end within 1 s; it said:
        waiting
        ");
        let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
        let state = format!("/proc/{}/stat", pid.trim());
        let is_gone = || std::fs::read_to_string(&state).map_or(true, |stat| stat.contains(") Z"));
        for _ in 0..500 {
            if is_gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} still runs", pid.trim());
    }

    #[tokio::test]
    async fn only_the_end_of_a_long_stderr_is_kept() {
        let failed = shell("yes line | head -c 1000000 >&2; echo the reason >&2; exit 1").run().await.unwrap_err();
        let ProcessError::Failed { stderr, .. } = failed else { panic!("{failed}") };
        assert!(stderr.len() <= STDERR_KEPT && stderr.ends_with("the reason"));
    }

    #[tokio::test]
    async fn a_helper_that_floods_stdout_is_stopped() {
        let flood = Helper::new("yes").run().await.unwrap_err();
        insta::assert_snapshot!(flood, @"`yes` printed more than 64 MiB");
    }
}
