//! The slot: what one thread polls now, as seen by one detector.
//!
//! # The protocol
//!
//! 1. One thread at a time owns a slot. The owner alone stores `sequence`, `label_id`, `inner`,
//!    `allowed`, `part`, `part_of`, `trace`, `swaps`, `place`, `thread`, `claim` and `left`; the watchdog
//!    only reads them.
//! 2. `sequence` only grows, by one at each outermost enter and leave. Odd: the owner is inside
//!    a poll. `allow_blocking` splits a poll in three; each part has its own sequence number: its
//!    begin and its end leave one poll and enter the next. Of each part but the first, `part` is the
//!    number and `part_of` that of the first.
//! 3. Every field of a poll is stored (release) before its odd `sequence` (release), or inside
//!    the poll. So who reads the odd number (acquire) reads fields of that poll or of a later
//!    one. Inside a poll `inner` changes with nested marks: its label, their depth, and how often it
//!    has changed are one word, so that two marks with one label are told apart. `allowed` is the
//!    label of an allowed block within a poll. `inner` has no label, `allowed` and the trace are 0
//!    where a poll begins, and are put back before it ends.
//! 4. Every such store is a release after the even `sequence` of the poll before. So who has
//!    read a field of a later poll (acquire) reads another `sequence` afterwards. A reading
//!    between two equal odd numbers is therefore whole: all its fields belong to that poll.
//! 5. `swaps` is to the two words of the trace what `sequence` is to a poll: odd while they
//!    change. A reading that meets a change has no trace rather than half of each.
//! 6. `flags` is the only word both sides write: the watchdog sets a bit, the owner clears it.
//!    `ASK` is answered at the next outermost enter, before rule 3's stores; the bit is cleared
//!    before the owner looks who it is, so that an answer is never older than the question.
//!    `WAKE` goes with `ASK`: the owner also wakes the watchdog, which sleeps for long. It is set by a
//!    release and taken by an acquire: the owner sees what was armed before. An owner
//!    that has read the flags before may enter without: so the watchdog reads `sequence` once more,
//!    a scan interval after it set the bit.
//!    `TIME_LEAVE` is answered at the next outermost leave by `left`, stored before the even
//!    number, so that who reads the even number reads it too; `left.sequence` tells whether it
//!    was the poll that was meant.
//!    `CONTINUED` is the owner's own: the number is no longer the one it entered with.
//! 7. A slot that changes hands keeps its `sequence`; the old owner leaves it even, without a
//!    trace, with `ASK`.

use crate::sync::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use Ordering::{Acquire, Relaxed, Release};

/// The number of a label: a row of the detector's `LabelTable`, small enough for one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LabelId(pub(crate) u32);

impl LabelId {
    /// No label: the state between two polls.
    pub(crate) const NONE: Self = Self(0);
}

/// The high and the low half of a trace id: no store of 128 bits is atomic, and halves need no
/// padding where they are carried.
pub(crate) type Trace = [u64; 2];
pub(crate) const NO_TRACE: Trace = [0; 2];

const ASK: u32 = 1;
const TIME_LEAVE: u32 = 2;
const CONTINUED: u32 = 4;
const WAKE: u32 = 8;

/// Aligned to a pair of cache lines: threads do not share them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Slot {
    sequence: AtomicU64,
    /// Of the outermost mark.
    label_id: AtomicU32,
    flags: AtomicU32,
    /// The innermost nested mark: an [`InnerMark`].
    inner: AtomicU64,
    /// Of an allowed block that began inside of the poll.
    allowed: AtomicU32,
    part: AtomicU64,
    part_of: AtomicU64,
    trace: [AtomicU64; 2],
    swaps: AtomicU32,
    place: AtomicU64,
    claim: AtomicU64,
    thread: AtomicU32,
    left_sequence: AtomicU64,
    left_at: AtomicU64,
    in_flight: AtomicI64,
}

/// What `enter` found and `leave` puts back.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Entered {
    /// The number that was entered; 0 for a nested label. Kept here because reading it back
    /// from the slot would wait for the store before it, which is most of what a poll costs.
    sequence: u64,
    /// Of the nested mark or the allowed block outside of it.
    outer: LabelId,
}

/// A nested mark: its label in the lower half, and what the word counts above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InnerMark(u64);

/// Which worker of which runtime a thread is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the runtime within the detector; 0 for none.
    pub(crate) runtime: u32,
    pub(crate) worker: Option<u32>,
}

/// What a thread says when it is asked who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) place: Place,
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    /// Larger for later answers, over all slots of a detector: of two threads that claim one
    /// worker, the one with the larger claim has it.
    pub(crate) claim: u64,
}

/// One poll as the watchdog read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenPoll {
    pub(crate) sequence: u64,
    /// The number that the whole poll began with, if this is a part of one.
    pub(crate) part_of: u64,
    /// Of the outermost mark, or of the allowed block.
    pub(crate) label_id: LabelId,
    /// The innermost mark, where there is one inside of that. Equal at two readings if it is the same
    /// and there was no other in between.
    pub(crate) inner: Option<InnerMark>,
    pub(crate) trace: u128,
    pub(crate) identity: Identity,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotReading {
    /// No poll is open, or it changed while it was read.
    Between(u64),
    Open(OpenPoll),
}

impl Entered {
    #[inline]
    fn is_nested(self) -> bool {
        self.sequence == 0
    }
}

impl InnerMark {
    pub(crate) fn label_id(self) -> LabelId {
        LabelId(self.0 as u32)
    }

    /// Tells this mark from all others of its slot.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The next mark, after a change.
    fn next(self, label_id: LabelId) -> Self {
        let changes = (self.0 >> 32).wrapping_add(1);
        Self((changes << 32) | u64::from(label_id.0))
    }
}

impl Place {
    fn pack(self) -> u64 {
        let worker = self.worker.map_or(0, |worker| worker + 1);
        (u64::from(self.runtime) << 32) | u64::from(worker)
    }

    fn unpack(packed: u64) -> Self {
        let worker = packed as u32;
        Self { runtime: (packed >> 32) as u32, worker: worker.checked_sub(1) }
    }
}

impl Slot {
    /// A slot that asks its first owner who it is.
    pub(crate) fn new() -> Self {
        Self { flags: AtomicU32::new(ASK), ..Self::default() }
    }

    // The owner's side.

    /// Enters a poll (owner only). `answer` is called when the watchdog asked who this is, with
    /// whether it wants to be woken too.
    #[inline]
    pub(crate) fn enter(
        &self,
        label_id: LabelId,
        answer: impl FnOnce(bool) -> Identity,
    ) -> Entered {
        let sequence = self.sequence.load(Relaxed);
        if sequence & 1 == 1 {
            let outer = self.inner();
            self.inner.store(outer.next(label_id).0, Release);
            return Entered { sequence: 0, outer: outer.label_id() };
        }
        if self.flags.load(Relaxed) & ASK != 0 {
            self.answer(answer);
        }
        self.label_id.store(label_id.0, Release);
        self.sequence.store(sequence + 1, Release);
        Entered { sequence: sequence + 1, outer: LabelId::NONE }
    }

    /// Leaves a poll (owner only). `now` is read only when the watchdog wants the end of this one.
    #[inline]
    pub(crate) fn leave(&self, entered: Entered, now: impl FnOnce() -> u64) {
        if entered.is_nested() {
            self.inner.store(self.inner().next(entered.outer).0, Release);
            return;
        }
        let mut sequence = entered.sequence;
        if self.flags.load(Relaxed) & (TIME_LEAVE | CONTINUED) != 0 {
            sequence = self.before_leave(now);
        }
        self.sequence.store(sequence + 1, Release);
    }

    /// The mark entered last (owner only).
    #[inline]
    fn inner(&self) -> InnerMark {
        InnerMark(self.inner.load(Relaxed))
    }

    /// Begins an allowed block (owner only). All of a detector have one label.
    pub(crate) fn begin_allowed(
        &self,
        label_id: LabelId,
        answer: impl FnOnce(bool) -> Identity,
        now: impl FnOnce() -> u64,
    ) -> Entered {
        if !self.is_open() {
            return self.enter(label_id, answer);
        }
        let outer = self.allowed();
        // One within another is a part of it.
        if ![outer, LabelId(self.label_id.load(Relaxed))].contains(&label_id) {
            self.go_on(label_id, now);
        }
        Entered { sequence: 0, outer }
    }

    /// The allowed block that began inside of the poll (owner only).
    fn allowed(&self) -> LabelId {
        LabelId(self.allowed.load(Relaxed))
    }

    /// Ends it (owner only).
    pub(crate) fn end_allowed(&self, entered: Entered, now: impl FnOnce() -> u64) {
        if !entered.is_nested() {
            self.leave(entered, now);
        } else if self.allowed() != entered.outer {
            self.go_on(entered.outer, now);
        }
    }

    /// Leaves the open poll and enters one in or out of an allowed block (rule 2). The number is even in
    /// between, so that no reading has the number of one and the label of the other.
    fn go_on(&self, allowed: LabelId, now: impl FnOnce() -> u64) {
        let sequence = self.before_leave(now);
        self.sequence.store(sequence + 1, Release);
        self.flags.fetch_or(CONTINUED, Relaxed);
        self.allowed.store(allowed.0, Release);
        self.part_of.store(self.first_part(sequence, Relaxed), Release);
        self.part.store(sequence + 2, Release);
        self.sequence.store(sequence + 2, Release);
    }

    /// The number of the first part of the poll that a part belongs to.
    fn first_part(&self, sequence: u64, order: Ordering) -> u64 {
        if self.part.load(order) == sequence { self.part_of.load(order) } else { sequence }
    }

    #[cold]
    fn answer(&self, answer: impl FnOnce(bool) -> Identity) {
        let flags = self.flags.fetch_and(!(ASK | WAKE), Acquire);
        let identity = answer(flags & WAKE != 0);
        self.place.store(identity.place.pack(), Release);
        self.thread.store(identity.thread, Release);
        self.claim.store(identity.claim, Release);
    }

    /// Answers the flags at the end of a poll, and returns its number.
    #[cold]
    fn before_leave(&self, now: impl FnOnce() -> u64) -> u64 {
        let sequence = self.sequence.load(Relaxed);
        let flags = self.flags.fetch_and(!(TIME_LEAVE | CONTINUED), Relaxed);
        if flags & TIME_LEAVE != 0 {
            self.left_at.store(now(), Relaxed);
            self.left_sequence.store(sequence, Relaxed);
        }
        sequence
    }

    /// Publishes the trace id of the request polled from now on and returns the one before
    /// (owner only, inside a poll; to be put back before it ends).
    #[inline]
    pub(crate) fn swap_trace(&self, [high, low]: Trace) -> Trace {
        let before = self.trace.each_ref().map(|half| half.load(Relaxed));
        let swaps = self.swaps.load(Relaxed);
        self.swaps.store(swaps.wrapping_add(1), Release);
        self.trace[0].store(high, Release);
        self.trace[1].store(low, Release);
        self.swaps.store(swaps.wrapping_add(2), Release);
        before
    }

    /// Counts a request that began (+1) or ended (-1) on this thread (owner only).
    #[inline]
    pub(crate) fn count_in_flight(&self, change: i64) {
        self.in_flight.store(self.in_flight.load(Relaxed).wrapping_add(change), Relaxed);
    }

    /// Gives the slot up (owner only). Returns its share of the requests in flight.
    pub(crate) fn give_up(&self) -> i64 {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store(sequence + (sequence & 1), Release);
        self.inner.store(self.inner().next(LabelId::NONE).0, Release);
        self.allowed.store(LabelId::NONE.0, Release);
        self.swap_trace(NO_TRACE);
        self.flags.fetch_or(ASK, Relaxed);
        self.in_flight.swap(0, Relaxed)
    }

    /// Whether the owner is inside a poll (owner only).
    pub(crate) fn is_open(&self) -> bool {
        self.sequence.load(Relaxed) & 1 == 1
    }

    // The watchdog's side.

    /// The number alone: enough to see that nothing is open.
    #[inline]
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Acquire)
    }

    /// Reads the open poll, whole (rule 4) or not at all.
    pub(crate) fn read(&self) -> SlotReading {
        let sequence = self.sequence.load(Acquire);
        if sequence & 1 == 0 {
            return SlotReading::Between(sequence);
        }
        let (label_id, inner, allowed) = (
            LabelId(self.label_id.load(Acquire)),
            InnerMark(self.inner.load(Acquire)),
            LabelId(self.allowed.load(Acquire)),
        );
        let is_allowed = allowed != LabelId::NONE;
        let open = OpenPoll {
            sequence,
            part_of: self.first_part(sequence, Acquire),
            label_id: if is_allowed { allowed } else { label_id },
            inner: Some(inner).filter(|inner| !is_allowed && inner.label_id() != LabelId::NONE),
            trace: self.trace(),
            identity: Identity {
                place: Place::unpack(self.place.load(Acquire)),
                thread: self.thread.load(Acquire),
                claim: self.claim.load(Acquire),
            },
        };
        match self.sequence.load(Acquire) {
            after if after == sequence => SlotReading::Open(open),
            after => SlotReading::Between(after),
        }
    }

    /// The trace, whole (rule 5) or 0.
    fn trace(&self) -> u128 {
        let swaps = self.swaps.load(Acquire);
        let [high, low] = self.trace.each_ref().map(|half| half.load(Acquire));
        let whole = swaps & 1 == 0 && self.swaps.load(Acquire) == swaps;
        if whole { (u128::from(high) << 64) | u128::from(low) } else { 0 }
    }

    /// Asks who the owner is, to be answered at its next poll.
    pub(crate) fn ask(&self) {
        self.flags.fetch_or(ASK, Relaxed);
    }

    /// Asks who the owner is and for a wake-up, both at its next poll.
    pub(crate) fn want_wake_up(&self) {
        self.flags.fetch_or(ASK | WAKE, Release);
    }

    /// Takes the wish for a wake-up back.
    pub(crate) fn want_no_wake_up(&self) {
        self.flags.fetch_and(!WAKE, Relaxed);
    }

    /// Asks for the time at which the open poll ends.
    pub(crate) fn want_leave_time(&self) {
        self.flags.fetch_or(TIME_LEAVE, Relaxed);
    }

    /// When the poll of that number ended, if the owner was asked in time.
    pub(crate) fn left_at(&self, sequence: u64) -> Option<u64> {
        (self.left_sequence.load(Acquire) == sequence).then(|| self.left_at.load(Acquire))
    }

    /// The index of the runtime that the owner was in when it was asked last; 0 for none.
    pub(crate) fn runtime(&self) -> u32 {
        Place::unpack(self.place.load(Relaxed)).runtime
    }

    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.load(Relaxed)
    }
}

#[cfg(test)]
#[path = "slot/tests.rs"] // The models of `tests/loom` find this file by a path of their own.
mod tests;
