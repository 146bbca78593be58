//! Paths and patterns as a section gives them.

use super::error::{At, Problem};
use super::field::Field;

/// An absolute path, cleaned as by Go's `path.Clean`: no `.`, `..`, doubled or closing slashes.
pub(super) fn absolute(field: Field<'_>, key: &'static str) -> Result<String, At> {
    let path = plain(field, key)?;
    if !path.starts_with('/') {
        return Err(field.wrong(Problem::NotAbsolute { key, path }));
    }
    Ok(clean_absolute(&path))
}

/// Patterns relative to a mapping.
pub(super) fn patterns(section: Field<'_>, key: &'static str) -> Result<Vec<String>, At> {
    let Some(field) = section.get(key) else {
        return Ok(Vec::new());
    };
    if field.node.text() == Some("") {
        return Ok(Vec::new());
    }
    let patterns = field.texts()?;
    let places = field.items_or_none().chain(std::iter::repeat(field));
    for (path, place) in patterns.iter().zip(places) {
        if path.starts_with('/') {
            return Err(place.wrong(Problem::NotRelative { key, path: path.clone() }));
        }
        if let Some(reason) = pattern_fault(path) {
            return Err(place.wrong(Problem::BadPattern { key, path: path.clone(), reason }));
        }
    }
    Ok(patterns)
}

/// A path from the project's directory that stays inside it, cleaned; `.` is the directory itself.
pub(super) fn inside_project(field: Field<'_>, key: &'static str) -> Result<String, At> {
    let path = plain(field, key)?;
    let outside = || field.wrong(Problem::OutsideProject { key, path: path.clone() });
    if path.starts_with('/') {
        return Err(outside());
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(outside)?),
            part => parts.push(part),
        }
    }
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

fn plain(field: Field<'_>, key: &'static str) -> Result<String, At> {
    let path = field.text()?;
    if path.chars().any(char::is_control) {
        return Err(field.wrong(Problem::ControlCharacter { key: key.to_owned() }));
    }
    Ok(path)
}

fn clean_absolute(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Why a pattern of `*`, `**`, `?`, `[set]` and `\` could never match.
fn pattern_fault(pattern: &str) -> Option<&'static str> {
    if pattern.is_empty() {
        return Some("it is empty");
    }
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.next().is_none() => return Some("it ends with `\\`"),
            '[' => {
                rest.next_if(|c| matches!(c, '^' | '!'));
                if rest.peek() == Some(&']') {
                    return Some("the set `[]` is empty");
                }
                loop {
                    match rest.next() {
                        Some(']') => break,
                        Some('\\') => drop(rest.next()),
                        Some(_) => {}
                        None => return Some("a `[` is not closed"),
                    }
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_cleaned() {
        for (path, expected) in
            [("/", "/"), ("/app/", "/app"), ("//a//b/./c/..", "/a/b"), ("/..", "/"), ("/a/../../b", "/b")]
        {
            assert_eq!(clean_absolute(path), expected);
        }
    }

    /// hostile-inputs 35.
    #[test]
    fn patterns_are_balanced() {
        for (pattern, fault) in [
            ("**/*.[ch]", None),
            ("a[^x-z]b", None),
            ("[!]", Some("the set `[]` is empty")),
            ("a[bc", Some("a `[` is not closed")),
            ("[a\\]", Some("a `[` is not closed")),
            ("\\[", None),
            ("a\\", Some("it ends with `\\`")),
            ("a]", None),
            ("", Some("it is empty")),
            ("[]", Some("the set `[]` is empty")),
        ] {
            assert_eq!(pattern_fault(pattern), fault, "{pattern}");
        }
    }
}
