//! A sample of a thread: what the scheduler has counted, and the system call it is in.

use std::fs;

use super::fd::{Object, describe};
pub(crate) use super::lines::ThreadState;
use super::lines::{Schedstat, Stat, Status};
use crate::clock::Nanos;
use crate::sys::{Waits, system_call, waits_for_two};

/// The state of a thread at one time. What cannot be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadSample {
    /// CPU time since the thread began.
    pub(crate) cpu: Option<Nanos>,
    /// Time ready to run without a CPU since the thread began. It does not include a wait that still
    /// lasts.
    pub(crate) delay: Option<Nanos>,
    /// How many times it gave up its CPU to wait for something.
    pub(crate) waits: Option<u64>,
    /// Page faults that waited for a file or for swap since the thread began.
    pub(crate) major_faults: Option<u64>,
    pub(crate) now: ThreadState,
}

impl ThreadSample {
    /// Samples the thread with that id.
    pub(crate) fn take(thread: u32) -> Self {
        if thread == 0 {
            return Self::default();
        }
        let schedule = schedule(thread);
        let stat = stat(thread);
        // Ticks are coarse: only if there is no schedstat.
        let by_ticks = || stat.map(|stat| stat.cpu);
        Self {
            cpu: schedule.map(|schedule| schedule.cpu).or_else(by_ticks),
            delay: schedule.map(|schedule| schedule.delay),
            waits: status(thread).and_then(|status| status.waits),
            major_faults: stat.map(|stat| stat.major_faults),
            now: state(thread),
        }
    }

    /// Whether the thread has waited in one system call from this sample to that one.
    pub(crate) fn is_same_wait(&self, later: &Self) -> bool {
        let waits = matches!(self.now, ThreadState::Call { .. } | ThreadState::Hidden(_));
        let of = |sample: &Self| (sample.waits, sample.cpu);
        waits && self.now == later.now && self.waits.is_some() && of(self) == of(later)
    }

    /// Whether the thread waits for the output of a child, as `Command::output` does: for two
    /// descriptors without a time limit, and it has started a child that is not waited for yet.
    pub(crate) fn awaits_output(&self, thread: u32) -> bool {
        let ThreadState::Call { number, arguments, .. } = &self.now else { return false };
        waits_for_two(*number, arguments)
            && read(thread, "children").is_some_and(|children| !children.trim().is_empty())
    }

    /// The object behind the descriptor that the thread waits for, if it waits for one.
    pub(crate) fn object(&self) -> Option<Object> {
        let ThreadState::Call { number, arguments, .. } = &self.now else { return None };
        let (_, waits) = system_call(*number, arguments);
        if waits == Waits::Descriptor { describe(arguments[0]) } else { None }
    }
}

/// What the scheduler says about a thread at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunQueueSample {
    /// CPU time since the thread began.
    pub(crate) cpu: Nanos,
    /// Time ready to run without a CPU since the thread began. It does not include a wait that still
    /// lasts.
    pub(crate) delay: Nanos,
    /// On a CPU, or waiting for one.
    pub(crate) ready: bool,
}

impl RunQueueSample {
    pub(crate) fn of(thread: u32) -> Option<Self> {
        let (Schedstat { cpu, delay }, stat) = (schedule(thread)?, stat(thread)?);
        Some(Self { cpu, delay, ready: stat.ready })
    }
}

/// How long the calling thread has been ready to run without a CPU since it began.
pub(crate) fn own_delay() -> Option<Nanos> {
    let line = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Schedstat::parse(&line).map(|schedule| schedule.delay)
}

/// Whether that signal was sent to the thread and not taken yet; `false` if the thread has ended.
#[allow(dead_code, reason = "called only where stacks are taken")]
pub(crate) fn is_pending(thread: u32, signal: i32) -> bool {
    status(thread).is_some_and(|status| status.is_pending(signal))
}

/// Whether a filter decides which system calls the calling thread may make. It may end the process for one
/// that it does not know, so it counts as there where that cannot be read.
#[allow(dead_code, reason = "called only where stacks are taken")]
pub(crate) fn calls_are_filtered() -> bool {
    own_status().is_filtered()
}

/// Whether the kernel has no room for another pending signal. It would be delivered without its value.
#[allow(dead_code, reason = "called only where stacks are taken")]
pub(crate) fn signal_queue_is_full() -> bool {
    own_status().queue_is_full
}

/// The ids of all threads of this process.
#[allow(dead_code, reason = "called only where stacks are taken")]
pub(crate) fn threads() -> Vec<u32> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The name of a thread.
#[allow(dead_code, reason = "called only where stacks are taken")]
pub(crate) fn name_of(thread: u32) -> Option<String> {
    read(thread, "comm").map(|name| name.trim_end_matches('\n').to_owned())
}

fn own_status() -> Status {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    Status::parse(&text)
}

/// What the thread with that id does; unknown if it has ended.
pub(crate) fn state(thread: u32) -> ThreadState {
    let line = |file| read(thread, file).unwrap_or_default();
    match ThreadState::of_syscall(&line("syscall")) {
        ThreadState::Unknown => ThreadState::of_wchan(&line("wchan")),
        state => state,
    }
}

fn schedule(thread: u32) -> Option<Schedstat> {
    Schedstat::parse(&read(thread, "schedstat")?)
}

fn stat(thread: u32) -> Option<Stat> {
    Stat::parse(&read(thread, "stat")?)
}

fn status(thread: u32) -> Option<Status> {
    read(thread, "status").map(|text| Status::parse(&text))
}

/// Opens the file each time, so the caller has to know that the thread lives: another thread may
/// have its id by then (see [`ThreadFiles`](super::thread_files)).
fn read(thread: u32, file: &str) -> Option<String> {
    // A thread may have any bytes for its name, which is in `stat` and `status`.
    let bytes = fs::read(format!("/proc/self/task/{thread}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
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
                system_call(*number, arguments) == ("futex", Waits::Lock)
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
    fn a_thread_that_is_not_there_is_unknown() {
        assert_eq!(ThreadSample::take(0), ThreadSample::default());
        assert_eq!(ThreadSample::take(u32::MAX), ThreadSample::default());
        assert!(own_delay().is_some());
    }
}
