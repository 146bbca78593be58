//! The part of GitLab Runner that matters to an executor: the hooks as separate processes, with the environment, files,
//! signals, exit codes and retries of spec/executor.md sections 2 to 4.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::error::Error;
use crate::sys::env::Env;
use crate::sys::signal::Interruption;

use super::script::Script;
use super::variables::JobVariable;

/// The codes that hooks are told to use. Not the runner's own 1 and 2, so that nobody takes a script's code for one.
const BUILD_FAILURE: i32 = 101;
const SYSTEM_FAILURE: i32 = 102;
/// From SIGTERM to SIGKILL, and from there to giving up.
const GRACEFUL_KILL: Duration = Duration::from_secs(60);
const FORCE_KILL: Duration = Duration::from_secs(10);

/// Starts hooks, for as long as the job may take.
pub struct Runner<'a> {
    pub program: &'a Path,
    pub env: &'a Env,
    pub variables: &'a [JobVariable],
    /// The job as the server would have sent it.
    pub response: &'a Value,
    pub interruption: &'a Interruption,
    pub deadline: Instant,
}

/// How a hook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// The script failed, with its exit code.
    Script(u8),
    /// The host failed; what it said is in the log.
    System,
    TimedOut,
    Interrupted,
}

/// The runner's temporary directory for one attempt to prepare, and for all that follows it.
pub struct Attempt {
    directory: TempDir,
    /// Variables that the config hook wants the later ones to have.
    job_env: Vec<(String, String)>,
    pub builds_dir: PathBuf,
}

/// What becomes of a hook's stdout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Log,
    Keep,
    Discard,
}

impl Runner<'_> {
    /// Runs the hooks `config` and `prepare`.
    pub async fn prepare(&self) -> Result<(Attempt, Ended), Error> {
        let directory = tempfile::Builder::new().prefix("custom-executor").tempdir();
        let directory =
            directory.map_err(|error| Error::environment("cannot make a temporary directory").because(error))?;
        let mut attempt = Attempt { directory, job_env: Vec::new(), builds_dir: PathBuf::new() };
        let response = attempt.path("response.json");
        write(&response, self.response.to_string().as_bytes(), 0o600)?;
        let (ended, answer) = self.hook(&attempt, &["config"], Sink::Keep).await?;
        if ended != Ended::Well {
            return Ok((attempt, ended));
        }
        attempt.take(&answer)?;
        let (ended, _) = self.hook(&attempt, &["prepare"], Sink::Log).await?;
        Ok((attempt, ended))
    }

    /// Runs the hook `run` for one script.
    pub async fn run(&self, attempt: &Attempt, script: &Script) -> Result<Ended, Error> {
        let directory = attempt.path(&format!("script-{}", script.sub_stage));
        let cannot = |error| Error::environment(format!("cannot make `{}`", directory.display())).because(error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(cannot)?;
        let path = directory.join("script");
        write(&path, script.text.as_bytes(), 0o700)?;
        let arguments = [OsStr::new("run"), path.as_os_str(), OsStr::new(script.sub_stage)];
        Ok(self.hook(attempt, &arguments, Sink::Log).await?.0)
    }

    /// Runs the hook `cleanup`, whatever happened before. It has its own time.
    pub async fn cleanup(&self, attempt: &Attempt) -> Result<Ended, Error> {
        let unhurried = Runner {
            deadline: Instant::now() + Duration::from_secs(3600),
            interruption: &Interruption::default(),
            ..*self
        };
        Ok(unhurried.hook(attempt, &["cleanup"], Sink::Discard).await?.0)
    }

    /// Starts one hook and sees it to its end. When the job is out of time or no longer wanted, the hook is asked to end,
    /// then made to.
    async fn hook(&self, attempt: &Attempt, args: &[impl AsRef<OsStr>], sink: Sink) -> Result<(Ended, Vec<u8>), Error> {
        let cannot = |error| Error::environment(format!("cannot run `{}`", self.program.display())).because(error);
        let (stdout, stdout_of_hook) = std::io::pipe().map_err(cannot)?;
        let (stderr, stderr_of_hook) = std::io::pipe().map_err(cannot)?;
        let mut command = self.command(attempt, args);
        let mut child = command.stdout(stdout_of_hook).stderr(stderr_of_hook).spawn().map_err(cannot)?;
        // With it go our copies of the pipes' writing ends.
        drop(command);
        let group = Pid::from_raw(child.id().unwrap_or_default().cast_signed());
        let stdout = tokio::task::spawn_blocking(move || pass_on(stdout, sink));
        let stderr = tokio::task::spawn_blocking(move || pass_on(stderr, Sink::Log));
        // Like the runner: a hook has ended when it and both of its pipes have.
        let end = async {
            let status = child.wait().await;
            let kept = stdout.await.unwrap_or_default();
            let _ = stderr.await;
            (status, kept)
        };
        tokio::pin!(end);
        let stopped = tokio::select! {
            (status, kept) = &mut end => return Ok((attempt.ended(status.map_err(cannot)?.code()), kept)),
            () = self.interruption.token().cancelled() => Ended::Interrupted,
            () = tokio::time::sleep_until(self.deadline) => Ended::TimedOut,
        };
        for (signal, patience) in [(Signal::SIGTERM, GRACEFUL_KILL), (Signal::SIGKILL, FORCE_KILL)] {
            let _ = killpg(group, signal);
            if tokio::time::timeout(patience, &mut end).await.is_ok() {
                break;
            }
        }
        Ok((stopped, Vec::new()))
    }

    /// The environment in the runner's order: its own, the contract, what the config hook gave, the job's variables.
    fn command(&self, attempt: &Attempt, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(self.program);
        command.arg("executor").args(args).current_dir(attempt.directory.path());
        command.env_clear().envs(self.env.all());
        command.env("TMPDIR", attempt.directory.path());
        command.env("BUILD_FAILURE_EXIT_CODE", BUILD_FAILURE.to_string());
        command.env("SYSTEM_FAILURE_EXIT_CODE", SYSTEM_FAILURE.to_string());
        command.env("JOB_RESPONSE_FILE", attempt.path("response.json"));
        command.env("BUILD_EXIT_CODE_FILE", attempt.path("build_exit_code"));
        command.envs(attempt.job_env.iter().map(|(name, value)| (name, value)));
        command.envs(self.variables.iter().map(|variable| (format!("CUSTOM_ENV_{}", variable.name), &variable.value)));
        command.stdin(Stdio::null()).process_group(0);
        command
    }
}

impl Attempt {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Takes what the config hook answered.
    fn take(&mut self, answer: &[u8]) -> Result<(), Error> {
        let invalid = |reason: &str| Error::environment(format!("the config hook gave no valid answer: {reason}"));
        let answer: Value = serde_json::from_slice(answer).map_err(|error| invalid(&error.to_string()))?;
        let builds_dir = answer.get("builds_dir").and_then(Value::as_str).filter(|path| path.starts_with('/'));
        self.builds_dir = builds_dir.ok_or_else(|| invalid("it has no `builds_dir`"))?.into();
        let job_env = answer.get("job_env").and_then(Value::as_object).into_iter().flatten();
        self.job_env = job_env.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
        Ok(())
    }

    /// What an exit code means; a hook that a signal ended has none.
    fn ended(&self, code: Option<i32>) -> Ended {
        match code {
            Some(0) => Ended::Well,
            Some(BUILD_FAILURE) => {
                let text = std::fs::read_to_string(self.path("build_exit_code"));
                match text.ok().map(|text| text.trim_end_matches('\n').parse()) {
                    Some(Ok(code)) => Ended::Script(code),
                    Some(Err(_)) => Ended::System,
                    None => Ended::Script(1),
                }
            }
            _ => Ended::System,
        }
    }
}

/// Copies a stream of a hook to the job log until its end, or keeps it.
fn pass_on(mut stream: impl Read, sink: Sink) -> Vec<u8> {
    let (mut log, mut kept, mut buffer) = (std::io::stdout(), Vec::new(), vec![0; 32 << 10]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let part = buffer.get(..count).unwrap_or_default();
        match sink {
            Sink::Keep => kept.extend_from_slice(part),
            Sink::Discard => {}
            // A reader of the log that is gone does not end the job.
            Sink::Log => drop(log.write_all(part).and_then(|()| log.flush())),
        }
    }
    kept
}

fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), Error> {
    let written = std::fs::write(path, b"")
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
        .and_then(|()| std::fs::write(path, contents));
    written.map_err(|error| Error::environment(format!("cannot write `{}`", path.display())).because(error))
}
