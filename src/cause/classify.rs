//! From evidence to a cause.

use crate::clock::Nanos;
use crate::procfs::fd::Object;
use crate::procfs::thread::{ThreadSample, ThreadState};
use crate::stall::Cause;
use crate::sys::{Waits, system_call};

/// What was seen of a thread while it did not return.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// How long it has not returned.
    pub(crate) lasted: Nanos,
    /// The time between the two samples.
    pub(crate) watched: Nanos,
    pub(crate) first: ThreadSample,
    /// A sample within a system call, taken if the first had it running.
    pub(crate) between: Option<ThreadSample>,
    pub(crate) last: ThreadSample,
    /// The object behind the descriptor that it waits for, if it waits for one.
    pub(crate) object: Option<Object>,
    /// How long the process was suspended between the samples.
    pub(crate) suspended: Nanos,
    /// The same between the first sight of the poll and the first sample.
    pub(crate) suspended_before: Nanos,
    /// How long the watchdog had no CPU in that time. The thread is assumed to have had none either.
    pub(crate) delayed_before: Nanos,
    /// Whether a CPU quota was used up meanwhile.
    pub(crate) throttled: bool,
}

impl Evidence {
    /// What the thread was seen waiting for.
    pub(super) fn telling(&self) -> &ThreadSample {
        telling(&self.first, self.between.as_ref(), &self.last)
    }
}

/// What the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Classification {
    /// Why the thread does not return, leaving out the environment's share.
    pub(crate) cause: Cause,
    /// How long it could not run for reasons outside the program.
    pub(crate) excused: Nanos,
    /// What the reason was.
    pub(crate) excuse: Cause,
}

/// The environment's share first; what is left is classified.
pub(crate) fn classify(evidence: &Evidence) -> Classification {
    let Evidence { first, last, .. } = evidence;
    let delayed_meanwhile = delayed(evidence);
    let delayed = delayed_meanwhile + evidence.delayed_before;
    let suspended = evidence.suspended + evidence.suspended_before;
    // Who had a CPU lost nothing meanwhile, and who was suspended had none: that is one time, not two.
    let on_cpu = rise(first.cpu, last.cpu).unwrap_or(0);
    let without_cpu = evidence.watched.saturating_sub(on_cpu);
    let lost_meanwhile = (delayed_meanwhile + evidence.suspended).min(without_cpu);
    let lost_before = evidence.delayed_before + evidence.suspended_before;
    let excused = (lost_meanwhile + lost_before).min(evidence.lasted);
    let excuse = if suspended > delayed {
        Cause::Suspended
    } else if evidence.throttled {
        Cause::Throttled
    } else {
        Cause::Starved
    };
    // The time between the samples in which the thread could run.
    let own = evidence.watched - lost_meanwhile;
    let cause = match rise(first.cpu, last.cpu) {
        Some(cpu) if own > 0 && cpu >= own / 2 => Cause::Cpu,
        cpu => off_cpu(evidence, cpu.is_some()),
    };
    Classification { cause, excused, excuse }
}

/// How long the thread was ready to run without a CPU between the samples.
fn delayed(evidence: &Evidence) -> Nanos {
    let Evidence { first, last, watched, .. } = evidence;
    let over = rise(first.delay, last.delay).unwrap_or(0).min(*watched);
    // The kernel counts a wait when it is over. A thread that did not wait for anything else, and is
    // ready now, has been waiting for a CPU whenever it had none. So has one that did, as a stop by a
    // signal counts for such a wait, if most of the time was lost and nobody saw it wait.
    let ready = first.now == ThreadState::Running && last.now == ThreadState::Running;
    let mostly_lost = evidence.between.is_none() && over + evidence.suspended > watched / 2;
    match (rise(first.cpu, last.cpu), rise(first.waits, last.waits)) {
        (Some(cpu), Some(waits)) if ready && (waits == 0 || mostly_lost) => {
            watched.saturating_sub(cpu + evidence.suspended).max(over)
        }
        _ => over,
    }
}

fn rise<T: Copy + Into<u64>>(first: Option<T>, last: Option<T>) -> Option<u64> {
    Some(last?.into().saturating_sub(first?.into()))
}

/// The sample that shows what the thread waits for: an earlier one if the last has it running for a
/// moment.
pub(crate) fn telling<'a>(
    first: &'a ThreadSample,
    between: Option<&'a ThreadSample>,
    last: &'a ThreadSample,
) -> &'a ThreadSample {
    if last.now == ThreadState::Running { between.unwrap_or(first) } else { last }
}

/// The cause for a thread that did not compute.
fn off_cpu(evidence: &Evidence, cpu_known: bool) -> Cause {
    let Evidence { first, last, .. } = evidence;
    match &evidence.telling().now {
        ThreadState::Call { number, arguments, .. } => match system_call(*number, arguments).1 {
            Waits::Sleep => Cause::Sleep,
            Waits::Lock => Cause::Lock,
            Waits::Descriptor => evidence.object.as_ref().map_or(Cause::Blocked, of_object),
            Waits::File => Cause::FileIo,
            Waits::Child => Cause::ProcessWait,
            Waits::Descriptors if evidence.object == Some(Object::ChildOutput) => {
                Cause::ProcessWait
            }
            Waits::Descriptors | Waits::Other => Cause::Blocked,
        },
        ThreadState::Hidden(function) => of_kernel_function(function),
        ThreadState::Running | ThreadState::Kernel { .. }
            if rise(first.major_faults, last.major_faults).is_some_and(|faults| faults > 0) =>
        {
            Cause::FileIo
        }
        ThreadState::Kernel { .. } => Cause::Blocked,
        // It computes now, but did not for most of the time: a mixture.
        ThreadState::Running if cpu_known => Cause::Blocked,
        ThreadState::Running | ThreadState::Unknown => Cause::Unknown,
    }
}

fn of_object(object: &Object) -> Cause {
    match object {
        Object::Socket => Cause::NetworkIo,
        Object::File(_) | Object::Pipe => Cause::FileIo,
        Object::ChildOutput => Cause::ProcessWait,
        Object::Anonymous(kind) if kind == "timerfd" => Cause::Sleep,
        Object::Anonymous(kind) if kind == "pidfd" => Cause::ProcessWait,
        Object::Anonymous(_) => Cause::Blocked,
    }
}

/// The cause by the kernel function that a thread waits in, if the system call is not shown.
fn of_kernel_function(function: &str) -> Cause {
    const PREFIXES: [(&str, Cause); 16] = [
        ("hrtimer_nanosleep", Cause::Sleep),
        ("do_nanosleep", Cause::Sleep),
        ("futex", Cause::Lock),
        ("flock", Cause::Lock),
        ("locks_lock", Cause::Lock),
        ("do_wait", Cause::ProcessWait),
        ("kernel_wait", Cause::ProcessWait),
        ("inet_", Cause::NetworkIo),
        ("sk_", Cause::NetworkIo),
        ("tcp_", Cause::NetworkIo),
        ("unix_", Cause::NetworkIo),
        ("wait_for_connect", Cause::NetworkIo),
        ("__skb_wait", Cause::NetworkIo),
        ("pipe_", Cause::FileIo),
        ("wait_on_page", Cause::FileIo),
        ("folio_wait", Cause::FileIo),
    ];
    let function = function.trim_start_matches("__x64_sys_").trim_start_matches("anon_");
    let known = PREFIXES.iter().find(|(prefix, _)| function.starts_with(prefix));
    known.map_or(Cause::Blocked, |(_, cause)| *cause)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn call(number: i64) -> ThreadState {
        ThreadState::Call { number, arguments: [0; 6], stack: 1, code: 2 }
    }

    /// So many milliseconds in all, on the CPU, without one, and standing still.
    fn evidence(lasted: u64, cpu: u64, delay: u64, suspended: u64, now: ThreadState) -> Evidence {
        let zero = ThreadSample {
            cpu: Some(0),
            delay: Some(0),
            waits: None,
            major_faults: Some(0),
            now: now.clone(),
        };
        let last = ThreadSample { cpu: Some(cpu * MS), delay: Some(delay * MS), ..zero.clone() };
        Evidence {
            lasted: lasted * MS,
            watched: lasted * MS,
            first: zero,
            last: ThreadSample { now, ..last },
            suspended: suspended * MS,
            ..Evidence::default()
        }
    }

    /// The same with so many waits for something else between the samples.
    fn with_waits(count: u64, mut evidence: Evidence) -> Evidence {
        evidence.first.waits = Some(7);
        evidence.last.waits = Some(7 + count);
        evidence
    }

    fn check(evidence: &Evidence, cause: Cause, excused: u64, excuse: Cause) {
        let expected = Classification { cause, excused: excused * MS, excuse };
        assert_eq!(classify(evidence), expected, "{evidence:?}");
    }

    #[test]
    fn measured_cases_have_their_causes() {
        let sleep = || call(libc::SYS_clock_nanosleep);
        check(&evidence(500, 0, 0, 0, sleep()), Cause::Sleep, 0, Cause::Starved);
        check(&evidence(500, 495, 0, 0, ThreadState::Running), Cause::Cpu, 0, Cause::Starved);
        // Four hogs on the core: less than half of the time is the thread's own.
        check(&evidence(653, 132, 517, 0, ThreadState::Running), Cause::Cpu, 517, Cause::Starved);
        let throttled = |evidence| Evidence { throttled: true, ..evidence };
        let spins = throttled(evidence(688, 132, 554, 0, ThreadState::Running));
        check(&spins, Cause::Cpu, 554, Cause::Throttled);
        // A handler that sleeps while another thread uses the quota up.
        check(&throttled(evidence(500, 0, 0, 6, sleep())), Cause::Sleep, 6, Cause::Suspended);
        check(&evidence(531, 0, 0, 500, sleep()), Cause::Sleep, 500, Cause::Suspended);
    }

    #[test]
    fn what_was_before_the_first_sample_counts_but_does_not_blur_the_cause() {
        let before = Evidence {
            lasted: 500 * MS,
            watched: 100 * MS,
            delayed_before: 150 * MS,
            suspended_before: 200 * MS,
            ..evidence(100, 30, 0, 0, call(libc::SYS_clock_nanosleep))
        };
        check(&before, Cause::Sleep, 350, Cause::Suspended);
    }

    #[test]
    fn time_in_which_the_machine_stood_still_is_lost_once() {
        let spins = with_waits(0, evidence(1000, 200, 0, 150, ThreadState::Running));
        // Neither on a CPU nor waiting for anything else: all the rest, whoever else was late meanwhile.
        check(&spins, Cause::Cpu, 800, Cause::Starved);
    }

    #[test]
    fn a_wait_for_a_cpu_that_is_not_over_is_one() {
        let waits = evidence(300, 40, 60, 0, ThreadState::Running);
        check(&waits, Cause::Blocked, 60, Cause::Starved);
        check(&with_waits(0, waits.clone()), Cause::Cpu, 260, Cause::Starved);
        check(&with_waits(1, waits), Cause::Blocked, 60, Cause::Starved);
    }

    #[test]
    fn of_a_time_that_was_mostly_lost_the_rest_is_too_where_nobody_saw_a_wait() {
        // Stopped ten times on a busy machine, and without a CPU since.
        let stopped = with_waits(10, evidence(5449, 20, 40, 5337, ThreadState::Running));
        check(&stopped, Cause::Cpu, 5429, Cause::Suspended);
        let mut starved = Evidence { suspended: 400 * MS, ..stopped.clone() };
        starved.watched = 1245 * MS;
        starved.last.delay = Some(674 * MS);
        check(&starved, Cause::Cpu, 1225, Cause::Starved);
        // It waits now, or was seen to.
        let asleep = call(libc::SYS_clock_nanosleep);
        let mut sleeps = stopped.clone();
        sleeps.last.now = asleep.clone();
        check(&sleeps, Cause::Sleep, 5377, Cause::Suspended);
        let mut slept = stopped.clone();
        slept.between = Some(ThreadSample { now: asleep, ..ThreadSample::default() });
        check(&slept, Cause::Sleep, 5377, Cause::Suspended);
        // As much of its own time as was lost.
        let later = Evidence { lasted: 12_000 * MS, watched: 12_000 * MS, ..stopped };
        check(&later, Cause::Blocked, 5377, Cause::Suspended);
    }

    #[test]
    fn calls_name_what_is_waited_for() {
        let cause =
            |now, object| classify(&Evidence { object, ..evidence(200, 1, 0, 0, now) }).cause;
        let socket = Some(Object::Socket);
        let file = Some(Object::File("/data/big.csv".into()));
        let timer = Some(Object::Anonymous("timerfd".into()));
        assert_eq!(cause(call(libc::SYS_futex), None), Cause::Lock);
        assert_eq!(cause(call(libc::SYS_flock), None), Cause::Lock);
        assert_eq!(cause(call(libc::SYS_wait4), None), Cause::ProcessWait);
        assert_eq!(cause(call(libc::SYS_openat), None), Cause::FileIo);
        assert_eq!(cause(call(libc::SYS_read), socket), Cause::NetworkIo);
        assert_eq!(cause(call(libc::SYS_read), file), Cause::FileIo);
        assert_eq!(cause(call(libc::SYS_read), Some(Object::Pipe)), Cause::FileIo);
        let two = |object| {
            let mut arguments = [0; 6];
            arguments[1] = 2;
            cause(
                ThreadState::Call { number: libc::SYS_ppoll, arguments, stack: 1, code: 2 },
                object,
            )
        };
        assert_eq!(two(Some(Object::ChildOutput)), Cause::ProcessWait);
        assert_eq!(two(None), Cause::Blocked);
        assert_eq!(cause(call(libc::SYS_read), timer), Cause::Sleep);
        assert_eq!(cause(call(libc::SYS_read), None), Cause::Blocked);
        assert_eq!(cause(call(libc::SYS_getpid), None), Cause::Blocked);
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_the_rest_decides() {
        assert_eq!(classify(&Evidence::default()).cause, Cause::Unknown);
        let hidden = |function: &str| {
            let now = ThreadState::Hidden(function.into());
            classify(&Evidence { first: ThreadSample::default(), ..evidence(200, 0, 0, 0, now) })
                .cause
        };
        assert_eq!(hidden("futex_wait_queue"), Cause::Lock);
        assert_eq!(hidden("hrtimer_nanosleep"), Cause::Sleep);
        assert_eq!(hidden("pipe_read"), Cause::FileIo);
        assert_eq!(hidden("do_wait"), Cause::ProcessWait);
        assert_eq!(hidden("inet_csk_accept"), Cause::NetworkIo);
        assert_eq!(hidden("whatever"), Cause::Blocked);
        let spins = Evidence {
            first: ThreadSample {
                delay: None,
                ..evidence(200, 0, 0, 0, ThreadState::Unknown).first
            },
            ..evidence(200, 190, 0, 0, ThreadState::Unknown)
        };
        assert_eq!(classify(&spins).cause, Cause::Cpu, "without schedstat");
    }

    #[test]
    fn a_thread_that_is_awake_for_a_moment_is_known_from_before() {
        let asleep =
            ThreadSample { now: call(libc::SYS_clock_nanosleep), ..ThreadSample::default() };
        let awake = ThreadSample { now: ThreadState::Running, ..ThreadSample::default() };
        assert_eq!(telling(&asleep, None, &awake).now, asleep.now);
        assert_eq!(telling(&awake, None, &asleep).now, asleep.now);
        assert_eq!(telling(&awake, Some(&asleep), &awake).now, asleep.now);
        let locked = ThreadSample { now: call(libc::SYS_futex), ..ThreadSample::default() };
        assert_eq!(telling(&asleep, None, &locked).now, locked.now, "the last, if it tells");
    }

    #[test]
    fn a_fault_that_waits_for_a_file_is_file_io() {
        let mut faults = evidence(200, 2, 0, 0, ThreadState::Kernel { stack: 1, code: 2 });
        faults.last.major_faults = Some(3);
        assert_eq!(classify(&faults).cause, Cause::FileIo);
    }
}
