//! The boxes of the log (spec/build.md 8.1): a [`Frame`] is a place in it.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use super::lane::{LaneId, ROOT};
use super::plain::{Colours, plain};
use super::process::{Inline, Process, Timing};
use super::progress::Progress;
use super::section::Fold;
use super::stream::StreamLog;
use super::style::Style;
use super::wrap::{cut, width, wrap};
use super::{Level, Ui};

/// Width of the elapsed time that starts each line of a debug log.
const ELAPSED_WIDTH: usize = 12;

/// A place in the log: it knows its borders, its width and how loud it is. Cheap to clone.
#[derive(Clone)]
pub struct Frame {
    pub(super) ui: Ui,
    pub(super) lane: Arc<Lane>,
    depth: usize,
    indent: usize,
    level: Level,
}

/// The hold on a lane; when the last frame of a task is gone, the task is over.
pub(super) struct Lane {
    ui: Ui,
    id: LaneId,
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.id != ROOT {
            self.ui.output().finish(self.id, false);
        }
    }
}

impl Frame {
    pub(super) fn root(ui: Ui) -> Self {
        Self { lane: Arc::new(Lane { ui: ui.clone(), id: ROOT }), ui, depth: 0, indent: 0, level: Level::Normal }
    }

    /// The same place for lines that only a louder log shows.
    pub fn at(&self, level: Level) -> Self {
        Self { level: self.level.max(level), ..self.clone() }
    }

    /// As [`Ui::step_aside`]: for a program that has the terminal for itself.
    pub fn step_aside(&self) -> super::Aside {
        self.ui.step_aside()
    }

    /// Columns that a line of text has here, within the borders.
    pub fn width(&self) -> usize {
        self.columns()
    }

    /// Opens a box that tells its time at the end: `┌ Title` … `└ Title (1.23 seconds)`.
    pub fn process(&self, title: &str, style: Style) -> Process {
        let fold = (self.depth == 0).then_some(Fold::Open);
        Process::open(self, title, style, Timing::Shown, fold)
    }

    /// As [`Frame::process`], at any depth a section of its own that GitLab shows folded: for what is long and seldom read.
    pub fn collapsed(&self, title: &str, style: Style) -> Process {
        Process::open(self, title, style, Timing::Shown, Some(Fold::Collapsed))
    }

    /// Opens a box without time: `┌ Title` … `└ Title`.
    pub fn block(&self, title: &str) -> Process {
        let fold = (self.depth == 0).then_some(Fold::Open);
        Process::open(self, title, Style::Highlight, Timing::Hidden, fold)
    }

    /// Something short on one line that is printed at its end: `Title ... (0.12 seconds)`.
    pub fn inline(&self, title: &str) -> Inline {
        Inline::open(self, title)
    }

    pub fn line(&self, text: impl Display) {
        self.say(&text.to_string(), Style::Normal);
    }

    /// A line in bold.
    pub fn highlight(&self, text: impl Display) {
        self.say(&text.to_string(), Style::Highlight);
    }

    /// A line that `--log-verbose` shows.
    pub fn verbose(&self, text: impl Display) {
        self.at(Level::Verbose).line(text);
    }

    /// A line that `--log-debug` shows.
    pub fn debug(&self, text: impl Display) {
        self.at(Level::Debug).line(text);
    }

    /// `WARNING: …`, also in a quiet log.
    pub fn warn(&self, text: impl Display) {
        let frame = Self { level: Level::Quiet, ..self.clone() };
        frame.say(&format!("WARNING: {text}"), Style::Failure);
    }

    /// `├ Info`: what follows in this box is its result.
    pub fn info(&self) {
        if !self.is_visible() || self.depth == 0 || !self.ui.options().pretty {
            return;
        }
        let outer = Self { depth: self.depth - 1, ..self.clone() };
        self.drop_gap();
        self.put(&format!("{}├ Info\n", outer.prefix()));
    }

    /// Keys and values, the keys right-aligned to 12 columns; then a blank line before what follows in the same box.
    pub fn details(&self, pairs: &[(&str, String)]) {
        for (key, value) in pairs {
            self.say(&format!("  {key:>12}: {value}"), Style::Details);
        }
        self.gap();
    }

    /// As [`Frame::details`], the keys aligned to the longest; continued lines keep the indent (spec/publish-and-cleanup.md 4.5).
    pub fn indented_details(&self, pairs: &[(&str, String)]) {
        let inner = self.indented(2);
        let longest = pairs.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
        for (key, value) in pairs {
            inner.say(&format!("{key:>longest$}: {value}"), Style::Details);
        }
        self.gap();
    }

    /// The same place, its lines moved right by `columns`.
    pub fn indented(&self, columns: usize) -> Self {
        Self { indent: self.indent + columns, ..self.clone() }
    }

    /// Asks for a blank line before the next one, unless the box ends first. Asking twice gives one.
    pub fn gap(&self) {
        if self.is_visible() {
            self.ui.output().want_gap(self.lane.id, format!("{}\n", self.prefix().trim_end()));
        }
    }

    /// The output of a command; `tag` (`<image>/<stage>`) starts each line.
    pub fn stream(&self, tag: &str, style: Style) -> StreamLog {
        StreamLog::new(self, tag, style)
    }

    /// How far something is, in bytes: a bar on a terminal, else a line now and then.
    pub fn progress(&self, label: &str) -> Progress {
        Progress::new(self, label)
    }

    /// One frame for each of `count` tasks that run side by side. The first unfinished one prints live, the others' lines wait
    /// and are shown in order; those of failed tasks last.
    pub fn parallel(&self, count: usize) -> Vec<Frame> {
        let tasks = self.ui.output().open_group(self.lane.id, count);
        tasks.into_iter().map(|id| Self { lane: Arc::new(Lane { ui: self.ui.clone(), id }), ..self.clone() }).collect()
    }

    /// Ends a task of [`Frame::parallel`]; dropping all of its frames does the same, as a success.
    pub fn finish_task(&self, failed: bool) {
        self.ui.output().finish(self.lane.id, failed);
    }

    /// How an image is called in titles: `⛵ image NAME`, `~` for the nameless one.
    pub fn image_title(&self, name: Option<&str>) -> String {
        self.with_emoji("⛵", "image", name)
    }

    /// How an artifact is called in titles: `🛸 artifact NAME`.
    pub fn artifact_title(&self, name: Option<&str>) -> String {
        self.with_emoji("🛸", "artifact", name)
    }

    fn with_emoji(&self, emoji: &str, kind: &str, name: Option<&str>) -> String {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("~");
        if self.ui.options().pretty { format!("{emoji} {kind} {name}") } else { format!("{kind} {name}") }
    }

    pub(super) fn is_visible(&self) -> bool {
        self.level <= self.ui.options().level
    }

    /// Prints a text of ours, line by line.
    fn say(&self, text: &str, style: Style) {
        if !self.is_visible() {
            return;
        }
        let masked = self.ui.mask().text(text);
        let mut lines = String::new();
        for line in masked.split('\n') {
            self.render("", &plain(line, Colours::Drop), style, &mut lines);
        }
        self.put(&lines);
    }

    /// As [`Frame::line`] but in any log and never wrapped.
    pub(super) fn unwrapped(&self, text: &str, style: Style) {
        let masked = self.ui.mask().text(text);
        let mut lines = String::new();
        for line in masked.split('\n') {
            let line = plain(line, Colours::Drop);
            lines.push_str(&if self.ui.options().colour { style.paint(line) } else { line.into_owned() });
            lines.push('\n');
        }
        self.put(&lines);
    }

    pub(super) fn put(&self, lines: &str) {
        self.ui.output().put(self.lane.id, lines.as_bytes());
    }

    pub(super) fn drop_gap(&self) {
        self.ui.output().drop_gap(self.lane.id);
    }

    /// The place inside a box that stands here.
    pub(super) fn deeper(&self) -> Self {
        Self { depth: self.depth + 1, ..self.clone() }
    }

    pub(super) fn is_live(&self) -> bool {
        self.ui.output().is_live(self.lane.id)
    }

    /// Appends one line of text as it is written: with what stands before it, wrapped, ended. `tag` may be coloured.
    pub(super) fn render(&self, tag: &str, line: &str, style: Style, rendered: &mut String) {
        let painted =
            (self.ui.options().colour && style != Style::Normal && !line.is_empty()).then(|| style.paint(line));
        let line = painted.as_deref().unwrap_or(line);
        let prefix = self.prefix();
        let columns = self.columns().saturating_sub(width(tag));
        let parts = if self.ui.options().pretty { wrap(line, columns) } else { vec![Cow::Borrowed(line)] };
        for part in parts {
            rendered.extend([prefix.as_str(), tag, &part]);
            rendered.truncate(rendered.trim_end_matches(' ').len());
            rendered.push('\n');
        }
    }

    /// What starts each line of this frame: the time in a debug log, borders, indent.
    fn prefix(&self) -> String {
        let mut prefix = String::new();
        if self.ui.options().level == Level::Debug {
            prefix.push_str(&format!("[{:>8.2}s] ", self.ui.running_time().as_secs_f64()));
        }
        if self.ui.options().pretty {
            prefix.push_str(&"│ ".repeat(self.depth));
        }
        prefix.push_str(&" ".repeat(self.indent));
        prefix
    }

    /// Columns left for text.
    fn columns(&self) -> usize {
        let time = if self.ui.options().level == Level::Debug { ELAPSED_WIDTH } else { 0 };
        self.ui.options().width.saturating_sub(time + 2 * self.depth + self.indent)
    }

    /// A title as one masked line without control characters.
    pub(super) fn harmless(&self, title: &str) -> String {
        let masked = self.ui.mask().text(title);
        plain(&masked.replace('\n', " "), Colours::Drop).into_owned()
    }

    /// A title for the line of a terminal that tells what runs; the spinner and the time need some columns.
    pub(super) fn status_title(&self, title: &str) -> String {
        cut(&self.harmless(title), self.ui.options().width.saturating_sub(20))
    }

    /// A line with a border of its own, cut so that `end` fits behind the title.
    pub(super) fn title_line(&self, border: &str, title: &str, end: &str, style: Style) -> String {
        let options = self.ui.options();
        let mut title = self.harmless(title);
        let mut border = border;
        if options.pretty {
            title = cut(&title, self.columns().saturating_sub(width(border) + width(end)));
        } else {
            border = "";
        }
        let text = format!("{title}{end}");
        let text = if options.colour { style.paint(text) } else { text };
        format!("{}{border}{text}\n", self.prefix())
    }
}
