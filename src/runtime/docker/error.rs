//! What can go wrong with an engine.

use bollard::errors::Error as EngineError;

use crate::error::{ErrorKind, Explain};

/// A failure of the engine, or of a registry that the engine spoke to.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("cannot reach the Docker Engine at `{host}`: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("cannot {attempted}: the connection to the Docker Engine at `{host}` broke: {reason}")]
    Lost { host: String, attempted: String, reason: String },
    #[error("cannot {attempted}: the Docker Engine says: {message}")]
    Refused { attempted: String, status: Option<u16>, message: String },
    #[error("the image `{name}` is not on this host")]
    NoImage { name: String },
    #[error("cannot {attempted}: {message}")]
    Registry { attempted: String, message: String },
    #[error("the Docker Engine gave {what} that cannot be understood: `{text}`")]
    Strange { what: &'static str, text: String },
}

impl DockerError {
    pub(super) fn of_engine(host: String, attempted: String, error: &EngineError) -> Self {
        match error {
            EngineError::DockerResponseServerError { status_code, message } => {
                Self::Refused { attempted, status: Some(*status_code), message: message.trim().to_owned() }
            }
            EngineError::DockerStreamError { error } => {
                Self::Refused { attempted, status: None, message: error.trim().to_owned() }
            }
            other => Self::Lost { host, attempted, reason: text(other) },
        }
    }

    /// The engine has no such image or container.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: Some(404), .. })
    }
}

/// An error with what is behind it, which the engine's client leaves out.
pub(super) fn text(error: &EngineError) -> String {
    let text = error.to_string();
    let mut text = text.trim_start_matches("Error in the hyper legacy client: ").to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl Explain for DockerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry { .. } => ErrorKind::Remote,
            // The engine found the request itself at fault: a command that is not in the image, a path that is not there.
            Self::Refused { status: Some(400), .. } => ErrorKind::User,
            _ => ErrorKind::Environment,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreachable { reason, .. } if reason.contains("ermission denied") => {
                vec!["add the user to the group `docker`, or run as root".to_owned()]
            }
            Self::Unreachable { .. } => {
                vec!["start the Docker Engine, or set `DOCKER_HOST` to where one listens".to_owned()]
            }
            Self::Lost { .. } => vec!["look at the Docker Engine's log, then run again".to_owned()],
            Self::Registry { message, .. }
                if ["denied", "unauthorized", "no basic auth"].iter().any(|word| message.contains(word)) =>
            {
                vec!["log in to the registry, or check that the login may do this".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
