//! What people see: the log, on stderr. Boxes as in spec/build.md 8, bars on a terminal, GitLab sections and a heartbeat in CI.
//!
//! Start with [`Ui::root`]; everything is written through a [`Frame`], which knows its place in the log. Every text is masked
//! ([`Mask`]) and freed of control characters on its way.

mod lane;
mod log_box;
mod mask;
mod plain;
mod process;
mod progress;
mod section;
mod stream;
mod style;
pub mod words;
mod wrap;

use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressDrawTarget};

pub use log_box::Frame;
pub use mask::{MASKED, Mask, MaskFilter, MaskStream};
pub use process::{Inline, Process};
pub use progress::Progress;
pub use stream::StreamLog;
pub use style::Style;

use crate::sys::clock::Clock;
use lane::Output;
use progress::Status;

/// While something runs without a word for this long, the heartbeat says so (decisions 6.1).
const SILENCE: Duration = Duration::from_secs(30);

/// How much is said; each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what went wrong.
    Quiet,
    #[default]
    Normal,
    Verbose,
    Debug,
}

/// The form of the log (spec/build.md 6.3).
#[derive(Clone, Debug)]
pub struct UiOptions {
    pub level: Level,
    /// Borders, emoji, tags and wrapping.
    pub pretty: bool,
    pub colour: bool,
    /// Columns of a line.
    pub width: usize,
    /// Encloses every top-level process in GitLab's section marks.
    pub gitlab_sections: bool,
    /// Somebody watches: bars instead of heartbeat lines.
    pub terminal: bool,
}

/// Width of the log where there is no terminal.
pub const DEFAULT_WIDTH: usize = 140;

impl Default for UiOptions {
    fn default() -> Self {
        Self {
            level: Level::Normal,
            pretty: true,
            colour: false,
            width: DEFAULT_WIDTH,
            gitlab_sections: false,
            terminal: false,
        }
    }
}

/// The log of one run. Clones are the same log.
#[derive(Clone)]
pub struct Ui {
    shared: Arc<Shared>,
}

struct Shared {
    options: UiOptions,
    clock: Clock,
    started: i64,
    mask: Mask,
    output: Mutex<Output>,
    running: Mutex<Vec<Running>>,
    status: Mutex<Status>,
    /// How many have the terminal for themselves.
    aside: AtomicUsize,
    numbers: AtomicU64,
    postponed: Mutex<Vec<String>>,
}

/// Something that is under way.
struct Running {
    id: u64,
    frame: Frame,
    title: String,
    since: i64,
}

impl Ui {
    /// A log that writes to `out`, usually stderr.
    pub fn new(options: UiOptions, out: Box<dyn Write + Send>, clock: Clock) -> Self {
        let ui = Self::without_heartbeat(options, out, clock);
        if !ui.shared.options.terminal && ui.shared.options.level > Level::Quiet {
            let shared = Arc::downgrade(&ui.shared);
            // Without the thread nothing but the heartbeat is missing.
            let _ = std::thread::Builder::new().name("heartbeat".into()).spawn(move || keep_beating(&shared));
        }
        ui
    }

    /// A log for tests: 78 columns, no colours, a clock that stands still but for a millisecond per reading.
    pub fn for_test() -> (Self, Captured) {
        Self::for_test_with(UiOptions { width: 78, ..UiOptions::default() }, Clock::literal(0))
    }

    /// As [`Ui::for_test`], in the given form.
    pub fn for_test_with(options: UiOptions, clock: Clock) -> (Self, Captured) {
        let captured = Captured::default();
        (Self::without_heartbeat(options, Box::new(captured.clone()), clock), captured)
    }

    fn without_heartbeat(options: UiOptions, out: Box<dyn Write + Send>, clock: Clock) -> Self {
        let bars = options.terminal.then(MultiProgress::new);
        let shared = Shared {
            options,
            started: clock.now(),
            clock,
            mask: Mask::default(),
            output: Mutex::new(Output::new(out, bars)),
            running: Mutex::default(),
            status: Mutex::default(),
            aside: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
            postponed: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The place outside of all boxes.
    pub fn root(&self) -> Frame {
        Frame::root(self.clone())
    }

    /// The secrets that no line may show.
    pub fn mask(&self) -> &Mask {
        &self.shared.mask
    }

    pub fn options(&self) -> &UiOptions {
        &self.shared.options
    }

    /// Time since the log was opened.
    pub fn running_time(&self) -> Duration {
        process::since(self.shared.started, self.now())
    }

    /// Keeps a warning for the end of the log, where it is seen; the same text only once.
    pub fn warn_at_end(&self, text: impl Into<String>) {
        let text = text.into();
        let mut postponed = lock(&self.shared.postponed);
        if !postponed.contains(&text) {
            postponed.push(text);
        }
    }

    /// The last lines of a command: `Running time 15.02 seconds`, then the warnings kept for the end (spec/build.md 6.9).
    pub fn end(&self) {
        self.output().show_all();
        let root = self.root();
        root.line(format!("Running time {}", words::seconds(self.running_time())));
        for warning in std::mem::take(&mut *lock(&self.shared.postponed)) {
            root.warn(warning);
        }
    }

    /// The error that ends the command, in any log, as it stands: without borders or wrapping, but masked. May have several lines.
    pub fn error(&self, text: &str) {
        self.output().show_all();
        self.root().unwrapped(text, Style::Failure);
    }

    /// Keeps bars and heartbeat away as long as the guard lives: an interactive program has the terminal.
    pub fn step_aside(&self) -> Aside {
        self.shared.aside.fetch_add(1, Ordering::Relaxed);
        self.draw_bars_to(ProgressDrawTarget::hidden());
        Aside(self.clone())
    }

    fn draw_bars_to(&self, target: ProgressDrawTarget) {
        let bars = self.output().bars.clone();
        if let Some(bars) = bars {
            // A bar that cannot be wiped away does no harm.
            let _ = bars.clear();
            bars.set_draw_target(target);
        }
    }

    fn now(&self) -> i64 {
        self.shared.clock.now()
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        lock(&self.shared.output)
    }

    /// A section name that no other process of the job uses.
    fn section_name(&self) -> String {
        format!("slipway_{}_{}", self.shared.started, self.next_number())
    }

    fn next_number(&self) -> u64 {
        self.shared.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn started(&self, frame: &Frame, title: &str) -> u64 {
        let id = self.next_number();
        let running = Running { id, frame: frame.clone(), title: title.to_owned(), since: self.now() };
        lock(&self.shared.running).push(running);
        self.show_status();
        id
    }

    fn stopped(&self, id: u64) {
        let mut running = lock(&self.shared.running);
        let stopped = running.iter().position(|entry| entry.id == id).map(|at| running.remove(at));
        drop(running);
        // Only now: with its last frame a task of a parallel group may end and be shown.
        drop(stopped);
        self.show_status();
    }

    /// What is under way, the innermost last: frame, title, since when.
    fn under_way(&self) -> Vec<(Frame, String, i64)> {
        let running = lock(&self.shared.running);
        running.iter().map(|entry| (entry.frame.clone(), entry.title.clone(), entry.since)).collect()
    }

    fn show_status(&self) {
        let Some(bars) = self.output().bars.clone() else { return };
        let under_way = self.under_way();
        let last = under_way.iter().rev().find(|(frame, ..)| frame.is_visible() && frame.is_live());
        let shown = last.map(|(frame, title, since)| (frame.status_title(title), process::since(*since, self.now())));
        lock(&self.shared.status).show(&bars, shown.as_ref().map(|(title, since)| (title.as_str(), *since)));
    }

    /// Says what is under way when nothing was said for long.
    fn beat(&self, silence: Duration) {
        if silence < SILENCE || self.shared.options.terminal || self.shared.aside.load(Ordering::Relaxed) > 0 {
            return;
        }
        let under_way = self.under_way();
        if let Some((frame, title, since)) = under_way.iter().rev().find(|(frame, ..)| frame.is_live()) {
            let time = words::elapsed(process::since(*since, self.now()));
            frame.line(format!("still running: {title} ({time})"));
        }
    }
}

/// See [`Ui::step_aside`].
pub struct Aside(Ui);

impl Drop for Aside {
    fn drop(&mut self) {
        if self.0.shared.aside.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.draw_bars_to(ProgressDrawTarget::stderr());
        }
    }
}

fn keep_beating(shared: &Weak<Shared>) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let Some(shared) = shared.upgrade() else { return };
        let ui = Ui { shared };
        let silence = ui.output().last_write.elapsed();
        ui.beat(silence);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a log of [`Ui::for_test`] has written.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
