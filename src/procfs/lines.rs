//! Parsers of the files in `/proc/<pid>/task/<tid>`, as pure functions of their text.
//!
//! Written by hand: `procfs-core` cannot read the `syscall` of a thread that waits outside of a system
//! call, and reads much more of `stat` and `status` than is needed here.

use crate::clock::Nanos;

/// Where a thread is, by the files `syscall` and `wchan`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ThreadState {
    /// On a CPU, or waiting for one.
    Running,
    /// In a system call, with that stack pointer and instruction pointer.
    Call { number: i64, arguments: [u64; 6], stack: u64, code: u64 },
    /// In the kernel without a system call: a page fault.
    Kernel { stack: u64, code: u64 },
    /// The kernel shows only the name of the kernel function that the thread waits in.
    Hidden(String),
    /// Nothing can be read.
    #[default]
    Unknown,
}

impl ThreadState {
    /// Parses `syscall`: `running`; or the number of the call and its six arguments, or -1 and no
    /// arguments, followed by stack pointer and instruction pointer.
    pub(crate) fn of_syscall(line: &str) -> Self {
        if line.trim_end() == "running" {
            return Self::Running;
        }
        waiting(line).unwrap_or_default()
    }

    /// Parses `wchan`: the name of a kernel function, or 0.
    pub(crate) fn of_wchan(line: &str) -> Self {
        match line.trim() {
            "" => Self::Unknown,
            "0" => Self::Running,
            function => Self::Hidden(function.to_owned()),
        }
    }
}

fn waiting(line: &str) -> Option<ThreadState> {
    let (number, rest) = line.trim_end().split_once(' ')?;
    let fields: Option<Vec<u64>> = rest.split(' ').map(hexadecimal).collect();
    match (number.parse().ok()?, fields?.as_slice()) {
        (-1, [stack, code]) => Some(ThreadState::Kernel { stack: *stack, code: *code }),
        (number, [arguments @ .., stack, code]) => {
            let arguments = arguments.try_into().ok()?;
            Some(ThreadState::Call { number, arguments, stack: *stack, code: *code })
        }
        _ => None,
    }
}

fn hexadecimal(field: &str) -> Option<u64> {
    u64::from_str_radix(field.strip_prefix("0x")?, 16).ok()
}

/// From `schedstat`: what the scheduler has counted since the thread began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedstat {
    /// CPU time.
    pub(crate) cpu: Nanos,
    /// Time ready to run without a CPU. It does not include a wait that still lasts.
    pub(crate) delay: Nanos,
}

impl Schedstat {
    /// `None` also if the kernel does not count: then it shows zeros. Otherwise a thread has had at
    /// least the time slice in which it began.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let mut number = || numbers.next()?.ok();
        let (cpu, delay, slices) = (number()?, number()?, number()?);
        (slices > 0).then_some(Self { cpu, delay })
    }
}

/// From `stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// On a CPU, or waiting for one.
    pub(crate) ready: bool,
    /// Page faults that waited for a file or for swap since the thread began.
    pub(crate) major_faults: u64,
    /// CPU time, in whole ticks.
    pub(crate) cpu: Nanos,
}

/// The unit of the times in `stat`, the same on every Linux (`USER_HZ`).
const TICK: Nanos = 10_000_000;

impl Stat {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        // The name of the thread comes before, in parentheses, and may hold anything.
        let mut fields = line.rsplit_once(')')?.1.split_whitespace();
        let ready = fields.next()? == "R";
        let mut number = |skipped: usize| fields.nth(skipped)?.parse::<u64>().ok();
        let (major_faults, user, system) = (number(8)?, number(1)?, number(0)?);
        Some(Self { ready, major_faults, cpu: user.saturating_add(system).saturating_mul(TICK) })
    }
}

/// From `status`. What is missing there is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// How many times the thread gave up its CPU to wait for something.
    pub(crate) waits: Option<u64>,
    /// Signals that were sent to the thread and not taken yet, a bit for each.
    pending: u64,
    /// Signals that the thread blocks.
    blocked: u64,
    /// Whether as many signals are pending as may be, of all processes of the user.
    pub(crate) queue_is_full: bool,
    /// Whether no filter decides on the system calls of the thread.
    unfiltered: bool,
}

impl Status {
    pub(crate) fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let signals = || u64::from_str_radix(value.trim(), 16).unwrap_or_default();
            match name {
                "SigPnd" => status.pending = signals(),
                "SigBlk" => status.blocked = signals(),
                "SigQ" => status.queue_is_full = is_full(value),
                "Seccomp" => status.unfiltered = value.trim() == "0",
                "voluntary_ctxt_switches" => status.waits = value.trim().parse().ok(),
                _ => {}
            }
        }
        status
    }

    /// Whether a filter decides on the system calls of the thread, or that is not known.
    #[allow(dead_code, reason = "called only where stacks are taken")]
    pub(crate) fn is_filtered(&self) -> bool {
        !self.unfiltered
    }

    /// Whether that signal was sent to the thread and not taken yet.
    pub(crate) fn is_pending(&self, signal: i32) -> bool {
        has(self.pending, signal)
    }

    /// Whether the thread blocks that signal.
    #[allow(dead_code, reason = "called only where stacks are taken")]
    pub(crate) fn is_blocked(&self, signal: i32) -> bool {
        has(self.blocked, signal)
    }
}

/// Whether the first of two numbers, as in `3/95903`, has reached the second.
fn is_full(numbers: &str) -> bool {
    let numbers = numbers.trim().split_once('/');
    let numbers = numbers.and_then(|(used, most)| Some((used.parse().ok()?, most.parse().ok()?)));
    numbers.is_some_and(|(used, most): (u64, u64)| used >= most)
}

fn has(signals: u64, signal: i32) -> bool {
    signals & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: u64 = 0x7ffc_13c4_e110;
    const CODE: u64 = 0x7f00_d2e1_fadf;

    #[test]
    fn the_line_of_a_call_has_all_its_forms() {
        let call = "230 0x1 0x0 0x7ffd 0x0 0x5 0x6 0x7ffc13c4e110 0x7f00d2e1fadf\n";
        let arguments = [1, 0, 0x7ffd, 0, 5, 6];
        let call_state = ThreadState::Call { number: 230, arguments, stack: STACK, code: CODE };
        for (line, state) in [
            ("running\n", ThreadState::Running),
            (call, call_state),
            (
                "-1 0x7ffc13c4e110 0x7f00d2e1fadf\n",
                ThreadState::Kernel { stack: STACK, code: CODE },
            ),
            ("230 0x1 0x7ffc13c4e110 0x7f00d2e1fadf", ThreadState::Unknown),
            ("-1 0x1 0x7ffc13c4e110 0x7f00d2e1fadf", ThreadState::Unknown),
            ("0x7ffc13c4e110 0x7f00d2e1fadf", ThreadState::Unknown),
            ("230 0x1\n", ThreadState::Unknown),
            ("sleeping", ThreadState::Unknown),
            ("", ThreadState::Unknown),
        ] {
            assert_eq!(ThreadState::of_syscall(line), state, "{line:?}");
        }
    }

    #[test]
    fn where_the_call_is_hidden_the_function_may_show() {
        assert_eq!(ThreadState::of_wchan("0"), ThreadState::Running);
        assert_eq!(ThreadState::of_wchan(""), ThreadState::Unknown);
        let hidden = ThreadState::Hidden("futex_wait_queue".into());
        assert_eq!(ThreadState::of_wchan("futex_wait_queue\n"), hidden);
    }

    #[test]
    fn a_filter_is_there_unless_the_kernel_says_that_there_is_none() {
        let is_filtered = |text| Status::parse(text).is_filtered();
        assert!(!is_filtered("Name:\tapp\nSeccomp:\t0\nSeccomp_filters:\t0\n"));
        for text in ["Seccomp:\t2\nSeccomp_filters:\t3\n", "Seccomp:\t1\n", "Name:\tapp\n", ""] {
            assert!(is_filtered(text), "{text:?}");
        }
    }

    #[test]
    fn a_queue_is_full_when_its_limit_is_reached() {
        let is_full = |text| Status::parse(text).queue_is_full;
        assert!(is_full("SigQ:\t7/7\n") && is_full("SigQ:\t0/0\n"));
        for text in ["SigQ:\t6/7\n", "SigQ:\t7\n", "SigQ:\tx/7\n", ""] {
            assert!(!is_full(text), "{text:?}");
        }
    }

    #[test]
    fn zeros_are_no_statistics() {
        assert_eq!(Schedstat::parse("5 7 1\n"), Some(Schedstat { cpu: 5, delay: 7 }));
        for line in ["0 0 0\n", "5 7\n", "5 x 1", ""] {
            assert_eq!(Schedstat::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn the_name_of_a_thread_may_hold_anything() {
        let line = "17 (a) R (b) S 1 17 17 0 -1 4194304 90 0 3 0 20 5 0 0 20 0 1 0 100 200";
        let stat = Stat { ready: false, major_faults: 3, cpu: 250_000_000 };
        assert_eq!(Stat::parse(line), Some(stat));
        assert!(Stat::parse(&line.replace(") S", ") R")).is_some_and(|stat| stat.ready));
        for line in ["", "17 (a", "17 (a) R 1 2"] {
            assert_eq!(Stat::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn signals_are_bits() {
        let text = "Name:\tSigBlk: x\nSigPnd:\t0000000000400000\nShdPnd:\t0000000000000001\n\
                    SigBlk:\t0000000000000200\nvoluntary_ctxt_switches:\t42\n";
        let status = Status::parse(text);
        assert!(status.is_pending(23) && !status.is_pending(1) && !status.is_pending(10));
        assert!(status.is_blocked(10) && !status.is_blocked(23));
        assert_eq!(status.waits, Some(42));
        assert_eq!(Status::parse(""), Status::default());
    }
}
