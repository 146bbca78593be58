//! An interactive container: its pseudo-terminal on one side, the caller's terminal on the other.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use serde_json::Value;

use super::wire;

/// Where libcontainer sends the pseudo-terminal of the container.
pub struct Console {
    listener: UnixListener,
    pub path: PathBuf,
}

impl Console {
    /// A console in `directory` when the configuration asks for a terminal.
    pub fn wanted(config: &Value, directory: &Path) -> io::Result<Option<Self>> {
        if config.pointer("/process/terminal") != Some(&Value::Bool(true)) {
            return Ok(None);
        }
        let path = directory.join("console.sock");
        Ok(Some(Self { listener: UnixListener::bind(&path)?, path }))
    }

    /// Takes the pseudo-terminal and connects it with the caller's.
    pub fn accept(self, input: OwnedFd, output: OwnedFd) -> io::Result<Session> {
        let (socket, _) = self.listener.accept()?;
        let master = wire::receive_descriptors(&socket)?
            .pop()
            .ok_or_else(|| io::Error::other("the container sent no terminal"))?;
        let mut resized = SigSet::empty();
        resized.add(Signal::SIGWINCH);
        resized.thread_block()?;
        let resized = SignalFd::with_flags(&resized, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let saved = SavedMode::of(&input)?;
        saved.make_raw()?;
        Ok(Session {
            master: File::from(master),
            input: File::from(input),
            output: File::from(output),
            resized,
            _saved: saved,
        })
    }
}

/// How the caller's terminal was; it is made so again when this is dropped.
pub struct SavedMode {
    terminal: Option<(OwnedFd, Termios)>,
}

impl SavedMode {
    /// Remembers nothing of what is no terminal.
    pub fn of(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        if !isatty(&terminal) {
            return Ok(Self { terminal: None });
        }
        let termios = tcgetattr(&terminal)?;
        Ok(Self { terminal: Some((terminal, termios)) })
    }

    /// From now on every key is passed on as it is.
    fn make_raw(&self) -> io::Result<()> {
        let Some((terminal, termios)) = &self.terminal else { return Ok(()) };
        let mut raw = termios.clone();
        raw.make_raw();
        Ok(tcsetattr(terminal, OptionalActions::Now, &raw)?)
    }
}

impl Drop for SavedMode {
    fn drop(&mut self) {
        if let Some((terminal, termios)) = &self.terminal {
            let _ = tcsetattr(terminal, OptionalActions::Drain, termios);
        }
    }
}

/// Bytes on their way between the two terminals.
pub struct Session {
    master: File,
    input: File,
    output: File,
    resized: SignalFd,
    _saved: SavedMode,
}

impl Session {
    /// Passes bytes on until the process or the lifeline ends.
    pub fn pump(&mut self, process: &OwnedFd, lifeline: &UnixStream) -> io::Result<()> {
        let mut input_open = true;
        self.resize();
        loop {
            let input_flags = if input_open { PollFlags::IN } else { PollFlags::empty() };
            let mut watched = [
                PollFd::new(&self.master, PollFlags::IN),
                PollFd::new(process, PollFlags::IN),
                PollFd::new(lifeline, PollFlags::IN | PollFlags::RDHUP),
                PollFd::new(&self.resized, PollFlags::IN),
                PollFd::new(&self.input, input_flags),
            ];
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            let ready = watched.each_ref().map(|fd| fd.revents());
            let [output, ended, cut, resized, input] = ready.map(|events| !events.is_empty());
            if output && copy(&mut self.master, &mut self.output)? {
                continue;
            }
            if ended || cut {
                return Ok(());
            }
            if resized {
                while let Ok(Some(_)) = self.resized.read_signal() {}
                self.resize();
            }
            if input && input_open {
                input_open = copy(&mut self.input, &mut self.master)?;
                if !input_open {
                    // What a terminal sends at the end of input.
                    self.master.write_all(&[4])?;
                }
            }
        }
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(&self.input) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }
}

/// Passes on what is there; whether there may be more. A terminal whose other side is closed reads as an error.
fn copy(from: &mut File, to: &mut File) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    match from.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(length) => to.write_all(buffer.get(..length).unwrap_or_default()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(_) => Ok(false),
    }
}
