//! Breaking a long text into lines that end in `↵` (spec/build.md 8.1). Widths are counted in characters; colour sequences
//! (`ESC [ … m`) have none.

use std::borrow::Cow;

use super::style::RESET;

/// A column for the `↵` and one for the space before it.
const MARK_WIDTH: usize = 2;

/// Narrower than this nothing readable can be written, so the log is allowed to be wider.
const NARROWEST: usize = 12;

/// The lines of `text` for a content width of `columns`. Every line but the last is padded and ends in `↵`. A colour that is on
/// at a break is switched off before it and on again after it.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<Cow<'_, str>> {
    let columns = columns.max(NARROWEST);
    if text.len() <= columns || width(text) <= columns {
        return vec![Cow::Borrowed(text)];
    }
    let mut lines = Lines::new(columns - MARK_WIDTH);
    for unit in units(text) {
        lines.add(unit);
    }
    lines.finish().into_iter().map(Cow::Owned).collect()
}

/// Visible characters of `text`.
pub(super) fn width(text: &str) -> usize {
    Pieces(text).filter(|piece| matches!(piece, Piece::Char(_))).count()
}

/// `text` shortened to `columns` visible characters, the last four of them being ` ...`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    const MARK: &str = " ...";
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(MARK.len())).collect();
    kept + MARK
}

struct Lines {
    usable: usize,
    done: Vec<String>,
    line: String,
    filled: usize,
    /// Colour sequences since the last reset, to be repeated after a break.
    colour: String,
}

impl Lines {
    fn new(usable: usize) -> Self {
        Self { usable, done: Vec::new(), line: String::new(), filled: 0, colour: String::new() }
    }

    fn add(&mut self, unit: &str) {
        let wide = width(unit);
        if wide > self.usable - self.filled && wide <= self.usable {
            self.break_line();
        }
        for piece in Pieces(unit) {
            match piece {
                Piece::Colour(sequence) => self.switch(sequence),
                Piece::Char(char) => {
                    if self.filled == self.usable {
                        self.break_line();
                    }
                    self.line.push(char);
                    self.filled += 1;
                }
            }
        }
    }

    fn switch(&mut self, sequence: &str) {
        self.line.push_str(sequence);
        if matches!(sequence, "\x1b[0m" | "\x1b[m") {
            self.colour.clear();
        } else {
            self.colour.push_str(sequence);
        }
    }

    fn break_line(&mut self) {
        let mut line = std::mem::replace(&mut self.line, self.colour.clone());
        if !self.colour.is_empty() {
            line.push_str(RESET);
        }
        line.extend(std::iter::repeat_n(' ', self.usable - self.filled));
        line.push_str(" ↵");
        self.done.push(line);
        self.filled = 0;
    }

    fn finish(mut self) -> Vec<String> {
        let last = match self.line.strip_prefix(' ') {
            Some(rest) if !self.done.is_empty() => rest.to_owned(),
            _ => self.line,
        };
        if !last.is_empty() {
            self.done.push(last);
        }
        self.done
    }
}

/// Words, each with the one space after it.
fn units(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

enum Piece<'a> {
    Colour(&'a str),
    Char(char),
}

struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let mut chars = self.0.chars();
        let first = chars.next()?;
        if self.0.starts_with("\x1b[")
            && let Some(end) = self.0.find('m')
        {
            let (sequence, rest) = self.0.split_at(end + 1);
            self.0 = rest;
            return Some(Piece::Colour(sequence));
        }
        self.0 = chars.as_str();
        Some(Piece::Char(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_exactly_the_width_stays_whole() {
        assert_eq!(wrap(&"x".repeat(40), 40), ["x".repeat(40)]);
    }

    #[test]
    fn a_word_that_fits_a_line_moves_to_the_next() {
        assert_eq!(wrap("one two threefourfive", 16), ["one two        ↵", "threefourfive"]);
    }

    #[test]
    fn a_longer_word_fills_the_rest() {
        assert_eq!(wrap("key: 0123456789abcdef", 16), ["key: 012345678 ↵", "9abcdef"]);
    }

    #[test]
    fn a_space_that_starts_the_last_line_goes() {
        assert_eq!(wrap("0123456789abcd xy", 16), ["0123456789abcd ↵", "xy"]);
    }

    #[test]
    fn colour_is_closed_before_a_break_and_opened_after() {
        assert_eq!(
            wrap("\x1b[31mone two threefourfive\x1b[0m", 16),
            ["\x1b[31mone two \x1b[0m       ↵", "\x1b[31mthreefourfive\x1b[0m"]
        );
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(wrap(&"д".repeat(16), 16).len(), 1);
        assert_eq!(wrap(&"д".repeat(17), 16), [format!("{} ↵", "д".repeat(14)), "д".repeat(3)]);
    }

    #[test]
    fn a_title_is_cut_with_dots() {
        assert_eq!(cut("Publishing image backend", 14), "Publishing ...");
        assert_eq!(cut("short", 14), "short");
        assert_eq!(cut("short", 2), " ...");
    }

    #[test]
    fn no_width_is_too_small_to_survive() {
        for columns in 0..20 {
            let lines = wrap("a few words and averyveryverylongone", columns);
            assert!(lines.iter().all(|line| width(line) <= columns.max(NARROWEST)), "{lines:?}");
        }
    }
}
