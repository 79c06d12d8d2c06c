//! Sums of the stalls of handlers by stack, since the start and since moments that a reader chose. The
//! number of rows is bounded, and every stall counts in one.
//!
//! A stall counts under the stack that it has when it is summed up for good. What is in progress is added
//! by the reader, with the stack that is known by then.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::cause::Cause;
use super::frames::Frame;
use crate::clock::{self, Nanos};

/// Stacks with a row of their own; further ones share a row for each runtime, handler and cause.
const MOST_STACKS: usize = 512;
/// Frames of all these stacks.
const MOST_FRAMES: usize = 16 * 1024;

/// What stalls have in common that are summed up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StackKey {
    pub(crate) runtime: &'static str,
    pub(crate) handler: &'static str,
    pub(crate) cause: Cause,
    pub(crate) frames: Frames,
}

/// The frames of a poll, innermost first.
#[derive(Clone, Debug)]
pub(crate) enum Frames {
    Known(Arc<[Arc<Frame>]>),
    /// No stack was taken.
    Missing,
    /// Those of stacks without a row of their own.
    Other,
}

/// The stalls of one [`StackKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StackSum {
    pub(crate) stalls: u64,
    pub(crate) time: Nanos,
}

/// The sums since one moment.
#[derive(Clone, Debug)]
pub(crate) struct StackSums {
    pub(crate) since: Nanos,
    pub(crate) rows: HashMap<StackKey, StackSum>,
    /// Those of all rows.
    frames: usize,
}

/// One stall: its id, its row, and its part of the sums.
pub(super) type Part = (u64, StackKey, StackSum);

/// The sums since the start, and those of all windows.
#[derive(Debug, Default)]
pub(super) struct StackTotals {
    all: StackSums,
    windows: Vec<Window>,
    last_window: u64,
}

/// What has come since a reader began.
#[derive(Debug)]
struct Window {
    number: u64,
    sums: StackSums,
    /// The time that stalls in progress had by then.
    before: HashMap<u64, Nanos>,
}

impl StackKey {
    /// Rows are written in the order of these.
    pub(crate) fn order(&self) -> impl Ord {
        (self.handler, self.runtime, self.cause.as_str(), &self.frames)
    }
}

/// What tells one frame from another: where code has a name, its addresses do not count.
fn place(frame: &Arc<Frame>) -> impl Ord + Hash {
    let Frame { function, file, line, inlined, module, offset, .. } = &**frame;
    let (module, offset) = match function {
        Some(_) => (None, 0),
        None => (module.as_deref(), *offset),
    };
    (function.as_deref(), file.as_deref(), *line, *inlined, module, offset)
}

impl Frames {
    /// What tells them from others: which of the three they are, and the frames.
    fn place(&self) -> (u8, impl Iterator<Item: Ord + Hash>) {
        let (kind, frames): (_, &[Arc<Frame>]) = match self {
            Self::Known(frames) => (0, frames),
            Self::Missing => (1, &[]),
            Self::Other => (2, &[]),
        };
        (kind, frames.iter().map(place))
    }
}

impl Ord for Frames {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((kind, frames), (other_kind, other_frames)) = (self.place(), other.place());
        kind.cmp(&other_kind).then_with(|| frames.cmp(other_frames))
    }
}

impl PartialOrd for Frames {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Frames {}

impl Hash for Frames {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, frames) = self.place();
        kind.hash(state);
        frames.for_each(|frame| frame.hash(state));
    }
}

impl Frames {
    /// How many there are.
    fn count(&self) -> usize {
        if let Self::Known(frames) = self { frames.len() } else { 0 }
    }
}

impl StackSum {
    fn add(&mut self, other: Self) {
        self.stalls += other.stalls;
        self.time = self.time.saturating_add(other.time);
    }
}

impl Default for StackSums {
    fn default() -> Self {
        Self { since: clock::now(), rows: HashMap::new(), frames: 0 }
    }
}

impl StackSums {
    fn add(&mut self, mut key: StackKey, sum: StackSum) {
        let frames = key.frames.count();
        let is_full = self.rows.len() >= MOST_STACKS || self.frames + frames > MOST_FRAMES;
        if is_full && frames > 0 && !self.rows.contains_key(&key) {
            key.frames = Frames::Other;
        }
        let added = key.frames.count();
        let row = self.rows.entry(key).or_insert_with(|| {
            self.frames += added;
            StackSum::default()
        });
        row.add(sum);
    }
}

impl StackTotals {
    /// Sums up a stall for good.
    pub(super) fn settle(&mut self, (id, key, sum): Part) {
        for window in &mut self.windows {
            let sum = rest(sum, window.before.remove(&id));
            window.sums.add(key.clone(), sum);
        }
        self.all.add(key, sum);
    }

    /// The sums since the start, with those of the stalls in progress.
    pub(super) fn all(&self, open: impl Iterator<Item = Part>) -> StackSums {
        let mut sums = self.all.clone();
        open.for_each(|(_, key, sum)| sums.add(key, sum));
        sums
    }

    /// Begins a window, which has a number.
    pub(super) fn open_window(&mut self, open: impl Iterator<Item = Part>) -> u64 {
        self.last_window += 1;
        let before = open.map(|(id, _, sum)| (id, sum.time)).collect();
        let (number, sums) = (self.last_window, StackSums::default());
        self.windows.push(Window { number, sums, before });
        number
    }

    /// What has come since the window began, or was last read.
    pub(super) fn read_window(
        &mut self,
        number: u64,
        open: impl Iterator<Item = Part>,
    ) -> Option<StackSums> {
        let window = self.windows.iter_mut().find(|window| window.number == number)?;
        let mut sums = std::mem::take(&mut window.sums);
        let mut before = HashMap::new();
        for (id, key, sum) in open {
            before.insert(id, sum.time);
            sums.add(key, rest(sum, window.before.remove(&id)));
        }
        window.before = before;
        Some(sums)
    }

    pub(super) fn close_window(&mut self, number: u64) {
        self.windows.retain(|window| window.number != number);
    }
}

/// What a stall brings to a window in whose beginning it had that time already, if it was there.
fn rest(sum: StackSum, before: Option<Nanos>) -> StackSum {
    match before {
        None => sum,
        Some(before) => StackSum { stalls: 0, time: sum.time.saturating_sub(before) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn frame(function: &str, line: u32, address: u64) -> Arc<Frame> {
        let (function, line) = (Some(function.into()), Some(line));
        Arc::new(Frame { function, line, address, offset: address, ..Frame::default() })
    }

    fn key(frames: Frames) -> StackKey {
        StackKey { runtime: "main", handler: "GET /a", cause: Cause::Sleep, frames }
    }

    fn known(function: &str, line: u32, address: u64) -> StackKey {
        key(Frames::Known([frame(function, line, address)].into()))
    }

    fn part(id: u64, key: &StackKey, ms: u64) -> Part {
        (id, key.clone(), StackSum { stalls: 1, time: ms * MS })
    }

    fn of(sums: &StackSums, key: &StackKey) -> (u64, u64) {
        let sum = sums.rows.get(key).copied().unwrap_or_default();
        (sum.stalls, sum.time / MS)
    }

    #[test]
    fn stacks_are_told_by_names_and_lines_and_else_by_offsets() {
        assert_eq!(known("load", 3, 10), known("load", 3, 20));
        assert_ne!(known("load", 3, 10), known("load", 4, 10));
        assert_ne!(key(Frames::Missing), key(Frames::Other));
        let bare = |offset| {
            let frame = Frame { module: Some("app".into()), offset, ..Frame::default() };
            key(Frames::Known([Arc::new(frame)].into()))
        };
        assert_eq!(bare(1), bare(1));
        assert_ne!(bare(1), bare(2));
    }

    #[test]
    fn a_stall_counts_once_and_its_time_where_it_passes() {
        let mut totals = StackTotals::default();
        let (load, save) = (known("load", 3, 1), known("save", 4, 2));
        totals.settle(part(1, &load, 100));
        let unknown = key(Frames::Missing);
        // Its stack is not known yet.
        let window = totals.open_window([part(2, &unknown, 50)].into_iter());
        totals.settle(part(2, &load, 120));
        totals.settle(part(3, &save, 30));
        let sums = totals.read_window(window, [part(4, &save, 5)].into_iter()).expect("it is open");
        assert_eq!((of(&sums, &load), of(&sums, &save)), ((0, 70), (2, 35)));
        assert_eq!(of(&sums, &unknown), (0, 0), "it took nothing away");
        let sums = totals.read_window(window, [part(4, &save, 9)].into_iter()).expect("it is open");
        assert_eq!((of(&sums, &load), of(&sums, &save)), ((0, 0), (0, 4)));
        totals.close_window(window);
        assert!(totals.read_window(window, [].into_iter()).is_none());
        let all = totals.all([part(4, &save, 9)].into_iter());
        assert_eq!((of(&all, &load), of(&all, &save)), ((2, 220), (2, 39)));
    }

    #[test]
    fn both_bounds_hold_and_no_stall_is_lost() {
        let mut totals = StackTotals::default();
        let many = MOST_STACKS as u32 + 9;
        for line in 0..many {
            totals.settle(part(line.into(), &known("load", line, 1), 1));
        }
        let sums = totals.all([].into_iter());
        assert_eq!(sums.rows.len(), MOST_STACKS + 1);
        assert_eq!(of(&sums, &key(Frames::Other)), (9, 9));

        let mut totals = StackTotals::default();
        for line in 0..100 {
            let long = vec![frame("load", line, 1); 500];
            totals.settle(part(line.into(), &key(Frames::Known(long.into())), 1));
        }
        let sums = totals.all([].into_iter());
        assert!(sums.frames <= MOST_FRAMES);
        assert_eq!(sums.rows.values().map(|sum| sum.stalls).sum::<u64>(), 100);
        assert_eq!(of(&sums, &key(Frames::Other)).0, 100 - (MOST_FRAMES / 500) as u64);
    }
}
