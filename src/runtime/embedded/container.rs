//! Our side of a running container: the child that holds it, its output, its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::child::{Launch, Outcome, SUBCOMMAND};
use super::terminal::SavedMode;
use super::wire;
use crate::error::Error;
use crate::runtime::{ExitStatus, OnOutput, Stream};

/// A container between its launch and its end. Dropped, it is killed.
struct Running {
    child: Child,
    /// Its closing is what kills the container.
    socket: UnixStream,
}

/// Runs a container to its end with its output going to `output`.
pub async fn run(program: &Path, launch: &Launch, output: OnOutput<'_>) -> anyhow::Result<ExitStatus> {
    let (stdout, job_stdout) = io::pipe()?;
    let (stderr, job_stderr) = io::pipe()?;
    let nothing = OwnedFd::from(std::fs::File::open("/dev/null")?);
    let running =
        Running::start(program, launch, Group::Own, [nothing, OwnedFd::from(job_stdout), OwnedFd::from(job_stderr)])
            .await?;
    let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
    let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?;
    running.finish(Some((stdout, stderr, output))).await
}

/// Runs a container on the caller's terminal, or whatever the caller's standard descriptors are.
pub async fn run_attached(program: &Path, launch: &Launch) -> anyhow::Result<ExitStatus> {
    let own = [io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?];
    let [stdin, stdout] = own;
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    // Should the child die before it restores the terminal.
    let _saved = SavedMode::of(&stdin)?;
    Running::start(program, launch, Group::Ours, [stdin, stdout, stderr]).await?.finish(None).await
}

/// Starts a container that outlives this process; its output is appended to `log`.
pub async fn start_detached(program: &Path, launch: &Launch, log: &Path) -> anyhow::Result<()> {
    let log = std::fs::File::options().create(true).append(true).open(log)?;
    let nothing = OwnedFd::from(std::fs::File::open("/dev/null")?);
    let descriptors = [nothing, OwnedFd::from(log.try_clone()?), OwnedFd::from(log)];
    let mut running = Running::start(program, launch, Group::Own, descriptors).await?;
    let mut answer = Vec::new();
    running.socket.read_to_end(&mut answer).await?;
    match serde_json::from_slice(&answer) {
        Ok(Outcome::Started) => Ok(()),
        _ => running.outcome(&answer).await.map(drop),
    }
}

type Output<'a> = (pipe::Receiver, pipe::Receiver, OnOutput<'a>);

/// Which process group the child is in: the one that the terminal belongs to, or one that no key of the terminal reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Ours,
    Own,
}

impl Running {
    async fn start(program: &Path, launch: &Launch, group: Group, descriptors: [OwnedFd; 3]) -> anyhow::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut command = Command::new(program);
        if group == Group::Own {
            command.process_group(0);
        }
        let child = command
            .arg(SUBCOMMAND)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::environment("cannot start the process that holds a container").because(error))?;
        wire::send_descriptors(&ours, &descriptors.each_ref().map(AsFd::as_fd))?;
        drop(descriptors);
        ours.set_nonblocking(true)?;
        let mut socket = UnixStream::from_std(ours)?;
        socket.write_all(&wire::encode(launch)?).await?;
        Ok(Self { child, socket })
    }

    /// Passes output on, in order, until the container has ended and all of it is read.
    async fn finish(mut self, output: Option<Output<'_>>) -> anyhow::Result<ExitStatus> {
        let mut answer = Vec::new();
        match output {
            None => drop(self.socket.read_to_end(&mut answer).await?),
            Some((mut stdout, mut stderr, sink)) => {
                let mut end = std::pin::pin!(self.socket.read_to_end(&mut answer));
                let mut buffer = [vec![0; 32 * 1024], vec![0; 32 * 1024]];
                let [out, err] = &mut buffer;
                let (mut out_open, mut err_open) = (true, true);
                loop {
                    tokio::select! {
                        read = stdout.read(out), if out_open => {
                            let length = read?;
                            out_open = length > 0;
                            sink(Stream::Stdout, out.get(..length).unwrap_or_default());
                        }
                        read = stderr.read(err), if err_open => {
                            let length = read?;
                            err_open = length > 0;
                            sink(Stream::Stderr, err.get(..length).unwrap_or_default());
                        }
                        ended = &mut end => {
                            ended?;
                            break;
                        }
                    }
                }
                // Whoever could write is dead: what is not in the pipes now never comes, whoever holds their other ends.
                drain(&mut stdout, Stream::Stdout, out, sink);
                drain(&mut stderr, Stream::Stderr, err, sink);
            }
        }
        self.outcome(&answer).await
    }

    async fn outcome(mut self, answer: &[u8]) -> anyhow::Result<ExitStatus> {
        let mut complaint = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            // A panic or a warning of a library; bounded, for it ends up in an error message.
            stderr.take(4096).read_to_string(&mut complaint).await.unwrap_or_default();
        }
        self.child.wait().await?;
        match serde_json::from_slice(answer) {
            Ok(Outcome::Exited { code, out_of_memory }) => Ok(ExitStatus { code, out_of_memory }),
            Ok(Outcome::NotExecuted { program, reason }) => {
                Err(Error::user(format!("cannot execute `{program}` in the container: {reason}")).into())
            }
            Ok(Outcome::Failed { step, message }) => Err(Error::environment(format!("cannot {step}: {message}"))
                .hint("containers without a daemon need overlayfs, namespaces and a cgroup this process may write; SLIPWAY_RUNTIME=docker uses a Docker Engine instead")
                .into()),
            Ok(Outcome::Started) | Err(_) => Err(Error::environment(format!(
                "the process that held the container ended without a result{}{}",
                if complaint.is_empty() { "" } else { ": " },
                complaint.trim_end()
            ))
            .into()),
        }
    }
}

/// What is in the pipe at this moment.
fn drain(pipe: &mut pipe::Receiver, stream: Stream, buffer: &mut [u8], sink: OnOutput<'_>) {
    while let Ok(length @ 1..) = pipe.try_read(buffer) {
        sink(stream, buffer.get(..length).unwrap_or_default());
    }
}
