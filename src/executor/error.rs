//! What can go wrong in a hook, beyond the job's own script.

use std::io;
use std::path::PathBuf;

use crate::error::{ErrorKind, Explain};

#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("the runner gave no job response file (JOB_RESPONSE_FILE is not set)")]
    NoResponseFile,
    #[error("cannot read the job response file `{}`: {source}", path.display())]
    ReadResponse { path: PathBuf, source: io::Error },
    #[error("the job response file `{}` is not a job: {reason}", path.display())]
    Response { path: PathBuf, reason: String },
    #[error("job {job} was not prepared on this host: `{}` is missing", path.display())]
    NotPrepared { job: u64, path: PathBuf },
    #[error("cannot {action} `{}`: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot write credentials for the job")]
    DockerConfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("job {job} is still at work in processes {holders:?}, which do not end")]
    Busy { job: u64, holders: Vec<u32> },
    #[error("no free directory for project {project}: all {count} are in use")]
    NoSlot { project: u64, count: usize },
    #[error("cannot start `{program}` for the script: {reason}")]
    Start { program: String, reason: String },
    #[error("the process that watches over the script was killed")]
    SupervisorLost,
    #[error("ended by signal {0}")]
    Interrupted(&'static str),
    #[error("cannot find out about the processes of this host: {0}")]
    Processes(#[source] io::Error),
}

impl Explain for ExecutorError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Interrupted(_) => ErrorKind::Interrupted,
            _ => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoResponseFile => {
                "GitLab Runner 15 or later starts this command; `slipway exec JOB` runs a job by hand"
            }
            Self::NotPrepared { .. } => "set `prepare_exec` and `prepare_args` in the runner's config.toml",
            Self::Start { .. } => "install the shell that the runner's config.toml names",
            Self::SupervisorLost => "look for the kernel's out-of-memory killer in the system log",
            Self::NoSlot { .. } => "`concurrent` in the runner's config.toml is higher than this host is meant for",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// Names the file in an I/O error.
pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> ExecutorError {
    let path = path.into();
    move |source| ExecutorError::File { action, path, source }
}
