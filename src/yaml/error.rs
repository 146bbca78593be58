//! What can be wrong with a YAML text.

use super::Position;
use crate::error::{ErrorKind, Explain};

/// A text that is not YAML, or more than we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {problem}", at.line, at.column)]
pub struct Error {
    /// Where it is, in the text given.
    pub at: Position,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the text has {bytes} bytes, more than the {limit} allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("lists and maps are nested more than {limit} levels deep")]
    TooDeep { limit: usize },
    #[error("more than {limit} values, counting what aliases repeat")]
    TooManyNodes { limit: usize },
    #[error("more than {limit} aliases")]
    TooManyAliases { limit: usize },
    #[error("aliases repeat more than {limit} bytes of text")]
    TooMuchText { limit: usize },
    #[error("control character U+{code:04X} is not allowed in YAML")]
    ControlCharacter { code: u32 },
    #[error("a tab cannot indent YAML, use spaces")]
    TabIndent,
    #[error("key `{key}` is given twice; it first stands at line {}, column {}", first.line, first.column)]
    DuplicateKey { key: String, first: Position },
    #[error("a key must be a single value, not a list or a map")]
    CompositeKey,
    #[error("the alias repeats a value that it is itself part of")]
    AliasCycle,
    #[error("`<<` merges a map or a list of maps, not this")]
    MergeOfScalar,
    #[error("`{text}` is not a value for the tag `!!{tag}`")]
    WrongTag { tag: String, text: String },
    #[error("{0}")]
    Syntax(String),
}

impl Explain for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }
}
