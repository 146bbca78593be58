//! The rendered text cut into its sections (spec/build.md 1.3).

use crate::yaml::{self, Dialect, Document, Limits, Position};

use super::error::{At, Error, Problem};
use super::field::Field;

/// One document of the rendered text.
#[derive(Clone, Debug)]
pub struct Section {
    /// Line of the rendered text, from 1, on which `text` begins.
    pub first_line: usize,
    pub text: String,
    pub kind: SectionKind,
    /// The images or the artifact it declares; `""` is the nameless image. Empty for the meta section.
    pub names: Vec<String>,
    pub(super) document: Document,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    Meta,
    Stapel,
    Dockerfile,
}

impl Section {
    pub(super) fn root(&self) -> Field<'_> {
        Field::new("section", self.document.root())
    }

    /// A mistake in this section, as the user is told of it.
    pub(super) fn error(&self, file: &str, at: At) -> Error {
        Error::in_text(file, self.first_line, &self.text, at.place, at.problem)
    }
}

/// A document as text, not yet looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub first_line: usize,
    pub text: &'a str,
}

/// Cuts at lines of `---`, blanks and a comment; drops documents of nothing but comments and blanks.
pub(super) fn split(rendered: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    let mut cut = |start: usize, end: usize, first_line: usize| {
        let text = rendered.get(start..end).unwrap_or_default();
        if text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
            chunks.push(Chunk { first_line, text });
        }
    };
    for (index, line) in rendered.split_inclusive('\n').enumerate() {
        if is_separator(line) {
            cut(start, offset, first_line);
            (start, first_line) = (offset + line.len(), index + 2);
        }
        offset += line.len();
    }
    cut(start, rendered.len(), first_line);
    chunks
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| {
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        rest.is_empty() || rest.starts_with('#')
    })
}

/// Reads a chunk and says what kind of section it is.
pub(super) fn classify(chunk: &Chunk<'_>, file: &str) -> Result<Section, Error> {
    let document = decode(chunk, file)?;
    let root = document.root();
    let kind = if root.get("configVersion").is_some() {
        SectionKind::Meta
    } else if root.get("dockerfile").is_some() {
        SectionKind::Dockerfile
    } else if root.get("image").is_some() || root.get("artifact").is_some() {
        SectionKind::Stapel
    } else {
        let problem = Problem::UnknownSection;
        return Err(Error::in_text(file, chunk.first_line, chunk.text, root.spans.start, problem));
    };
    Ok(Section { first_line: chunk.first_line, text: chunk.text.to_owned(), kind, names: Vec::new(), document })
}

fn decode(chunk: &Chunk<'_>, file: &str) -> Result<Document, Error> {
    let fail = |at, problem| Error::in_text(file, chunk.first_line, chunk.text, at, problem);
    let documents = yaml::load_all(chunk.text, Dialect::Go11, &Limits::default())
        .map_err(|error| fail(error.at, Problem::Yaml(error.problem)))?;
    let mut documents = documents.into_iter();
    let Some(first) = documents.next() else {
        return Err(fail(Position { line: 1, column: 1 }, Problem::UnknownSection));
    };
    match documents.next() {
        Some(second) => Err(fail(second.spans.start, Problem::SecondDocument)),
        None => Ok(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, &str)> {
        split(text).into_iter().map(|chunk| (chunk.first_line, chunk.text)).collect()
    }

    #[test]
    fn a_separator_stands_alone_at_the_start_of_a_line() {
        assert_eq!(lines("a: 1\n---\nb: 2\n"), [(1, "a: 1\n"), (3, "b: 2\n")]);
        assert_eq!(lines("a: 1\r\n--- \t\r\nb: 2"), [(1, "a: 1\r\n"), (3, "b: 2")]);
        assert_eq!(lines("a: 1\n--- # my-app\nb: 2\n"), [(1, "a: 1\n"), (3, "b: 2\n")]);
        assert_eq!(lines("a: |\n  x\n  ---\n  y\n"), [(1, "a: |\n  x\n  ---\n  y\n")]);
        assert_eq!(lines("---- \n--- b\n").len(), 1);
    }

    #[test]
    fn documents_without_content_are_dropped() {
        assert_eq!(lines("# head\n---\n\n---\na: 1\n---\n  # tail\n"), [(5, "a: 1\n")]);
        assert_eq!(lines(""), []);
        assert_eq!(lines("---\n---"), []);
    }
}
