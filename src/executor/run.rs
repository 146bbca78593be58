//! The `run` hook: one script at its place, its output, its exit code; nothing that it started is left.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};

use crate::sys::files;
use crate::ui::{Mask, MaskStream};

use super::error::{ExecutorError, file};
use super::job::Job;
use super::plan;
use super::sub_stage::SubStage;
use super::supervise::{Message, TERMINATE};
use super::{Hook, JobOutcome};

/// How long output may still come when the script and everything it started are gone.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the script may take to end after a signal, before it is ended.
const GRACE: Duration = Duration::from_secs(4);

/// Runs one script of the job. Fails when the host does, never because of the script.
pub fn run(hook: &Hook, script: &Path, sub_stage: &SubStage) -> Result<JobOutcome, ExecutorError> {
    close_inherited_descriptors();
    // An earlier script's code must not be taken for this one's.
    if let Some(path) = &hook.contract.exit_code_file {
        remove_if_there(path)?;
    }
    let job = Job::read(&hook.contract)?;
    let state = hook.state();
    state.check_claimed(&job)?;
    let _lock = state.lock(job.id, &job.key())?;
    let environment = plan::environment(&job, &state.job_dir(&job.key()), sub_stage, &hook.env, &hook.policies);
    let mask = Mask::default();
    job.secrets().for_each(|secret| mask.add(secret));
    let code = run_script(hook, script, environment, &mask)?;
    if code == 0 {
        return Ok(JobOutcome::Success);
    }
    if let Some(path) = &hook.contract.exit_code_file {
        files::replace(path, format!("{code}\n").as_bytes(), 0o600).map_err(file("write", path))?;
    }
    Ok(JobOutcome::ScriptFailed(code))
}

fn run_script(
    hook: &Hook,
    script: &Path,
    environment: Vec<(OsString, OsString)>,
    mask: &Mask,
) -> Result<u8, ExecutorError> {
    let shell = shell_of(script);
    let cannot = |error: io::Error| ExecutorError::Start { program: shell.into(), reason: error.to_string() };
    // Blocked before anything is started, so that no signal finds us with a script and without a plan.
    let signals = termination_signals();
    signals.thread_block().map_err(|error| cannot(error.into()))?;
    let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
    let mut command = Command::new(&hook.program);
    command.args(["executor", "supervise", "--", shell]).arg(script);
    command.env_clear().envs(environment);
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_in_namespace(command).map_err(cannot)?;
    let output = Output::of(&mut child, &ours, mask).map_err(cannot)?;
    let signal = terminate_on_signal(signals, &ours).map_err(cannot)?;
    let mut line = String::new();
    let read = BufReader::new(&ours).read_line(&mut line);
    let _ = child.wait();
    output.drain();
    if let Ok(signal) = Signal::try_from(signal.load(Ordering::Relaxed)) {
        return Err(ExecutorError::Interrupted(signal.as_str()));
    }
    match read.ok().and_then(|_| Message::parse(&line)) {
        Some(Message::Exited(code)) => Ok(code),
        Some(Message::NotStarted(reason)) => Err(ExecutorError::Start { program: shell.into(), reason }),
        None => Err(ExecutorError::SupervisorLost),
    }
}

/// The shell that the runner wrote the script for, by its first line.
fn shell_of(script: &Path) -> &'static str {
    let mut start = [0; 64];
    let length = File::open(script).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let first_line = start.get(..length).unwrap_or_default().split(|byte| *byte == b'\n').next().unwrap_or_default();
    if script.extension() == Some(OsStr::new("ps1")) || first_line.ends_with(b"pwsh") {
        "pwsh"
    } else if first_line.starts_with(b"#!") && (first_line.ends_with(b"/sh") || first_line.ends_with(b" sh")) {
        "sh"
    } else {
        "bash"
    }
}

/// Starts the supervisor as first process of a PID namespace, where we have the right to make one.
fn spawn_in_namespace(mut command: Command) -> io::Result<Child> {
    // The namespace is for children of the calling thread, and such a thread may start no other: use one and let it go.
    let spawn = std::thread::Builder::new().spawn(move || {
        let _ = unshare(CloneFlags::CLONE_NEWPID);
        command.spawn()
    })?;
    spawn.join().unwrap_or_else(|_| Err(io::Error::other("the starting thread died")))
}

/// What the runner left open beyond stdin, stdout and stderr is not for the job. Nothing of ours is open yet.
fn close_inherited_descriptors() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
    for descriptor in open {
        let _ = nix::unistd::close(descriptor);
    }
}

fn remove_if_there(path: &Path) -> Result<(), ExecutorError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}

fn termination_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect()
}

/// Asks the script to end when a signal comes, and ends it when it takes too long or a second signal comes.
/// The number that this gives is the signal's, or zero.
fn terminate_on_signal(signals: SigSet, supervisor: &UnixStream) -> io::Result<Arc<AtomicI32>> {
    let received = Arc::new(AtomicI32::new(0));
    let (mut supervisor, number) = (supervisor.try_clone()?, Arc::clone(&received));
    std::thread::Builder::new().spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        number.store(signal as i32, Ordering::Relaxed);
        let _ = supervisor.write_all(&[TERMINATE]);
        let (second, arrives) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = signals.wait();
            let _ = second.send(());
        });
        let _ = arrives.recv_timeout(GRACE);
        let _ = supervisor.shutdown(Shutdown::Both);
    })?;
    Ok(received)
}

/// The two streams of the script on their way to the runner.
struct Output {
    ended: mpsc::Receiver<()>,
}

impl Output {
    fn of(child: &mut Child, supervisor: &UnixStream, mask: &Mask) -> io::Result<Self> {
        let (sender, ended) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            pass_on(stdout, mask.stream(unbuffered(&io::stdout())?), supervisor.try_clone()?, sender.clone())?;
        }
        if let Some(stderr) = child.stderr.take() {
            pass_on(stderr, mask.stream(unbuffered(&io::stderr())?), supervisor.try_clone()?, sender)?;
        }
        Ok(Self { ended })
    }

    /// Waits until both have ended, for a while: whoever keeps them open is not ours any more.
    fn drain(self) {
        for _ in 0..2 {
            if self.ended.recv_timeout(DRAIN).is_err() {
                return;
            }
        }
    }
}

/// Copies until the end. When the runner no longer reads, the script has nobody to run for and is ended.
fn pass_on(
    mut from: impl Read + Send + 'static,
    mut to: MaskStream<File>,
    supervisor: UnixStream,
    ended: mpsc::Sender<()>,
) -> io::Result<()> {
    std::thread::Builder::new().spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if to.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                        let _ = supervisor.shutdown(Shutdown::Both);
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = to.finish();
        let _ = ended.send(());
    })?;
    Ok(())
}

/// Output goes on as it comes: whoever wrote it has chosen where its lines end.
fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}
