//! Takes a stack: from outside if the thread waits, by a signal if it computes.

use std::time::Duration;

use super::images::Images;
use super::pointer_args;
use super::still::waits_at;
use super::unwind::{self, Walk};
use super::wanted::Functions;
use crate::clock::{self, Nanos, nanos};
use crate::procfs::thread::{is_pending, signal_queue_is_full};
use crate::procfs::thread_files::ThreadFiles;
use crate::stack::mode::Capture;
use crate::stack::raw::{Captured, CodeAddress, RawStack, Way};
use crate::stall::StackOutcome;
use crate::sys::native::signal::{self, By, LONGEST_STACK, Refusal, Registers, SIGNAL, Signal};
use crate::sys::native::{cpu_time, memory};

/// How many times a capture is tried while the thread keeps moving.
const TRIES: u32 = 5;
/// After so many of them it is stopped by a signal, though it waits at times.
const QUIET_TRIES: u32 = 3;
/// Time between two checks whether the signal was answered.
const PAUSE: Duration = Duration::from_micros(50);
/// The most CPU time a thread needs to return from a system call that is over.
const RETURN: Nanos = 200_000;
/// The longest that the last check before a signal may take. If it takes longer, this thread lost its
/// CPU in between.
const GLANCE: Nanos = 20_000;

/// What is kept from one capture to the next.
pub(in crate::stack) struct Taker {
    mode: Capture,
    pub(super) images: Images,
    pub(super) functions: Functions,
    stack: Vec<u8>,
    /// Installed when it is first needed.
    signal: Option<Signal>,
}

/// The thread whose stack is wanted.
struct Subject<'a> {
    thread: u32,
    files: ThreadFiles,
    /// Whether it is still in the poll that the question is about.
    still: &'a dyn Fn() -> bool,
    deadline: Nanos,
}

struct Sample {
    way: Way,
    walk: Walk,
    given: Option<(&'static str, String)>,
}

impl Taker {
    pub(in crate::stack) fn new(mode: Capture) -> Self {
        let (images, functions) = (Images::default(), Functions::default());
        Self { mode, images, functions, stack: Vec::new(), signal: None }
    }

    /// Takes the stack of a thread while `still` holds. Tries again for at most `limit`, which does
    /// not include reading the list of modules before that: the first time it takes long.
    pub(in crate::stack) fn take(
        &mut self,
        thread: u32,
        still: &dyn Fn() -> bool,
        limit: Duration,
    ) -> Captured {
        let Sample { way, walk, given } = match self.attempts(thread, still, limit) {
            Ok(sample) => sample,
            Err(captured) => return captured,
        };
        let frames = self.code_of(&walk);
        Captured::stack(RawStack { thread, way, partial: !walk.is_complete, given, frames })
    }

    /// The frames of a stack without their names.
    pub(super) fn code_of(&self, walk: &Walk) -> Vec<CodeAddress> {
        let frames = walk.addresses.iter().enumerate();
        let code = frames.map(|(index, address)| {
            let is_guessed = walk.guessed.contains(&index);
            CodeAddress { is_guessed, ..self.images.describe(*address, index > 0) }
        });
        code.collect()
    }

    fn attempts(
        &mut self,
        thread: u32,
        still: &dyn Fn() -> bool,
        limit: Duration,
    ) -> Result<Sample, Captured> {
        if self.mode == Capture::Off {
            return Err(Captured::failed("captures are off"));
        }
        let files = ThreadFiles::open(thread)?;
        self.images.refresh();
        let subject = Subject { thread, files, still, deadline: clock::now() + nanos(limit) };
        for attempt in 0..TRIES {
            subject.check_poll()?;
            if attempt > 0 && clock::now() >= subject.deadline {
                break;
            }
            let sample = self.sample(&subject, attempt >= QUIET_TRIES)?;
            // A later poll may be on that stack.
            subject.check_poll()?;
            // Code that was loaded meanwhile is not known, and may lie where other code was.
            let same_code = !self.images.refresh();
            if let (Some(sample), true) = (sample, same_code) {
                return Ok(sample);
            }
        }
        Err(Captured::failed("the thread did not stand still"))
    }

    /// `None` if the thread has moved on meanwhile. `moves`: it did so before.
    fn sample(&mut self, subject: &Subject<'_>, moves: bool) -> Result<Option<Sample>, Captured> {
        let before = subject.files.moment()?;
        let moves = moves && self.mode == Capture::Auto;
        let Some(registers) = waits_at(&before)?.filter(|_| !moves) else {
            let registers = self.interrupt(subject, moves)?;
            return Ok(registers.map(|registers| {
                let walk = unwind::walk(&mut self.images, registers, &self.stack);
                Sample { way: Way::Signal, walk, given: None }
            }));
        };
        if signal::answers(subject.thread) {
            // It waits in our own handler.
            return Ok(None);
        }
        self.stack.resize(LONGEST_STACK, 0);
        let copied = memory::copy(registers.sp, &mut self.stack);
        let given = pointer_args::of_call(&before.state());
        if subject.files.moment()? != before {
            return Ok(None);
        }
        let walk = unwind::walk(&mut self.images, registers, &self.stack[..copied]);
        Ok(Some(Sample { way: Way::Quiet, walk, given }))
    }

    /// The registers and the stack of a thread that computes, by the kernel's signal alone. `None` if it waits,
    /// or cannot be asked that way before the deadline.
    pub(super) fn stop(&mut self, thread: u32, deadline: Nanos) -> Option<(Registers, Vec<u8>)> {
        if self.mode != Capture::Auto {
            return None;
        }
        let files = ThreadFiles::open(thread).ok()?;
        if !files.runs() || files.status().ok()?.is_blocked(SIGNAL) {
            return None;
        }
        let signal = installed(&mut self.signal).ok()?;
        let subject = Subject { thread, files, still: &|| true, deadline };
        let registers = subject.ask_by_timer(signal, &mut self.stack, false).ok()?;
        Some((registers, self.stack.clone()))
    }

    /// Has a thread that computes copy its registers and its stack. `None` if it waits by now, unless it
    /// `moves`: then the signal waits for it to compute again.
    fn interrupt(
        &mut self,
        subject: &Subject<'_>,
        moves: bool,
    ) -> Result<Option<Registers>, Captured> {
        if self.mode != Capture::Auto {
            return Err(Captured::failed("on the CPU, and signals are off"));
        }
        // It may be in a handler, which ends soon.
        while subject.files.status()?.is_blocked(SIGNAL) {
            if !subject.pause() {
                return Err(Refusal::NoAnswer.into());
            }
        }
        let signal = installed(&mut self.signal)?;
        match subject.ask_by_timer(signal, &mut self.stack, moves) {
            Ok(registers) => Ok(Some(registers)),
            Err(Refusal::NotAllowed) => Ok(None),
            Err(Refusal::NotSent(_)) => subject.ask_by_hand(signal, &mut self.stack),
            Err(Refusal::NoAnswer) if moves => Ok(None),
            Err(Refusal::NoAnswer) => {
                let reason = "the thread did not come back to its own code in time";
                Err(Captured::without(StackOutcome::Timeout, reason))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// The handler, which is installed when it is first needed.
fn installed(signal: &mut Option<Signal>) -> Result<&Signal, &'static str> {
    match signal {
        Some(signal) => Ok(signal),
        none => {
            let signal = Signal::install(|thread| is_pending(thread, SIGNAL));
            Ok(none.insert(signal.map_err(|_| "no signal handler")?))
        }
    }
}

impl Subject<'_> {
    fn check_poll(&self) -> Result<(), &'static str> {
        if (self.still)() { Ok(()) } else { Err("the poll has ended") }
    }

    /// How many times the thread has begun to wait for something since it began.
    fn waits(&self) -> Result<u64, &'static str> {
        self.files.status()?.waits.ok_or("the kernel does not count waits")
    }

    /// By the kernel's signal, which never cuts a system call short.
    fn ask_by_timer(
        &self,
        signal: &Signal,
        stack: &mut Vec<u8>,
        moves: bool,
    ) -> Result<Registers, Refusal> {
        let mut moved_on = false;
        let wait = |answers: bool| {
            let stays = answers || ((moves || self.files.runs()) && (self.still)());
            moved_on = !stays;
            stays && self.pause()
        };
        match signal.ask(self.thread, stack, By::Timer, wait) {
            Err(Refusal::NoAnswer) if moved_on => Err(Refusal::NotAllowed),
            registers => registers,
        }
    }

    /// By a signal of this process, if the thread computes as far as that can be known. `None` if it
    /// waits by now: a signal would end its wait.
    fn ask_by_hand(
        &self,
        signal: &Signal,
        stack: &mut Vec<u8>,
    ) -> Result<Option<Registers>, Captured> {
        let Some(waits) = self.waits_while_computing()? else { return Ok(None) };
        if signal_queue_is_full() {
            return Err(Captured::failed("as many signals are pending as may be"));
        }
        let may_send = || self.still_computes(waits);
        match signal.ask(self.thread, stack, By::Us(&may_send), |_| self.pause()) {
            Err(Refusal::NotAllowed) => Ok(None),
            registers => Ok(Some(registers?)),
        }
    }

    /// `false` if there is no time left.
    fn pause(&self) -> bool {
        let in_time = clock::now() < self.deadline;
        if in_time {
            std::thread::sleep(PAUSE);
        }
        in_time
    }

    /// Waits until the thread computes for certain, and returns its count of waits; `None` if it
    /// waits now, or the poll has ended.
    ///
    /// The kernel also says "running" of a thread that was woken and has no CPU yet, for as long as
    /// other threads have it. A signal would still reach it within its system call. So the thread
    /// must have been on the CPU for some time since it last waited.
    fn waits_while_computing(&self) -> Result<Option<u64>, Captured> {
        let on_cpu = || cpu_time(self.thread).ok_or("the thread has ended");
        let waits = self.waits()?;
        let begin = on_cpu()?;
        while on_cpu()? < begin + RETURN {
            if !self.pause() {
                let reason = "the thread had no CPU in time";
                return Err(Captured::without(StackOutcome::Timeout, reason));
            }
            if !self.files.runs() || self.waits()? != waits || !(self.still)() {
                return Ok(None);
            }
        }
        Ok(Some(waits))
    }

    /// Whether a signal sent now meets the thread on the CPU, as far as that can be known. The signal
    /// must leave within microseconds of the last check, so the check fails if this thread lost its
    /// CPU in between.
    fn still_computes(&self, waits: u64) -> bool {
        if self.waits() != Ok(waits) {
            return false;
        }
        let begin = clock::now();
        self.files.runs() && clock::now() - begin < GLANCE
    }
}

impl From<Refusal> for Captured {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoAnswer => {
                let reason = "the thread did not take the signal in time";
                Self::without(StackOutcome::Timeout, reason)
            }
            Refusal::Busy => Self::failed("an earlier signal is still being answered"),
            Refusal::Replaced => Self::failed("another handler was installed for SIGURG"),
            Refusal::NotAllowed | Refusal::NotSent(_) => {
                Self::failed("the system does not send the signal")
            }
        }
    }
}
