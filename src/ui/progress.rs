//! How far something is: a bar on a terminal, else a line now and then.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plain::{Colours, plain};
use super::{Frame, words};

/// Without a terminal, at most one line in this time.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shown until it is dropped.
pub struct Progress {
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { frame: Frame, label: String, last: Mutex<Instant> },
}

impl Progress {
    pub(super) fn new(frame: &Frame, label: &str) -> Self {
        let label = plain(&frame.ui.mask().text(label), Colours::Drop).into_owned();
        let bars = frame.is_visible().then(|| frame.ui.output().bars.clone()).flatten();
        let shown = match bars {
            Some(bars) => Shown::Bar(bars.add(bar(label))),
            None => Shown::Lines { frame: frame.clone(), label, last: Mutex::new(Instant::now()) },
        };
        Self { shown }
    }

    /// `done` of `total` bytes; a total of 0 is one that nobody knows.
    pub fn set(&self, done: u64, total: u64) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_length(total.max(done));
                bar.set_position(done);
            }
            Shown::Lines { frame, label, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    frame.line(line(label, done, total));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// On a terminal, the last line: what runs right now, and since when.
#[derive(Default)]
pub(super) struct Status(Option<ProgressBar>);

impl Status {
    /// Shows a title, or nothing.
    pub(super) fn show(&mut self, bars: &MultiProgress, title: Option<(&str, Duration)>) {
        let Some((title, since)) = title else {
            return if let Some(bar) = self.0.take() {
                bar.finish_and_clear()
            };
        };
        let bar = self.0.get_or_insert_with(|| bars.add(spinner()));
        bar.set_message(title.to_owned());
        bar.set_elapsed(since);
    }
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    let spinner = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

fn bar(label: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {elapsed}");
    ProgressBar::new(0).with_message(label).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn line(label: &str, done: u64, total: u64) -> String {
    match (u128::from(done) * 100).checked_div(u128::from(total)) {
        Some(percent) => {
            format!("{label}: {} of {} ({}%)", words::size(done), words::size(total), percent.min(100))
        }
        None => format!("{label}: {}", words::size(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_is_known() {
        assert_eq!(line("Pulling base", 1 << 20, 4 << 20), "Pulling base: 1.0 MiB of 4.0 MiB (25%)");
        assert_eq!(line("Pulling base", 5, 4), "Pulling base: 5 B of 4 B (100%)");
        assert_eq!(line("Pulling base", 4096, 0), "Pulling base: 4.0 KiB");
        assert_eq!(line("x", u64::MAX, u64::MAX), "x: 16.0 EiB of 16.0 EiB (100%)");
    }
}
