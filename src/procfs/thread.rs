//! One look at a thread: its scheduler's numbers and the system call it is in.

use std::fs;

use procfs_core::FromRead;
use procfs_core::process::{Schedstat, Stat, Status, Syscall};

use super::fd::{Object, describe};
use super::read;
use crate::clock::Nanos;
use crate::sys::{Waits, system_call};

/// Where a thread is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ThreadState {
    /// On a CPU, or waiting for one.
    Running,
    /// In a system call.
    Call { number: i64, arguments: [u64; 6], stack: u64, code: u64 },
    /// In the kernel, but not by a call: a page fault.
    Kernel,
    /// The kernel does not show the call, only the name of the function it waits in.
    Hidden(String),
    /// Nothing can be read.
    #[default]
    Unknown,
}

/// What is known of a thread at one time. What cannot be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadSample {
    /// On the CPU, since the thread began.
    pub(crate) cpu: Option<Nanos>,
    /// Ready to run without a CPU, since the thread began. A wait that is not over is not in it.
    pub(crate) delay: Option<Nanos>,
    /// How often it gave its CPU away because it had to wait for something.
    pub(crate) waits: Option<u64>,
    /// Page faults that waited for a file or for swap, since the thread began.
    pub(crate) major_faults: Option<u64>,
    pub(crate) now: ThreadState,
}

impl ThreadSample {
    /// Looks at the thread that the kernel knows by that number.
    pub(crate) fn take(thread: u32) -> Self {
        if thread == 0 {
            return Self::default();
        }
        let directory = format!("/proc/self/task/{thread}");
        let schedule = schedule(&directory);
        let stat = read::<Stat>(&format!("{directory}/stat"));
        let cpu = match (&schedule, &stat) {
            (Some(schedule), _) => Some(schedule.sum_exec_runtime),
            (None, Some(stat)) => Some((stat.utime + stat.stime).saturating_mul(TICK)),
            (None, None) => None,
        };
        Self {
            cpu,
            delay: schedule.map(|schedule| schedule.run_delay),
            waits: read::<Status>(&format!("{directory}/status"))
                .and_then(|status| status.voluntary_ctxt_switches),
            major_faults: stat.as_ref().map(|stat| stat.majflt),
            now: now(&directory),
        }
    }

    /// Whether the thread has waited in one and the same call from this look to that one.
    pub(crate) fn is_same_wait(&self, later: &Self) -> bool {
        let waits = matches!(self.now, ThreadState::Call { .. } | ThreadState::Hidden(_));
        waits
            && self.now == later.now
            && self.waits.is_some()
            && self.waits == later.waits
            && self.cpu == later.cpu
    }

    /// What the descriptor stands for that the thread waits at, if it does.
    pub(crate) fn object(&self) -> Option<Object> {
        match &self.now {
            ThreadState::Call { number, arguments, .. }
                if system_call(*number, arguments).waits == Waits::Descriptor =>
            {
                describe(arguments[0])
            }
            _ => None,
        }
    }
}

/// Of the times in `stat`, on every Linux there is (`USER_HZ`).
const TICK: Nanos = 10_000_000;

fn now(directory: &str) -> ThreadState {
    let line = fs::read_to_string(format!("{directory}/syscall")).unwrap_or_default();
    match call(&line) {
        ThreadState::Unknown => match fs::read_to_string(format!("{directory}/wchan")) {
            Ok(function) if function.trim() == "0" => ThreadState::Running,
            Ok(function) if !function.is_empty() => ThreadState::Hidden(function.trim().to_owned()),
            _ => ThreadState::Unknown,
        },
        now => now,
    }
}

/// What the file `syscall` says.
fn call(line: &str) -> ThreadState {
    // Without a call there are no arguments either, which the library wants.
    if line.starts_with("-1 ") {
        return ThreadState::Kernel;
    }
    match Syscall::from_read(line.as_bytes()) {
        Ok(Syscall::Running) => ThreadState::Running,
        Ok(Syscall::Blocked {
            syscall_number,
            argument_registers,
            stack_pointer,
            program_counter,
        }) => ThreadState::Call {
            number: syscall_number,
            arguments: argument_registers,
            stack: stack_pointer,
            code: program_counter,
        },
        _ => ThreadState::Unknown,
    }
}

/// What the scheduler says of a thread at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunQueueSample {
    /// On the CPU, since the thread began.
    pub(crate) cpu: Nanos,
    /// Ready to run without a CPU, since the thread began. A wait that is not over is not in it.
    pub(crate) delay: Nanos,
    /// On a CPU, or waiting for one.
    pub(crate) ready: bool,
}

impl RunQueueSample {
    pub(crate) fn of(thread: u32) -> Option<Self> {
        let directory = format!("/proc/self/task/{thread}");
        let schedule = schedule(&directory)?;
        let stat = read::<Stat>(&format!("{directory}/stat"))?;
        let (cpu, delay) = (schedule.sum_exec_runtime, schedule.run_delay);
        Some(Self { cpu, delay, ready: stat.state == 'R' })
    }
}

/// How long the calling thread has been ready to run without a CPU, since it began.
pub(crate) fn own_delay() -> Option<Nanos> {
    schedule("/proc/thread-self").map(|schedule| schedule.run_delay)
}

/// A kernel without these statistics shows zeros for every thread. One that has them counts at
/// least the turn in which the thread began.
fn schedule(directory: &str) -> Option<Schedstat> {
    read::<Schedstat>(&format!("{directory}/schedstat")).filter(|schedule| schedule.pcount > 0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::sys::thread_id;

    #[test]
    fn a_wait_is_the_same_while_nothing_moves() {
        let call = ThreadState::Call { number: 35, arguments: [1; 6], stack: 2, code: 3 };
        let look =
            ThreadSample { cpu: Some(5), waits: Some(7), now: call, ..ThreadSample::default() };
        assert!(look.is_same_wait(&look));
        let others = [
            ThreadSample { waits: Some(8), ..look.clone() },
            ThreadSample { cpu: Some(6), ..look.clone() },
            ThreadSample { waits: None, ..look.clone() },
            ThreadSample { now: ThreadState::Running, ..look.clone() },
        ];
        for other in others {
            assert!(!look.is_same_wait(&other) && !other.is_same_wait(&look), "{other:?}");
        }
        let unknown = ThreadSample::default();
        assert!(!unknown.is_same_wait(&unknown));
    }

    #[test]
    fn a_thread_that_sleeps_is_seen_in_its_call() {
        let (tell, told) = channel();
        let (stay, leave) = channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(thread_id()).expect("the test listens");
            // Returns as soon as the test is over.
            let _ = leave.recv_timeout(Duration::from_secs(30));
        });
        let tid = told.recv().expect("it lives");
        let in_futex = |look: &ThreadSample| match &look.now {
            ThreadState::Call { number, arguments, .. } => {
                system_call(*number, arguments).waits == Waits::Lock
            }
            _ => false,
        };
        let deadline = clock::now() + clock::nanos(Duration::from_secs(20));
        while !in_futex(&ThreadSample::take(tid)) {
            assert!(clock::now() < deadline, "{:?}", ThreadSample::take(tid));
        }
        let look = ThreadSample::take(tid);
        assert!(look.cpu.is_some() && look.delay.is_some() && look.major_faults.is_some());
        drop(stay);
        thread.join().expect("no panic");
    }

    #[test]
    fn the_line_of_a_call_is_read() {
        let sleep = "230 0x1 0x0 0x7f1c2a5fe9a0 0x0 0x5 0x6 0x7f1c2a5fe948 0x7f1c2a8c54e7\n";
        let arguments = [1, 0, 0x7f1c_2a5f_e9a0, 0, 5, 6];
        let (stack, code) = (0x7f1c_2a5f_e948, 0x7f1c_2a8c_54e7);
        assert_eq!(call(sleep), ThreadState::Call { number: 230, arguments, stack, code });
        assert_eq!(call("running\n"), ThreadState::Running);
        assert_eq!(call("-1 0x7ffc5d1b2e38 0x7f1c2a8c54e7\n"), ThreadState::Kernel);
        assert_eq!([call(""), call("230 0x1\n")], [ThreadState::Unknown, ThreadState::Unknown]);
    }

    #[test]
    fn a_thread_that_is_not_there_is_unknown() {
        assert_eq!(ThreadSample::take(0), ThreadSample::default());
        assert_eq!(ThreadSample::take(u32::MAX), ThreadSample::default());
        assert!(own_delay().is_some());
    }
}
