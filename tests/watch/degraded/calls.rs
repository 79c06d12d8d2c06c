//! Each call of docs/system-calls.md under a filter that has something against it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use tower_stall::{Builder, Capture, Cause, StallDetector, Symbols};

use super::filter::{Compare, Filter, KILL, Names, REFUSE};
use super::found::{Watched, lock, receive, sleep, spin};
use super::restricted::{is_computing_found, is_watched};
use crate::support::*;

/// A call of ours that few programs make, the argument that makes it ours, and the mode in which it is not made.
struct Ours {
    name: &'static str,
    argument: Option<(u8, u64)>,
    without: Capture,
}

const fn always(name: &'static str, without: Capture) -> Ours {
    Ours { name, argument: None, without }
}

const OURS: &[Ours] = &[
    always("process_vm_readv", Capture::Off),
    Ours { argument: Some((0, libc::SIGURG as u64)), ..always("rt_sigaction", Capture::NoSignal) },
    always("timer_create", Capture::NoSignal),
    always("timer_settime", Capture::NoSignal),
    always("timer_delete", Capture::NoSignal),
    always("rt_tgsigqueueinfo", Capture::NoSignal),
    Ours {
        argument: Some((2, libc::MADV_POPULATE_WRITE as u64)),
        ..always("madvise", Capture::NoSignal)
    },
    // Not made where there is a filter.
    always("perf_event_open", Capture::Auto),
];

/// Those that no program with threads and Tokio does without: to wait for another thread, to get memory, to end a
/// thread. The standard library panics where it cannot sleep, and Tokio where it cannot wake its I/O driver by a
/// `write`; glibc ends the process without `rseq`.
const VITAL: &[&str] =
    &["brk", "clock_nanosleep", "exit", "futex", "mmap", "mprotect", "munmap", "rseq", "write"];

const DOCS: &str = include_str!("../../../docs/system-calls.md");

/// The calls in the first column of the table of that section.
fn documented(section: &str) -> Names {
    let section = DOCS.split("\n## ").find(|part| part.starts_with(section)).expect("a section");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.map(|row| row.split(" | ").next().expect("a cell"));
    let words = cells.flat_map(|cell| cell.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()));
    // The rest is `or`, and what an argument is.
    words
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && *word != "or")
        .collect()
}

impl Ours {
    fn filter(&self, filter: Filter) -> Filter {
        match self.argument {
            None => filter.calls([self.name]),
            Some((argument, value)) => filter.call_with(self.name, argument, Compare::Eq, value),
        }
    }
}

#[test]
fn each_documented_call_has_its_test() {
    let ours: Names = OURS.iter().map(|call| call.name).collect();
    assert_eq!(documented("Calls that few services make"), ours);
    let common = documented("Calls that every service makes");
    assert!(common.is_superset(&VITAL.iter().copied().collect()), "{common:?}");
}

/// Processes at the same time: most of their time they wait.
const AT_ONCE: usize = 2;

/// Checks each of these calls in a process of its own.
fn check_each<'a>(
    test: &str,
    names: impl IntoIterator<Item = &'a str>,
    check: impl Fn(&'a str) + Sync,
) {
    let names: Vec<_> = names.into_iter().collect();
    let asked = std::env::var("STALL_TEST_CALL");
    let run = |name| {
        child::run(test, &[("STALL_TEST_CALL", name)], || {
            if asked.as_deref() == Ok(name) {
                check(name);
            }
        });
    };
    if asked.is_ok() {
        return names.into_iter().for_each(run);
    }
    let next = AtomicUsize::new(0);
    let run_all = || {
        while let Some(name) = names.get(next.fetch_add(1, Relaxed)) {
            run(name);
        }
    };
    thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(run_all))));
}

/// The same for each call of ours, with what is known of it.
fn check_ours(test: &str, check: impl Fn(&Ours) + Sync) {
    check_each(test, OURS.iter().map(|call| call.name), |name| {
        check(OURS.iter().find(|call| call.name == name).expect("one of ours"));
    });
}

#[test]
fn a_filter_that_refuses_a_call_costs_stacks_and_nothing_else() {
    let test = "degraded::calls::a_filter_that_refuses_a_call_costs_stacks_and_nothing_else";
    check_ours(test, |call| {
        call.filter(Filter::answering(REFUSE)).apply();
        is_watched(Capture::Auto, Symbols::Functions);
    });
}

#[test]
fn a_filter_that_ends_the_process_for_a_call_has_a_mode_without_it() {
    let test = "degraded::calls::a_filter_that_ends_the_process_for_a_call_has_a_mode_without_it";
    check_ours(test, |call| {
        call.filter(Filter::answering(KILL)).apply();
        is_watched(call.without, Symbols::Functions);
    });
}

/// As before Linux 5.9, which has no such timer either.
#[test]
fn where_the_timer_is_refused_the_signal_is_sent_by_us() {
    child::run("degraded::calls::where_the_timer_is_refused_the_signal_is_sent_by_us", &[], || {
        Filter::answering(REFUSE).calls(["timer_create"]).apply();
        let watched = Watched::new(|builder| builder);
        assert!(watched.stack("spin", spin).by_signal);
        assert!(!watched.stack("sleep", sleep).by_signal, "from outside");
    });
}

#[test]
fn where_no_signal_is_allowed_only_who_computes_has_no_stack() {
    let test = "degraded::calls::where_no_signal_is_allowed_only_who_computes_has_no_stack";
    child::run(test, &[], || {
        Filter::answering(REFUSE).calls(["timer_create", "rt_tgsigqueueinfo"]).apply();
        let watched = Watched::new(|builder| builder);
        let missing = ("failed", "the system does not send the signal");
        watched.check(("spin", spin), Cause::Cpu, missing);
        assert!(!watched.stack("sleep", sleep).by_signal, "from outside");
    });
}

/// What `start` returns under a filter that only our threads have.
fn start_under(
    filter: Filter,
    runtime: &tokio::runtime::Runtime,
) -> Result<StallDetector, tower_stall::BuildError> {
    let handle = runtime.handle();
    let start = || {
        let _inside = handle.enter();
        let builder: Builder = StallDetector::builder().threshold(THRESHOLD);
        let builder = builder.admin((std::net::Ipv4Addr::LOCALHOST, 0));
        filter.apply_here();
        builder.start()
    };
    thread::scope(|scope| scope.spawn(start).join().expect("no panic"))
}

/// Those whose refusal keeps the detector from its start, with an error that says so: no thread, no runtime or no
/// address for the admin server.
const AT_START: &[&str] = &[
    "bind",
    "clone",
    "clone3",
    "epoll_create1",
    "epoll_ctl",
    "eventfd2",
    "fcntl",
    "getsockname",
    "listen",
    "setsockopt",
    "socket",
];

/// All others cost at most what is read by them.
#[test]
fn a_common_call_that_our_threads_are_refused_harms_nobody() {
    let test = "degraded::calls::a_common_call_that_our_threads_are_refused_harms_nobody";
    let common = documented("Calls that every service makes").into_iter();
    check_each(test, common.filter(|name| !VITAL.contains(name)), goes_on);
}

fn goes_on(refused: &str) {
    let runtime = runtime(2);
    match start_under(Filter::answering(REFUSE).calls([refused]), &runtime) {
        Ok(stall) => {
            // The C library makes one of the two.
            let is_clone = ["clone", "clone3"].contains(&refused);
            assert!(is_clone || !AT_START.contains(&refused), "{refused}");
            let rig = Rig { stall: Arc::new(stall), runtime };
            let block = rig.block("blocks");
            rig.run(rig.stall.watched("blocks", async move { block.run() }));
            rig.one_stall("blocks");
            assert_eq!(rig.run(async { 7 }), 7);
        }
        Err(error) => {
            assert!(AT_START.contains(&refused), "{refused}: {error}");
            assert_eq!(runtime.block_on(runtime.spawn(async { 7 })).expect("no panic"), 7);
        }
    }
}

/// All that our threads do, from their start to their end, under a filter that ends the process for any call that
/// the documentation does not have.
#[test]
fn our_threads_make_no_call_that_is_not_documented() {
    let test = "degraded::calls::our_threads_make_no_call_that_is_not_documented";
    child::run(test, &[], || {
        let common = documented("Calls that every service makes");
        let few = documented("Calls that few services make");
        let filter = Filter::allowing(KILL).calls(common.into_iter().chain(few));
        let start = || {
            Watched::new(|builder| {
                filter.apply_here();
                builder
            })
        };
        let watched = thread::scope(|scope| scope.spawn(start).join().expect("no panic"));
        watched.meet_workers();
        watched.with_stack("sleep", sleep);
        watched.with_stack("spin", spin);
        watched.with_stack("lock", lock);
        watched.with_stack("receive", receive);
        let computes = || watched.rig.metric("tokio_workers_saturated", &[]) == Some(1.0);
        is_computing_found(&watched, computes);
        let admin = watched.rig.stall.admin_addr().expect("an address");
        let profiles = ["/stalls.folded?seconds=1", "/stalls.firefox.json"];
        let pages = ["/livez?format=json", "/stalls", "/stalls.json", "/flamegraph.svg"];
        for path in pages.into_iter().chain(profiles) {
            assert_eq!(fetch(admin, path).0, 200, "{path}");
        }
        let url = format!("http://{admin}/debug/pprof/stalls");
        let profile = client().get(url).call().expect("an answer").body_mut().read_to_vec();
        assert!(profile.expect("bytes").starts_with(&[0x1f, 0x8b]), "it is compressed by gzip");
        // Where the machine was busy, it is not ready.
        fetch(admin, "/readyz");
        watched.rig.stall.shutdown(3 * LIMIT).expect("an end");
    });
}
