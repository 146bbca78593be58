//! Where lines go: straight out, or, while another task of a parallel group prints live, into a spool of this task
//! (spec/build.md 6.4). One lock over all of it, so that lines never mix.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Instant;

use indicatif::MultiProgress;

/// A task's lines are kept in memory up to here, then in a temporary file.
const IN_MEMORY: usize = 1 << 20;
/// A task that floods the log while it waits for its turn loses what it says beyond this.
const SPOOL_LIMIT: u64 = 256 << 20;

pub(super) type LaneId = usize;
pub(super) const ROOT: LaneId = 0;

/// All lanes and the writer below them.
pub(super) struct Output {
    out: Box<dyn Write + Send>,
    /// On a terminal: the bars that have to step aside while a line is written.
    pub(super) bars: Option<MultiProgress>,
    pub(super) last_write: Instant,
    lanes: Vec<Lane>,
    groups: Vec<Group>,
}

#[derive(Default)]
struct Lane {
    parent: Option<LaneId>,
    group: usize,
    /// Present while the lane is not live.
    spool: Option<Spool>,
    state: State,
    /// A blank line, with its borders, that is due before the next line.
    gap: Option<String>,
    written: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    Done,
    Failed,
}

/// Tasks side by side. Those before `turn` have been shown, but for failed ones: they are shown last.
struct Group {
    tasks: Vec<LaneId>,
    turn: usize,
    over: bool,
}

impl Output {
    pub(super) fn new(out: Box<dyn Write + Send>, bars: Option<MultiProgress>) -> Self {
        Self { out, bars, last_write: Instant::now(), lanes: vec![Lane::default()], groups: Vec::new() }
    }

    /// Writes whole lines to a lane, after the blank line that may be due.
    pub(super) fn put(&mut self, id: LaneId, text: &[u8]) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.written = true;
        let gap = lane.gap.take().unwrap_or_default();
        match (&mut lane.spool, lane.parent) {
            (Some(spool), _) => {
                spool.push(gap.as_bytes());
                spool.push(text);
            }
            (None, Some(parent)) => {
                let text = [gap.as_bytes(), text].concat();
                self.put(parent, &text);
            }
            (None, None) => {
                self.write_out(gap.as_bytes());
                self.write_out(text);
            }
        }
    }

    /// Asks for one blank line before the next line of the lane; `blank` is that line. At the very start there is none.
    pub(super) fn want_gap(&mut self, id: LaneId, blank: String) {
        if let Some(lane) = self.lanes.get_mut(id)
            && lane.written
        {
            lane.gap = Some(blank);
        }
    }

    pub(super) fn drop_gap(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.gap = None;
        }
    }

    /// Opens a group of `count` lanes below `parent`; the first one is live.
    pub(super) fn open_group(&mut self, parent: LaneId, count: usize) -> Vec<LaneId> {
        let group = self.groups.len();
        let first = self.lanes.len();
        let tasks: Vec<LaneId> = (first..first + count).collect();
        for index in 0..count {
            let spool = (index > 0).then(Spool::default);
            self.lanes.push(Lane { parent: Some(parent), group, spool, ..Lane::default() });
        }
        self.groups.push(Group { tasks: tasks.clone(), turn: 0, over: count == 0 });
        tasks
    }

    /// Ends a lane's part of its group; the second call for one lane changes nothing.
    pub(super) fn finish(&mut self, id: LaneId, failed: bool) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if id == ROOT || lane.state != State::Running {
            return;
        }
        lane.state = if failed { State::Failed } else { State::Done };
        let group = lane.group;
        self.advance(group);
    }

    /// Ends all tasks, so that nothing that waits is lost: inner groups first, their lanes come after those they belong to.
    pub(super) fn show_all(&mut self) {
        for id in (0..self.lanes.len()).rev() {
            self.finish(id, false);
        }
    }

    /// Whether what is written to the lane is seen at once.
    pub(super) fn is_live(&self, id: LaneId) -> bool {
        self.lanes
            .get(id)
            .is_some_and(|lane| lane.spool.is_none() && lane.parent.is_none_or(|parent| self.is_live(parent)))
    }

    /// Shows finished tasks in order, up to the first one that still runs: that one is live from now on.
    fn advance(&mut self, id: usize) {
        while let Some((task, state)) = self.current_task(id) {
            let shown = self.lanes.get(task).is_some_and(|lane| lane.spool.is_none());
            match state {
                State::Running => return self.show(task),
                State::Failed if !shown => {}
                State::Done | State::Failed => {
                    self.show(task);
                    self.hand_gap_up(task);
                }
            }
            if let Some(group) = self.groups.get_mut(id) {
                group.turn += 1;
            }
        }
        self.close_group(id);
    }

    fn current_task(&self, group: usize) -> Option<(LaneId, State)> {
        let group = self.groups.get(group)?;
        let task = *group.tasks.get(group.turn)?;
        Some((task, self.lanes.get(task)?.state))
    }

    /// Failed tasks come last, next to the error that ends the command.
    fn close_group(&mut self, id: usize) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if std::mem::replace(&mut group.over, true) {
            return;
        }
        for task in group.tasks.clone() {
            self.show(task);
            self.hand_gap_up(task);
        }
    }

    /// Empties the spool of a lane into its parent; from now on it writes through.
    fn show(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if let (Some(spool), Some(parent)) = (lane.spool.take(), lane.parent) {
            spool.drain(|part| self.put(parent, part));
        }
    }

    fn hand_gap_up(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if let (Some(gap), Some(parent)) = (lane.gap.take(), lane.parent) {
            self.want_gap(parent, gap);
        }
    }

    /// A log that cannot be written must not end the work: errors are ignored.
    fn write_out(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let out = &mut self.out;
        let mut write = || {
            let _ = out.write_all(text).and_then(|()| out.flush());
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
        self.last_write = Instant::now();
    }
}

/// Lines that wait for their turn.
#[derive(Default)]
struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    size: u64,
    lost: u64,
}

impl Spool {
    fn push(&mut self, text: &[u8]) {
        let length = text.len() as u64;
        if self.size + length > SPOOL_LIMIT || (self.memory.len() + text.len() > IN_MEMORY && self.spill().is_err()) {
            self.lost += length;
            return;
        }
        self.size += length;
        self.memory.extend_from_slice(text);
    }

    /// Moves the memory part to the end of the file.
    fn spill(&mut self) -> std::io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        file.write_all(&self.memory)?;
        self.memory.clear();
        self.file = Some(file);
        Ok(())
    }

    fn drain(self, mut take: impl FnMut(&[u8])) {
        if let Some(mut file) = self.file {
            let mut part = vec![0; 64 << 10];
            if file.seek(SeekFrom::Start(0)).is_ok() {
                while let Ok(count @ 1..) = file.read(&mut part) {
                    take(part.get(..count).unwrap_or_default());
                }
            }
        }
        if !self.memory.is_empty() {
            take(&self.memory);
        }
        if self.lost > 0 {
            take(format!("({} of this task's output were left out)\n", super::words::size(self.lost)).as_bytes());
        }
    }
}
