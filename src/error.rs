//! What went wrong, of which kind, and what to do about it.
//!
//! Modules describe their own failures with small `thiserror` enums that implement [`Explain`]; scenarios add what was
//! attempted with `anyhow` context; the command line finds the kind in the chain and turns it into an exit code.

use std::fmt;

/// Who has to act. The exit code is what scripts see (decisions 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The user's input or script: a file, a value, a failing command.
    User,
    /// The command line itself.
    Usage,
    /// The machine: a daemon, a disk, permissions.
    Environment,
    /// A remote refused or failed: a registry, a git server, a cluster.
    Remote,
    /// A signal ended the run.
    Interrupted,
    /// A bug of ours.
    Bug,
}

impl ErrorKind {
    /// The process exit code of decisions 6.2.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Remote => 4,
            Self::Interrupted => 17,
            Self::Bug => 70,
        }
    }
}

/// A module's own error that knows who has to act and what to do.
pub trait Explain: std::error::Error {
    fn kind(&self) -> ErrorKind;
    /// What the user can do, one sentence each; printed as `hint: …` lines.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A failure told directly, where no module-specific enum is worth having.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hints: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new(), source: None }
    }

    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Environment, message)
    }

    pub fn remote(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Remote, message)
    }

    /// Adds one sentence on what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the failure behind this one; it is printed after the message.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Explain for Error {
    fn kind(&self) -> ErrorKind {
        self.kind
    }

    fn hints(&self) -> Vec<String> {
        self.hints.clone()
    }
}
