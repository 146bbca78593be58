//! What libyaml, and so Go's parser and Ruby's, lets pass and the parser of YAML 1.2 does not: lines of a bracketed or
//! quoted value that stand no deeper than the key they belong to, and a tab after a colon.
//!
//! ```yaml
//! EXPOSE: [
//!   "80"
//! ]
//! ```
//!
//! The text is mended where the parser stopped and read again. A mended line is only moved to the right, so that every
//! place can be told as it is in the user's text.

use std::collections::BTreeSet;

use super::load::Position;

/// A text and what was done to it.
pub(super) struct Text {
    pub text: String,
    /// Lines, from 1, that were moved.
    moved: BTreeSet<usize>,
    /// How much may yet be read again.
    budget: usize,
}

/// Deeper than any key of a text that passes the limits of depth in practice; what is still not deep enough is an error.
const COLUMNS: usize = 200;

/// Bytes read again in all for one text.
const BUDGET: usize = 64 << 20;

impl Text {
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), moved: BTreeSet::new(), budget: BUDGET }
    }

    /// A place of this text, as it is in the user's.
    pub fn original(&self, at: Position) -> Position {
        let moved = if self.moved.contains(&at.line) { COLUMNS } else { 0 };
        Position { column: at.column.saturating_sub(moved).max(1), ..at }
    }

    /// Mends the text after the parser stopped at a place of it; `false` when there is nothing to mend.
    pub fn mend(&mut self, at: Position, message: &str) -> bool {
        let Some(budget) = self.budget.checked_sub(self.text.len()) else {
            return false;
        };
        self.budget = budget;
        match message {
            "invalid indentation" | "invalid indentation in flow construct" => self.move_line(at.line),
            "invalid indentation in quoted scalar" => {
                self.next_line_to_move(at.line).is_some_and(|line| self.move_line(line))
            }
            "':' must be followed by a valid YAML whitespace" => self.replace_tabs_before(at),
            _ => false,
        }
    }

    fn move_line(&mut self, line: usize) -> bool {
        let Some(start) = self.start_of(line).filter(|_| self.moved.insert(line)) else {
            return false;
        };
        self.text.insert_str(start, &" ".repeat(COLUMNS));
        true
    }

    /// The first line after the start of a quoted value that has something in it and was not moved.
    fn next_line_to_move(&self, start: usize) -> Option<usize> {
        let lines = self.text.lines().enumerate().skip(start);
        let mut numbers = lines.filter(|(_, line)| !line.trim().is_empty()).map(|(index, _)| index + 1);
        numbers.find(|number| !self.moved.contains(number))
    }

    fn replace_tabs_before(&mut self, at: Position) -> bool {
        let Some(start) = self.start_of(at.line) else { return false };
        let Some(line) = self.text.get(start..) else { return false };
        let before: String = line.chars().take(at.column - 1).collect();
        let blanks = before.len() - before.trim_end_matches([' ', '\t']).len();
        let end = start + before.len();
        if !before.get(before.len() - blanks..).is_some_and(|blanks| blanks.contains('\t')) {
            return false;
        }
        self.text.replace_range(end - blanks..end, &" ".repeat(blanks));
        true
    }

    fn start_of(&self, line: usize) -> Option<usize> {
        if line <= 1 {
            return Some(0);
        }
        self.text.match_indices('\n').nth(line - 2).map(|(index, _)| index + 1)
    }
}
