//! How a stack is sampled: quietly from a thread that waits, by a signal from one that computes.

use std::time::Duration;

use super::images::Images;
use super::pointer_args;
use super::unwind::{self, Snapshot, Walk};
use crate::clock::{self, Nanos, nanos};
use crate::procfs::thread::{ThreadState, is_pending};
use crate::procfs::thread_files::{Moment, ThreadFiles};
use crate::stack::mode::Capture;
use crate::stack::raw::{Captured, RawStack, Way};
use crate::stall::StackOutcome;
use crate::sys::native::signal::{self, By, LONGEST_STACK, Refusal, Registers, SIGNAL, Signal};
use crate::sys::native::{cpu_time, memory};

/// How often a thread may move on while its stack is copied.
const TRIES: u32 = 5;
/// How often to look whether a signal was answered.
const PAUSE: Duration = Duration::from_micros(50);
/// What a thread needs at most on the CPU to come back from a call that is over.
const RETURN: Nanos = 200_000;
/// What the last look before a signal takes at most, unless this thread lost its CPU in between.
const GLANCE: Nanos = 20_000;

/// What is kept from one capture to the next.
pub(in crate::stack) struct Taker {
    mode: Capture,
    images: Images,
    stack: Vec<u8>,
    /// Installed at the first need.
    signal: Option<Signal>,
}

type Stuck = &'static str;

struct Sampled {
    way: Way,
    walk: Walk,
    given: Option<(&'static str, String)>,
}

/// Where a thread is that has a stack.
pub(super) enum Position {
    /// On the CPU, or ready for it.
    Runs,
    /// In the kernel, with these registers.
    Waits(Registers),
}

/// The last thing that a thread does is to have no stack.
pub(super) fn position(moment: &Moment) -> Result<Position, Stuck> {
    match moment.state() {
        ThreadState::Running => Ok(Position::Runs),
        ThreadState::Call { stack, code, .. } | ThreadState::Kernel { stack, code }
            if stack != 0 && code != 0 =>
        {
            Ok(Position::Waits(Registers::at(code, stack)))
        }
        _ => Err("the thread has no stack"),
    }
}

/// How often the thread has begun to wait for something, since it began.
fn waits(files: &ThreadFiles) -> Result<u64, Stuck> {
    files.status()?.waits.ok_or("the kernel does not count waits")
}

impl Taker {
    pub(in crate::stack) fn new(mode: Capture) -> Self {
        Self { mode, images: Images::default(), stack: Vec::new(), signal: None }
    }

    /// Takes the stack of a thread while `still` holds. Tries again for `limit` at most: it does not
    /// count what is read of the program before that, which takes long for the first time.
    pub(in crate::stack) fn take(
        &mut self,
        thread: u32,
        still: &dyn Fn() -> bool,
        limit: Duration,
    ) -> Captured {
        match self.attempt(thread, still, limit) {
            Err(captured) => captured,
            Ok(Sampled { way, walk, given }) => {
                let frames = walk.addresses.iter().enumerate();
                let frames = frames
                    .map(|(index, address)| self.images.describe(*address, index > 0))
                    .collect();
                let partial = !walk.is_complete();
                Captured::stack(RawStack { thread, way, partial, given, frames })
            }
        }
    }

    fn attempt(
        &mut self,
        thread: u32,
        still: &dyn Fn() -> bool,
        limit: Duration,
    ) -> Result<Sampled, Captured> {
        if self.mode == Capture::Off {
            return Err(Captured::failed("captures are off"));
        }
        let files = ThreadFiles::open(thread).map_err(Captured::failed)?;
        self.images.refresh();
        let deadline = clock::now() + nanos(limit);
        for attempt in 0..TRIES {
            if !still() {
                return Err(Captured::failed("the poll has ended"));
            }
            if attempt > 0 && clock::now() >= deadline {
                break;
            }
            let before = files.moment().map_err(Captured::failed)?;
            let sampled = match position(&before).map_err(Captured::failed)? {
                // What it waits for is our own.
                Position::Waits(_) if signal::answers(thread) => None,
                Position::Waits(registers) => {
                    self.quietly(&files, &before, registers).map_err(Captured::failed)?
                }
                Position::Runs => {
                    let question = SignalRequest { thread, files: &files, still, deadline };
                    let walk = self.by_signal(&question)?;
                    walk.map(|walk| Sampled { way: Way::Signal, walk, given: None })
                }
            };
            // A later poll may be on that stack.
            if !still() {
                return Err(Captured::failed("the poll has ended"));
            }
            // Code that came meanwhile is not known, and may lie where other code was.
            let same_code = !self.images.refresh();
            if let (Some(sampled), true) = (sampled, same_code) {
                return Ok(sampled);
            }
        }
        Err(Captured::failed("the thread did not stand still"))
    }

    /// `None` where the thread has moved on meanwhile.
    fn quietly(
        &mut self,
        files: &ThreadFiles,
        before: &Moment,
        registers: Registers,
    ) -> Result<Option<Sampled>, Stuck> {
        self.stack.resize(LONGEST_STACK, 0);
        let copied = memory::copy(registers.sp, &mut self.stack);
        let given = pointer_args::of_call(&before.state());
        if files.moment()? != *before {
            return Ok(None);
        }
        let stack = &self.stack[..copied];
        let walk = unwind::walk(&mut self.images, Snapshot { registers, knows_fp: false, stack });
        Ok(Some(Sampled { way: Way::Quiet, walk, given }))
    }

    /// `None` where the thread waits by now.
    fn by_signal(&mut self, question: &SignalRequest<'_>) -> Result<Option<Walk>, Captured> {
        if self.mode != Capture::Auto {
            return Err(Captured::failed("on the CPU, and signals are off"));
        }
        // It may be in a handler, which ends soon.
        while question.files.status().map_err(Captured::failed)?.is_blocked(SIGNAL) {
            if !question.pause() {
                return Err(refused(Refusal::NoAnswer));
            }
        }
        let signal = match &mut self.signal {
            Some(signal) => signal,
            none => {
                let signal = Signal::install(|thread| is_pending(thread, SIGNAL));
                none.insert(signal.map_err(|_| Captured::failed("no signal handler"))?)
            }
        };
        let registers = match question.by_timer(signal, &mut self.stack) {
            Err(Refusal::NotSent(_)) => question.by_hand(signal, &mut self.stack)?,
            Err(Refusal::NoAnswer) => {
                let reason = "the thread did not come back to its own code in time";
                return Err(Captured::without(StackOutcome::Timeout, reason));
            }
            Err(why) => moved_on(why)?,
            Ok(registers) => Some(registers),
        };
        let Some(registers) = registers else { return Ok(None) };
        let snapshot = Snapshot { registers, knows_fp: true, stack: &self.stack };
        Ok(Some(unwind::walk(&mut self.images, snapshot)))
    }
}

/// About a thread that runs.
struct SignalRequest<'a> {
    thread: u32,
    files: &'a ThreadFiles,
    still: &'a dyn Fn() -> bool,
    deadline: Nanos,
}

impl SignalRequest<'_> {
    /// By the kernel's signal, which cuts no call short.
    fn by_timer(&self, signal: &Signal, stack: &mut Vec<u8>) -> Result<Registers, Refusal> {
        let mut moved_on = false;
        let wait = |answers: bool| {
            let same = answers || (self.files.runs() && (self.still)());
            moved_on = !same;
            same && self.pause()
        };
        match signal.ask(self.thread, stack, By::Timer, wait) {
            Err(Refusal::NoAnswer) if moved_on => Err(Refusal::NotAllowed),
            registers => registers,
        }
    }

    /// By a signal of ours, if the thread computes as far as that can be known. `None` where it
    /// waits by now: a signal would end its wait.
    fn by_hand(&self, signal: &Signal, stack: &mut Vec<u8>) -> Result<Option<Registers>, Captured> {
        let Some(waits) = self.computes()? else { return Ok(None) };
        let may_send = || still_computes(self.files, waits);
        let registers = signal.ask(self.thread, stack, By::Us(&may_send), |_| self.pause());
        registers.map(Some).or_else(moved_on)
    }

    /// `false` where there is no time left.
    fn pause(&self) -> bool {
        let in_time = clock::now() < self.deadline;
        if in_time {
            std::thread::sleep(PAUSE);
        }
        in_time
    }

    /// Waits until the thread computes, and returns how often it had waited by then; `None` where
    /// it waits now, or the poll has ended.
    ///
    /// The kernel says "running" of a thread that was woken and has no CPU yet, which lasts as long
    /// as others have it. A signal would still reach it within its call. So the thread must have
    /// been on the CPU for some time since it waited last.
    fn computes(&self) -> Result<Option<u64>, Captured> {
        let on_cpu =
            || cpu_time(self.thread).ok_or_else(|| Captured::failed("the thread has ended"));
        let before = waits(self.files).map_err(Captured::failed)?;
        let begin = on_cpu()?;
        while on_cpu()? < begin + RETURN {
            if !self.pause() {
                let reason = "the thread had no CPU in time";
                return Err(Captured::without(StackOutcome::Timeout, reason));
            }
            let runs =
                self.files.moment().map_err(Captured::failed)?.state() == ThreadState::Running;
            if !runs || waits(self.files).map_err(Captured::failed)? != before || !(self.still)() {
                return Ok(None);
            }
        }
        Ok(Some(before))
    }
}

fn moved_on(why: Refusal) -> Result<Option<Registers>, Captured> {
    if why == Refusal::NotAllowed { Ok(None) } else { Err(refused(why)) }
}

/// Whether a signal sent now meets the thread on the CPU, as far as that can be known: it must be
/// sent within microseconds of the last look, so what was seen by a thread that then lost its CPU
/// does not count.
fn still_computes(files: &ThreadFiles, before: u64) -> bool {
    if waits(files) != Ok(before) {
        return false;
    }
    let begin = clock::now();
    files.runs() && clock::now() - begin < GLANCE
}

fn refused(why: Refusal) -> Captured {
    match why {
        Refusal::NoAnswer => {
            Captured::without(StackOutcome::Timeout, "the thread did not take the signal in time")
        }
        Refusal::Busy => Captured::failed("an earlier signal is still being answered"),
        Refusal::Replaced => Captured::failed("another handler was installed for SIGURG"),
        Refusal::NotAllowed | Refusal::NotSent(_) => {
            Captured::failed("the system does not send the signal")
        }
    }
}
