//! Calls that begin when a signal may be on its way already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::{Call, Returned};
use crate::drive::{self, Seen};
use crate::support::*;
use crate::{files, network, time};

pub(crate) const RUNS: usize = 200;
/// How many signals are answered meanwhile, at least.
const SIGNALS: usize = 10;

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Calls of that name.
fn only(calls: Vec<Call>, names: &[&str]) -> Vec<Call> {
    let calls: Vec<_> = calls.into_iter().filter(|call| names.contains(&call.name)).collect();
    assert_eq!(calls.len(), names.len());
    calls
}

/// Computes for about as long as the threshold, then makes the call. Returns how often that was
/// interrupted.
async fn compute_and_call(
    (mut call, reference): (Call, Returned),
    rig: Arc<Rig>,
    seen: Seen,
    runs: usize,
) -> usize {
    let (mut interrupted, mut run) = (0, 0);
    while run < runs || seen.signals() < SIGNALS {
        assert!(run < 100 * RUNS, "hardly any signal is sent: {}", seen.signals());
        let blocking = (call.prepare)();
        // The stall is counted, its stack asked for and the signal sent, at a tick of the kernel,
        // before, at and after the call's begin. On a slow machine that takes longer: where the runs were
        // not enough, each computes for longer.
        let step = 100 * (1 + run / runs) as u64;
        let before = Duration::from_micros(1000 + step * (run as u64 % 100));
        let both = async move {
            spin(before);
            blocking()
        };
        let returned = rig.stall.watched(&drive::name(call.name, run), both).await;
        if returned.is_interrupted() {
            interrupted += 1;
        } else {
            assert_eq!(returned, reference, "run {run} of {}", call.name);
        }
        run += 1;
        tokio::task::yield_now().await;
    }
    interrupted
}

/// Restarted after our signal, so never to be seen interrupted.
fn restarted() -> Vec<Call> {
    let names = ["read of a pipe", "read of an eventfd", "flock", "fcntl F_SETLKW", "waitpid"];
    let sockets = ["recv of TCP", "recv of a Unix socket"];
    let files = only(files::calls(), &names);
    files.into_iter().chain(only(network::calls(), &sockets)).collect()
}

/// Not restarted after a signal, whatever its handler asks for.
fn not_restarted() -> Vec<Call> {
    let names = ["nanosleep", "poll", "select", "epoll_wait", "sigtimedwait"];
    let sockets = ["read of TCP to its limit", "recv of TCP within its limit"];
    let times = only(time::calls(), &names);
    times.into_iter().chain(only(network::calls(), &sockets)).collect()
}

/// The same for all calls, beside one another. Returns how often each was interrupted.
fn interrupted(calls: Vec<Call>, runs: usize) -> Vec<(&'static str, usize)> {
    let seen = Seen::default();
    let calls: Vec<_> = calls.into_iter().map(drive::with_reference).collect();
    let rig = Arc::new(drive::rig(&seen));
    let spawn = |call: (Call, Returned)| {
        (
            call.0.name,
            rig.runtime.spawn(compute_and_call(call, Arc::clone(&rig), seen.clone(), runs)),
        )
    };
    let tasks: Vec<_> = calls.into_iter().map(spawn).collect();
    let interrupted: Vec<_> = tasks
        .into_iter()
        .map(|(name, task)| (name, rig.runtime.block_on(task).expect("as without a detector")))
        .collect();
    println!("{} signals, interrupted: {interrupted:?}", seen.signals());
    interrupted
}

#[test]
fn a_call_that_is_restarted_shows_nothing_of_a_signal_on_its_way() {
    for (name, interrupted) in interrupted(restarted(), RUNS) {
        assert_eq!(interrupted, 0, "{name}");
    }
}

#[test]
fn a_call_that_is_not_restarted_meets_no_signal() {
    if drive::kernel_sends() {
        assert_eq!(not_restarted_interrupted(RUNS), 0);
    }
}

/// How often a call was interrupted of those that are not restarted.
pub(crate) fn not_restarted_interrupted(runs: usize) -> usize {
    interrupted(not_restarted(), runs).iter().map(|(_, interrupted)| interrupted).sum()
}
