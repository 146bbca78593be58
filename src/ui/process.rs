//! Boxes that are open, and what runs on one line: each has a title, a start and an outcome.

use std::ops::Deref;
use std::time::Duration;

use super::section::{self, Fold};
use super::style::Style;
use super::{Frame, Ui, words};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Timing {
    Shown,
    Hidden,
}

/// An open box; it is also the [`Frame`] inside. Dropped without [`Process::end`], it counts as failed.
pub struct Process {
    inner: Frame,
    outer: Frame,
    title: String,
    style: Style,
    timing: Timing,
    started: i64,
    section: Option<String>,
    running: Option<Running>,
}

impl Process {
    pub(super) fn open(outer: &Frame, title: &str, style: Style, timing: Timing, fold: Option<Fold>) -> Self {
        let visible = outer.is_visible();
        let inner = if visible { outer.deeper() } else { outer.clone() };
        let started = outer.ui.now();
        let fold = fold.filter(|_| visible && outer.ui.options().gitlab_sections);
        let section = fold.map(|_| outer.ui.section_name());
        if visible {
            let mark = section.as_deref().zip(fold).map(|(name, fold)| section::start(started / 1000, name, fold));
            outer.put(&(mark.unwrap_or_default() + &outer.title_line("┌ ", title, "", style)));
        }
        let running = visible.then(|| Running::new(&inner, title));
        Self { inner, outer: outer.clone(), title: title.to_owned(), style, timing, started, section, running }
    }

    /// `└ Title (1.23 seconds)`
    pub fn end(mut self) {
        self.close("", self.style);
    }

    /// `└ Title (1.23 seconds) FAILED`
    pub fn fail(self) {
        drop(self);
    }

    fn close(&mut self, outcome: &str, style: Style) {
        if self.running.take().is_none() {
            return;
        }
        let now = self.outer.ui.now();
        let time = match self.timing {
            Timing::Shown => format!(" ({})", words::seconds(since(self.started, now))),
            Timing::Hidden => String::new(),
        };
        let mut text = self.outer.title_line("└ ", &self.title, &(time + outcome), style);
        if let Some(name) = &self.section {
            text.push_str(&section::end(now / 1000, name));
        }
        self.outer.drop_gap();
        self.outer.put(&text);
        self.outer.gap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.close(" FAILED", Style::Failure);
    }
}

impl Deref for Process {
    type Target = Frame;

    fn deref(&self) -> &Frame {
        &self.inner
    }
}

/// Something short that is under way. Dropped without [`Inline::end`], it counts as failed.
pub struct Inline {
    frame: Frame,
    title: String,
    started: i64,
    running: Running,
    ended: bool,
}

impl Inline {
    pub(super) fn open(frame: &Frame, title: &str) -> Self {
        let running = Running::new(frame, title);
        Self { frame: frame.clone(), title: title.to_owned(), started: frame.ui.now(), running, ended: false }
    }

    /// `Title ... (0.12 seconds)`
    pub fn end(mut self) {
        self.close("", Style::Normal);
    }

    /// `Title ... (0.12 seconds) FAILED`
    pub fn fail(self) {
        drop(self);
    }

    fn close(&mut self, outcome: &str, style: Style) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.running.stop();
        if self.frame.is_visible() {
            let time = words::seconds(since(self.started, self.frame.ui.now()));
            self.frame.put(&self.frame.title_line("", &self.title, &format!(" ... ({time}){outcome}"), style));
        }
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        self.close(" FAILED", Style::Failure);
    }
}

/// An entry in the list of what is under way: the heartbeat names the last one that is seen.
struct Running {
    ui: Ui,
    id: u64,
}

impl Running {
    fn new(frame: &Frame, title: &str) -> Self {
        Self { ui: frame.ui.clone(), id: frame.ui.started(frame, title) }
    }

    fn stop(&self) {
        self.ui.stopped(self.id);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Time between two readings of the clock.
pub(super) fn since(started: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(now.saturating_sub(started)).unwrap_or_default())
}
