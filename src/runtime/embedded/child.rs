//! The hidden subcommand `container-child`: one container from its launch to its end, in a process of its own.
//!
//! libcontainer clones the process that calls it, so it is called here and not among the threads of the program. The child
//! reads a [`Launch`] and the three standard descriptors of the job from its standard input, a socket; mounts, starts and
//! waits; and answers with one [`Outcome`]. While it waits, the socket is its lifeline: when the other end is closed, for
//! whatever reason, the container is killed. A detached container belongs to its child instead, which answers at once and
//! ends it when it is told to terminate.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cgroup;
use super::overlay::Overlay;
use super::terminal;
use super::wire;
use crate::lease::Owner;
use crate::sys::paths;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "container-child";

/// All that the child needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The container's directory; `merged` and `run` in it are mount points.
    pub directory: PathBuf,
    pub overlay: Overlay,
    /// Private files for `run`, which is memory: name and content.
    pub files: Vec<(String, String)>,
    /// As made by [`super::spec::runtime_config`].
    pub config: Value,
    /// Working directory, made when the image has none, for this uid and gid.
    pub workdir: PathBuf,
    pub owner: (u32, u32),
    pub ends: Ends,
}

/// What ends a container besides its first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ends {
    /// The end of whoever launched it.
    WithLauncher,
    /// A signal to the child.
    WhenTold,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The first process ended with this code, or 128 + signal.
    Exited { code: i32, out_of_memory: bool },
    /// It runs, detached.
    Started,
    /// The container was ready, but its command cannot be executed in it.
    NotExecuted { program: String, reason: String },
    /// This step failed; the container never ran.
    Failed { step: String, message: String },
}

/// Runs the subcommand. Must be called before any thread is started.
pub fn main() -> ExitCode {
    let Ok(stdin) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut socket = UnixStream::from(stdin);
    let outcome = match wire::receive(&mut socket) {
        Ok((launch, [stdin, stdout, stderr])) => run(&launch, &socket, Stdio { stdin, stdout, stderr }),
        Err(error) => Err(("read the launch", error.to_string())),
    };
    let outcome = outcome.unwrap_or_else(|(step, message)| Outcome::Failed { step: step.to_owned(), message });
    // The other end may be gone: then nobody wants to know.
    let _ = serde_json::to_writer(&mut socket, &outcome);
    let _ = socket.flush();
    ExitCode::SUCCESS
}

/// What was attempted, and why it failed.
type Failure = (&'static str, String);

struct Stdio {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Names the step that a result belongs to.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: std::error::Error> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| (step, chain(&error)))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn run(launch: &Launch, lifeline: &UnixStream, stdio: Stdio) -> Result<Outcome, Failure> {
    // Held to our end, by which everything in the container is dead.
    let _held = hold(&launch.directory).step("lock the container")?;
    // What the container's first process inherits must not depend on who started us.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let run = mount_all(launch)?;
    make_workdir(launch).step("make the working directory")?;
    let config = serde_json::to_vec(&launch.config).step("encode the configuration")?;
    fs::write(run.join("config.json"), config).step("write the configuration")?;
    let console = terminal::Console::wanted(&launch.config, &run).step("prepare the terminal")?;
    let (verdict, report) = pipe_with(PipeFlags::CLOEXEC).step("make a pipe")?;
    let builder = ContainerBuilder::new("c".to_owned(), SyscallType::default())
        .with_root_path(run.join("state"))
        .step("prepare the container")?
        .with_executor(Guarded { report: Arc::new(report) })
        .with_console_socket(console.as_ref().map(|console| console.path.clone()));
    let terminal_in = stdio.stdin.try_clone().step("copy a descriptor")?;
    let terminal_out = stdio.stdout.try_clone().step("copy a descriptor")?;
    let builder = match &console {
        Some(_) => builder,
        None => builder.with_stdin(stdio.stdin).with_stdout(stdio.stdout).with_stderr(stdio.stderr),
    };
    let detached = console.is_some();
    let built = builder.as_init(&run).with_systemd(false).with_detach(detached).build();
    let mut container = match built {
        Ok(container) => container,
        Err(error) => return Err(("make the container", chain(&error))),
    };
    let until = match (console, launch.ends) {
        (Some(console), _) => {
            Until::Session(console.accept(terminal_in, terminal_out).step("open the terminal")?, lifeline)
        }
        (None, Ends::WithLauncher) => {
            drop((terminal_in, terminal_out));
            Until::Lifeline(lifeline)
        }
        (None, Ends::WhenTold) => Until::Told(lifeline, &launch.directory),
    };
    let ended = supervise(&mut container, verdict, until);
    let group = launch.config.pointer("/linux/cgroupsPath").and_then(Value::as_str);
    let out_of_memory = group.is_some_and(cgroup::was_out_of_memory);
    // Everything in it is dead; what is left are cgroup directories, which the next sweep removes if this fails.
    let _ = container.delete(true);
    match ended? {
        Ended::Exited(code) => Ok(Outcome::Exited { code, out_of_memory }),
        Ended::NotExecuted(reason) => {
            let program = launch.config.pointer("/process/args/0").and_then(Value::as_str).unwrap_or_default();
            Ok(Outcome::NotExecuted { program: program.to_owned(), reason })
        }
    }
}

/// Takes the lock of a container, or waits for it: while it is held, something may run there.
pub fn hold(directory: &Path) -> io::Result<fs::File> {
    let file = fs::File::options().create(true).truncate(false).write(true).open(directory.join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// A mount namespace of our own, memory for private files, the root file system. Gives the directory of the private files.
fn mount_all(launch: &Launch) -> Result<PathBuf, Failure> {
    let run = launch.directory.join("run");
    unshare(CloneFlags::CLONE_NEWNS).step("make a mount namespace")?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).step("make mounts private")?;
    if paths::in_user_namespace() {
        show_one_cgroup_hierarchy().step("look for the control groups")?;
    }
    let options = c"mode=0700,size=16m";
    mount("slipway", &run, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options))
        .step("mount memory for private files")?;
    for name in ["links", "state"] {
        fs::DirBuilder::new().mode(0o700).create(run.join(name)).step("make a private directory")?;
    }
    for (name, content) in &launch.files {
        fs::write(run.join(name), content).step("write a private file")?;
        rustix::fs::chmodat(CWD, run.join(name), Mode::from_raw_mode(0o644), AtFlags::empty())
            .step("write a private file")?;
    }
    launch.overlay.mount(&launch.directory.join("merged"), &run.join("links")).step("mount the layers")?;
    Ok(run)
}

/// Where only root may make control groups, libcontainer goes without them, but only in the one hierarchy of version 2. A host
/// that has both versions shows version 2 in a corner; we make it all there is, in our mount namespace.
fn show_one_cgroup_hierarchy() -> rustix::io::Result<()> {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if unified.is_dir() { mount_bind(unified, "/sys/fs/cgroup") } else { Ok(()) }
}

/// The working directory and its parents, within the root file system whatever links it contains.
fn make_workdir(launch: &Launch) -> io::Result<()> {
    let root = rustix::fs::open(
        launch.directory.join("merged"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut reached = PathBuf::new();
    for component in launch.workdir.components() {
        let std::path::Component::Normal(name) = component else { continue };
        let parent = open_within(&root, &reached)?;
        reached.push(name);
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let (uid, gid) = launch.owner;
                let owner = (Some(rustix::fs::Uid::from_raw(uid)), Some(rustix::fs::Gid::from_raw(gid)));
                rustix::fs::chownat(&parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn open_within(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Until when a container runs, at most.
enum Until<'a> {
    Lifeline(&'a UnixStream),
    Session(terminal::Session, &'a UnixStream),
    /// Detached: the answer goes to the socket, the ownership of the directory to this process.
    Told(&'a UnixStream, &'a Path),
}

/// How the first process of a container ended.
enum Ended {
    /// With this code, or 128 + signal.
    Exited(i32),
    /// Before it became what it was to be.
    NotExecuted(String),
}

/// Starts the container and waits for its end, or ends it. `verdict` tells whether the command was executed.
fn supervise(container: &mut Container, verdict: OwnedFd, until: Until<'_>) -> Result<Ended, Failure> {
    let pid = container.pid().and_then(|pid| Pid::from_raw(pid.as_raw()));
    let pid = pid.ok_or(("start the container", "it has no process".to_owned()))?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).step("watch the container")?;
    if let Err(error) = container.start() {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        return Err(("start the container", chain(&error)));
    }
    // Ends when the command is executed, or its process is gone.
    let mut refused = String::new();
    fs::File::from(verdict).read_to_string(&mut refused).step("start the container")?;
    if !refused.is_empty() {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        return Ok(Ended::NotExecuted(refused));
    }
    let waited = match until {
        Until::Lifeline(lifeline) => wait_for_end(&process, lifeline),
        Until::Session(mut session, lifeline) => session.pump(&process, lifeline),
        Until::Told(socket, directory) => {
            own(directory, socket).and_then(|signals| wait_until_told(&process, &signals))
        }
    };
    // When it was not the process that ended.
    let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
    let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())
        .step("wait for the container")?
        .ok_or(("wait for the container", "no status".to_owned()))?
        .1;
    waited.step("wait for the container")?;
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    Ok(Ended::Exited(status.exit_status().or(signal).unwrap_or(255)))
}

/// Makes this process the owner of a container, then tells the launcher that it may go. Gives where signals to end arrive.
fn own(directory: &Path, mut socket: &UnixStream) -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGTERM);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    // A closed terminal is no reason to end.
    let _ = rustix::process::setsid();
    let owner = directory.join("owner.new");
    fs::write(&owner, serde_json::to_vec(&Owner::current()?)?)?;
    fs::rename(owner, directory.join("owner"))?;
    serde_json::to_writer(&mut socket, &Outcome::Started)?;
    socket.shutdown(std::net::Shutdown::Both)?;
    Ok(signals)
}

/// Until the process ends; when told to, it gets the time that Docker gives too.
fn wait_until_told(process: &OwnedFd, signals: &SignalFd) -> io::Result<()> {
    let mut watched = [PollFd::new(process, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    wait(&mut watched, None)?;
    if watched.first().is_some_and(|process| process.revents().is_empty()) {
        let _ = rustix::process::pidfd_send_signal(process, Signal::TERM);
        wait(&mut [PollFd::new(process, PollFlags::IN)], Some(&Timespec { tv_sec: 10, tv_nsec: 0 }))?;
    }
    Ok(())
}

/// Until the process or the lifeline ends.
fn wait_for_end(process: &OwnedFd, lifeline: &UnixStream) -> io::Result<()> {
    let lifeline = PollFd::new(lifeline, PollFlags::IN | PollFlags::RDHUP);
    wait(&mut [PollFd::new(process, PollFlags::IN), lifeline], None)
}

/// Until something happens to one of the descriptors, or the time is over.
fn wait(watched: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> io::Result<()> {
    loop {
        match poll(watched, timeout) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Executes the job so that it dies with us.
#[derive(Clone)]
struct Guarded {
    /// Takes the reason when it cannot be executed, and is closed when it is.
    report: Arc<OwnedFd>,
}

impl Executor for Guarded {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
    }

    /// Returns only with an error.
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let arguments = spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default();
        let arguments: Vec<CString> =
            arguments.into_iter().map(CString::new).collect::<Result<_, _>>().map_err(|_| ExecutorError::InvalidArg)?;
        let program = arguments.first().ok_or(ExecutorError::InvalidArg)?;
        let Err(error) = nix::unistd::execvp(program, &arguments);
        let _ = rustix::io::write(&self.report, error.desc().as_bytes());
        std::process::exit(127);
    }
}
