//! The output of a command on its way into the log: cut into lines, masked, made harmless, tagged, wrapped.

use std::borrow::Cow;
use std::io::Write;

use super::Frame;
use super::mask::MaskFilter;
use super::plain::{Colours, plain};
use super::style::Style;

/// A line longer than this is broken: memory must not depend on what a command prints.
const LONGEST_LINE: usize = 64 << 10;

/// Takes bytes as they come and shows whole lines. [`StreamLog::finish`] (or dropping it) shows what is left.
pub struct StreamLog {
    frame: Frame,
    tag: String,
    mask: MaskFilter,
    /// Masked bytes without a line end yet.
    rest: Vec<u8>,
}

impl StreamLog {
    pub(super) fn new(frame: &Frame, tag: &str, style: Style) -> Self {
        let options = frame.ui.options();
        let tag = match (tag, options.pretty) {
            ("", _) | (_, false) => String::new(),
            _ if options.colour => style.paint(tag) + "  ",
            _ => format!("{tag}  "),
        };
        Self { frame: frame.clone(), tag, mask: frame.ui.mask().filter(), rest: Vec::new() }
    }

    /// Takes the next bytes; incomplete lines wait for their end.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.frame.is_visible() {
            self.mask.push(bytes, &mut self.rest);
            self.show_lines();
        }
    }

    /// Shows an unfinished last line.
    pub fn finish(self) {
        drop(self);
    }

    fn show_lines(&mut self) {
        let mut lines = String::new();
        let mut shown = 0;
        while let Some(length) = self.rest.get(shown..).and_then(line_length) {
            let line = self.rest.get(shown..shown + length).unwrap_or_default();
            self.render(line, &mut lines);
            shown += length;
        }
        self.rest.drain(..shown);
        if !lines.is_empty() {
            self.frame.put(&lines);
        }
    }

    fn render(&self, line: &[u8], lines: &mut String) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = String::from_utf8_lossy(line);
        let colours = if self.frame.ui.options().colour { Colours::Keep } else { Colours::Drop };
        let text = match plain(&text, colours) {
            // Once more: a secret that was cut in pieces by escape sequences is whole only now.
            Cow::Owned(changed) => Cow::Owned(self.frame.ui.mask().text(&changed).into_owned()),
            unchanged => unchanged,
        };
        self.frame.render(&self.tag, &text, Style::Normal, lines);
    }
}

impl Write for StreamLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        StreamLog::write(self, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for StreamLog {
    fn drop(&mut self) {
        self.mask.finish(&mut self.rest);
        self.show_lines();
        if !self.rest.is_empty() {
            let mut last = String::new();
            self.render(&self.rest, &mut last);
            self.frame.put(&last);
        }
    }
}

/// Length of the first line with its end, if it is complete or too long to wait for.
fn line_length(bytes: &[u8]) -> Option<usize> {
    match bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') {
        Some(at) => Some(at + 1),
        None if bytes.len() >= LONGEST_LINE => Some(char_boundary(bytes, LONGEST_LINE)),
        None => None,
    }
}

/// The last place at or before `at` that does not split a UTF-8 character.
fn char_boundary(bytes: &[u8], at: usize) -> usize {
    let is_start = |place: &usize| bytes.get(*place).is_none_or(|byte| byte & 0xc0 != 0x80);
    (at.saturating_sub(3)..=at).rev().find(is_start).unwrap_or(at)
}
