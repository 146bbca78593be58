//! A person at a container: keys in, output out, window sizes along.

use std::io::{self, IsTerminal as _, Write as _};
use std::pin::Pin;

use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{AttachContainerOptions, CreateContainerOptions, ResizeContainerTTYOptions};
use futures_util::StreamExt as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::container::{KillOnDrop, Output, RemoveOnDrop, pass_on};
use super::{DockerError, DockerRuntime};
use crate::runtime::{ExitStatus, OnOutput, Stream};

/// A conversation with one process.
pub(super) struct Session<'a> {
    pub(super) window: Window,
    /// Whether the process has a terminal.
    pub(super) terminal: bool,
    pub(super) attempted: &'a str,
}

/// Whose window follows ours.
pub(super) enum Window {
    Exec(String),
    Container(String),
}

impl DockerRuntime {
    /// A second command in a container that runs.
    pub(super) async fn attach_to_running(
        &self,
        container: &ContainerInspectResponse,
        command: &[String],
    ) -> anyhow::Result<ExitStatus> {
        let id = container.id.as_deref().unwrap_or_default();
        let attempted = format!("open a command in container `{id}`");
        let tty = io::stdin().is_terminal();
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            ..Default::default()
        };
        let exec = self.docker.create_exec(id, options).await.map_err(self.failed(&attempted))?.id;
        let options = StartExecOptions { detach: false, tty, output_capacity: None };
        let started = self.docker.start_exec(&exec, Some(options)).await.map_err(self.failed(&attempted))?;
        if let StartExecResults::Attached { output, input } = started {
            let session = Session { window: Window::Exec(exec.clone()), terminal: tty, attempted: &attempted };
            self.converse(&session, output, input, &mut show).await?;
        }
        let ended = self.docker.inspect_exec(&exec).await.map_err(self.failed(&attempted))?;
        let code = ended.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
        Ok(ExitStatus { code, out_of_memory: false })
    }

    /// A command in a copy of a container that does not run: same files, mounts, environment and user.
    pub(super) async fn attach_to_copy(
        &self,
        container: &ContainerInspectResponse,
        image: &str,
        command: &[String],
    ) -> anyhow::Result<ExitStatus> {
        let attempted = "open a command in a copy of the container";
        let tty = io::stdin().is_terminal();
        let config = container.config.clone().unwrap_or_default();
        let (entrypoint, arguments) = command.split_at(command.len().min(1));
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(entrypoint.to_vec()),
            cmd: Some(arguments.to_vec()),
            env: config.env,
            user: config.user,
            working_dir: config.working_dir,
            labels: Some(self.owner_labels()),
            tty: Some(tty),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            host_config: container.host_config.clone(),
            ..Default::default()
        };
        let created =
            self.docker.create_container(None::<CreateContainerOptions>, body).await.map_err(self.failed(attempted))?;
        let copy = RemoveOnDrop::new(self.docker.clone(), created.id);
        let options =
            AttachContainerOptions { stream: true, stdin: true, stdout: true, stderr: true, ..Default::default() };
        let attached = self.docker.attach_container(&copy.id, Some(options)).await.map_err(self.failed(attempted))?;
        let mut running = KillOnDrop::new(self.docker.clone(), &copy.id);
        running.start().await.map_err(self.failed(attempted))?;
        let session = Session { window: Window::Container(copy.id.clone()), terminal: tty, attempted };
        self.converse(&session, attached.output, attached.input, &mut show).await?;
        let status = self.exit_status(&copy.id, attempted).await?;
        running.has_ended();
        copy.remove().await;
        Ok(status)
    }

    /// Passes what is typed in and what comes out, until the output ends.
    pub(super) async fn converse(
        &self,
        session: &Session<'_>,
        mut chunks: Output,
        input: Pin<Box<dyn AsyncWrite + Send>>,
        output: OnOutput<'_>,
    ) -> anyhow::Result<()> {
        let raw = session.terminal && io::stdin().is_terminal();
        let _raw = raw.then(RawTerminal::enter).transpose()?;
        let keyboard = Keyboard::start()?;
        let typing = tokio::spawn(type_into(keyboard.keys, input));
        let mut resized = signal(SignalKind::window_change())?;
        if raw {
            self.resize(&session.window).await;
        }
        // A process that has only just been started may have missed the first one.
        let mut heard = false;
        loop {
            tokio::select! {
                chunk = chunks.next() => match chunk {
                    Some(chunk) => {
                        pass_on(chunk.map_err(self.failed(session.attempted))?, output);
                        if raw && !std::mem::replace(&mut heard, true) {
                            self.resize(&session.window).await;
                        }
                    }
                    None => break,
                },
                _ = resized.recv(), if raw => self.resize(&session.window).await,
            }
        }
        typing.abort();
        Ok(())
    }

    /// A window that cannot be resized is no reason to end a session.
    async fn resize(&self, window: &Window) {
        let Ok(size) = tcgetwinsize(io::stdin()) else { return };
        let _: Result<(), DockerError> = match window {
            Window::Exec(id) => {
                let options = ResizeExecOptions { height: size.ws_row, width: size.ws_col };
                self.docker.resize_exec(id, options).await.map_err(self.failed("resize"))
            }
            Window::Container(id) => {
                let options = ResizeContainerTTYOptions { h: size.ws_row.into(), w: size.ws_col.into() };
                self.docker.resize_container_tty(id, options).await.map_err(self.failed("resize"))
            }
        };
    }
}

/// A reader who went away is no reason to end a session.
fn show(stream: Stream, bytes: &[u8]) {
    let _ = match stream {
        Stream::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        Stream::Stderr => io::stderr().write_all(bytes),
    };
}

async fn type_into(mut keys: mpsc::Receiver<Vec<u8>>, mut input: Pin<Box<dyn AsyncWrite + Send>>) {
    while let Some(bytes) = keys.recv().await {
        if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}

/// Our terminal passes every key on, until this is dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Reads our standard input in a thread that ends with this value and takes no key after that.
struct Keyboard {
    keys: mpsc::Receiver<Vec<u8>>,
    _stop: io::PipeWriter,
}

impl Keyboard {
    fn start() -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let (sender, keys) = mpsc::channel(16);
        std::thread::spawn(move || read_keys(&stopped, &sender));
        Ok(Self { keys, _stop: stop })
    }
}

fn read_keys(stopped: &io::PipeReader, keys: &mpsc::Sender<Vec<u8>>) {
    let stdin = io::stdin();
    let mut buffer = [0; 4096];
    loop {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        if poll(&mut ready, None).is_err_and(|error| error != rustix::io::Errno::INTR) || !ready[1].revents().is_empty()
        {
            return;
        }
        if ready[0].revents().is_empty() {
            continue;
        }
        match rustix::io::read(&stdin, &mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if keys.blocking_send(buffer.get(..read).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}
