//! The ssh agent that commands of a build may use (spec/build.md 4.5).

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use crate::error::Error;
use crate::runtime::Mount;
use crate::sys::env::Env;

/// Where a build container sees the agent's socket.
pub const SOCKET: &str = "/.werf/tmp/ssh-auth-sock";

/// The agent of the user, or with `--ssh-key` one of our own that holds exactly these keys.
pub struct SshAgent {
    env: Env,
    keys: Vec<PathBuf>,
    /// A private directory of this run.
    tmp: PathBuf,
    own: Mutex<Option<OwnAgent>>,
}

impl SshAgent {
    /// Starts nothing yet.
    pub fn new(env: Env, keys: Vec<PathBuf>, tmp: PathBuf) -> Self {
        Self { env, keys, tmp, own: Mutex::default() }
    }

    /// What brings the agent into a build container; `None` when there is none. The first call starts our own.
    ///
    /// # Errors
    /// `ssh-agent` or `ssh-add` is missing, or a key cannot be loaded, for example because it has a passphrase.
    pub fn mount(&self) -> anyhow::Result<Option<Mount>> {
        let source = if self.keys.is_empty() { self.of_user() } else { Some(self.own_socket()?) };
        Ok(source.map(|source| Mount { source, target: PathBuf::from(SOCKET), read_only: false }))
    }

    fn of_user(&self) -> Option<PathBuf> {
        use std::os::unix::fs::FileTypeExt as _;
        let socket = self.env.current_dir.join(self.env.get_os("SSH_AUTH_SOCK")?);
        std::fs::metadata(&socket).is_ok_and(|found| found.file_type().is_socket()).then_some(socket)
    }

    fn own_socket(&self) -> anyhow::Result<PathBuf> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = &*own {
            return Ok(agent.socket.clone());
        }
        let agent = OwnAgent::start(&program(&self.env, "ssh-agent")?, self.tmp.join("ssh-auth-sock"))?;
        let ssh_add = program(&self.env, "ssh-add")?;
        for key in &self.keys {
            add(&ssh_add, &agent.socket, key, &self.env)?;
        }
        Ok(own.insert(agent).socket.clone())
    }
}

/// An agent that ends with this process: it serves a `cat` that waits for us.
struct OwnAgent {
    socket: PathBuf,
    /// What the agent serves; ends when its stdin is closed.
    client: Child,
    pid: Option<rustix::process::Pid>,
}

impl OwnAgent {
    fn start(ssh_agent: &Path, socket: PathBuf) -> anyhow::Result<Self> {
        let failed = || format!("cannot start {}", ssh_agent.display());
        let mut command = Command::new(ssh_agent);
        command.arg("-a").arg(&socket).args(["/bin/sh", "-c", "echo \"$SSH_AGENT_PID\"; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = command.spawn().with_context(failed)?;
        let mut line = String::new();
        if let Some(stdout) = client.stdout.take() {
            // The agent listens before its client runs.
            BufReader::new(stdout).read_line(&mut line).with_context(failed)?;
        }
        let pid = line.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let agent = Self { socket, client, pid };
        if agent.pid.is_none() {
            return Err(Error::environment(format!("{} has not started", ssh_agent.display())).into());
        }
        Ok(agent)
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        drop(self.client.stdin.take());
        let _ = self.client.wait();
    }
}

/// Loads a key, read by us: CI systems write key files that are readable for others, which `ssh-add` refuses. Nobody is asked
/// for a passphrase.
fn add(ssh_add: &Path, socket: &Path, key: &Path, env: &Env) -> anyhow::Result<()> {
    let shown = key.display();
    let file = File::open(env.current_dir.join(key)).with_context(|| format!("cannot read the ssh key `{shown}`"))?;
    let mut command = Command::new(ssh_add);
    command.args(["-q", "-"]).stdin(file).env("SSH_AUTH_SOCK", socket).env("LC_ALL", "C");
    command.env("SSH_ASKPASS", "/bin/false").env("SSH_ASKPASS_REQUIRE", "force");
    let output = command.output().with_context(|| format!("cannot start {}", ssh_add.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let said = stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it may have a passphrase");
    Err(Error::user(format!("ssh key `{shown}` cannot be loaded: {said}"))
        .hint("give a private key without a passphrase: nobody is there to type it")
        .into())
}

fn program(env: &Env, name: &str) -> Result<PathBuf, Error> {
    which::which_in(name, env.get_os("PATH"), &env.current_dir).map_err(|_| {
        Error::environment(format!("--ssh-key: there is no `{name}` on this host, which gives build commands the keys"))
            .hint("install the OpenSSH client, or start an agent yourself and set $SSH_AUTH_SOCK instead of --ssh-key")
    })
}
