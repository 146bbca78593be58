//! What went wrong in a template, where, and through which includes.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use crate::error::{ErrorKind, Explain};

/// The text a template came from.
#[derive(Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
}

/// A failure to parse or to execute a template. `Display` is Go's own text, the whole chain of includes in one line;
/// [`Error::frame`] draws the line at fault. Its fields are those of [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Fault>);

impl Deref for Error {
    type Target = Fault;

    fn deref(&self) -> &Fault {
        &self.0
    }
}

impl Error {
    /// The error with one template called otherwise, in the whole chain: as the user knows the file.
    #[must_use]
    pub fn renamed(mut self, name: &str, shown: &str) -> Self {
        if self.0.name == name {
            shown.clone_into(&mut self.0.name);
        }
        self.0.cause = self.0.cause.map(|cause| cause.renamed(name, shown));
        self
    }
}

/// What an [`Error`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as it was named to `parse`.
    pub name: String,
    /// From 1; 0 when there is no place to point at (an unknown template).
    pub line: usize,
    /// Byte offset in the line, from 0.
    pub column: usize,
    /// What is wrong, without the place.
    pub message: String,
    /// The template and expression under execution; `None` for a parse error.
    pub executing: Option<Executing>,
    /// The text of the line at fault.
    pub source_line: String,
    /// The failure inside a template that this place included.
    pub cause: Option<Error>,
    /// What the user can do.
    pub hints: Vec<String>,
}

impl Fault {
    fn at(source: &Source, offset: usize, message: String) -> Self {
        let before = source.text.get(..offset).unwrap_or(&source.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            name: source.name.clone(),
            line: 1 + before.matches('\n').count(),
            column: before.len() - start,
            message,
            executing: None,
            source_line: source.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned(),
            cause: None,
            hints: Vec::new(),
        }
    }
}

/// Where execution stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executing {
    pub template: String,
    pub expression: String,
}

impl Error {
    /// An error of the syntax at byte `offset`, reported for `line` as Go counts it.
    pub(super) fn parse(source: &Source, line: usize, offset: usize, message: impl Into<String>) -> Self {
        let mut fault = Fault::at(source, offset, message.into());
        if fault.line != line {
            fault.line = line;
            fault.column = 0;
            fault.source_line = source.text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned();
        }
        Self(Box::new(fault))
    }

    /// An error without a place.
    pub(super) fn plain(name: &str, message: impl Into<String>) -> Self {
        let source = Source { name: name.to_owned(), text: String::new() };
        Self(Box::new(Fault { line: 0, ..Fault::at(&source, 0, message.into()) }))
    }

    /// An error at byte `offset` of `source` while `template` ran `expression`.
    pub(super) fn execute(
        source: &Source,
        offset: usize,
        template: &Rc<str>,
        expression: String,
        message: String,
        cause: Option<Error>,
    ) -> Self {
        let executing = Some(Executing { template: template.to_string(), expression });
        Self(Box::new(Fault { executing, cause, ..Fault::at(source, offset, message) }))
    }

    /// Adds what the user can do.
    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.0.hints.extend(hint);
        self
    }

    /// Its own part of the text, without the cause.
    fn write_link(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template: {}", self.name)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if let Some(Executing { template, expression }) = &self.executing {
            write!(f, ":{}: executing {} at <{expression}>", self.column, super::quote::quote(template))?;
        }
        write!(f, ": {}", self.message)
    }

    /// The innermost failure: where the trouble is, behind all includes.
    pub fn origin(&self) -> &Error {
        let mut error = self;
        while let Some(cause) = &error.cause {
            error = cause;
        }
        error
    }

    /// The line at fault with a mark under the column, for the innermost failure. Here the column counts from 1, as in
    /// editors:
    ///
    /// ```text
    ///   --> werf.yaml:7:11
    ///    |
    ///  7 | image: {{ required "no name" .name }}
    ///    |           ^
    /// ```
    pub fn frame(&self) -> String {
        let origin = self.origin();
        if origin.line == 0 {
            return String::new();
        }
        let number = origin.line.to_string();
        let margin = " ".repeat(number.len());
        let (shown, marked) = window(&origin.source_line, origin.column);
        let blank: String = marked.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!(
            "{margin}--> {}:{}:{}\n{margin} |\n{number} | {shown}\n{margin} | {blank}^",
            origin.name,
            origin.line,
            origin.column + 1
        )
    }
}

/// The part of a line worth showing, and what of it stands before the column. Lines can be endless.
fn window(line: &str, column: usize) -> (String, String) {
    const BEFORE: usize = 60;
    const WIDTH: usize = 120;
    let before = line.get(..column).unwrap_or(line);
    let after = line.get(column..).unwrap_or_default();
    let skipped = before.chars().count().saturating_sub(BEFORE);
    let mut head: String = before.chars().skip(skipped).collect();
    if skipped > 0 {
        head.insert(0, '…');
    }
    let room = WIDTH.saturating_sub(head.chars().count());
    let mut shown = head.clone();
    shown.extend(after.chars().take(room));
    if after.chars().nth(room).is_some() {
        shown.push('…');
    }
    (shown, head)
}

impl fmt::Display for Error {
    /// The chain of includes from the outermost in; of a very long one only its ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ENDS: usize = 5;
        let mut chain = vec![self];
        while let Some(cause) = chain.last().and_then(|error| error.cause.as_ref()) {
            chain.push(cause);
        }
        let hidden = ENDS..chain.len().saturating_sub(ENDS);
        for (index, error) in chain.iter().enumerate() {
            if !hidden.contains(&index) {
                error.write_link(f)?;
            } else if index == hidden.start {
                write!(f, "… {} more …: ", hidden.len())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl Explain for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::User
    }

    fn hints(&self) -> Vec<String> {
        self.origin().hints.clone()
    }
}

/// Why a function refused, before the place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// One sentence.
    Message(String),
    /// The failure of another template (`include`, `tpl`).
    Nested(Error),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::Message(message.to_owned())
    }
}
