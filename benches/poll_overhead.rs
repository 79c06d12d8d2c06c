//! A marked poll costs at most 2 ns, and a fortieth of what tokio-metrics' `TaskMonitor` adds.
//!
//! A trivial future that stays pending is polled in a task on a worker of a multi-thread runtime.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tower_stall_benches::{
    Rounds, Target, per_operation, print_head, stay_on_one_core, watched_runtime,
};

const POLLS: u32 = 2_000_000;

const BARE: &str = "bare";
const OURS: &str = "ours";
const NESTED: &str = "ours, inside ours";
const CLOCK: &str = "two Instant::now";
const MONITOR: &str = "TaskMonitor";

/// Counts its polls and is never ready.
struct Trivial(u64);

impl Future for Trivial {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0 = black_box(self.0 + 1);
        Poll::Pending
    }
}

/// Polls a future again and again and returns nanoseconds for each.
async fn polls<F: Future>(future: F) -> f64 {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(per_operation(POLLS, || {
            black_box(future.as_mut().poll(cx).is_ready());
        }))
    })
    .await
}

/// The same with two readings of the clock around each poll.
async fn timed_by_clock() -> f64 {
    let mut future = pin!(Trivial(0));
    poll_fn(|cx| {
        Poll::Ready(per_operation(POLLS, || {
            let start = Instant::now();
            black_box(future.as_mut().poll(cx).is_ready());
            black_box(start.elapsed());
        }))
    })
    .await
}

fn main() {
    print_head("poll_overhead");
    stay_on_one_core();
    let (runtime, stall) = watched_runtime(1);
    let monitor = tokio_metrics::TaskMonitor::new();
    let contenders = [BARE, OURS, NESTED, CLOCK, MONITOR].map(|name| (name, name));
    let rounds = Rounds::run("ns a poll", &contenders, |name| {
        let task = match name {
            BARE => runtime.spawn(polls(Trivial(0))),
            OURS => runtime.spawn(polls(stall.watched("trivial", Trivial(0)))),
            NESTED => {
                let inner = stall.watched("trivial", Trivial(0));
                runtime.spawn(stall.watched("around", polls(inner)))
            }
            CLOCK => runtime.spawn(timed_by_clock()),
            MONITOR => runtime.spawn(polls(monitor.instrument(Trivial(0)))),
            _ => unreachable!("all contenders are above"),
        };
        runtime.block_on(task).expect("the task ends")
    });
    rounds.print(BARE);
    rounds.check_over(Target::AtMost(2.0), "ours over bare, ns", OURS, BARE);
    rounds.check_over(Target::AtMost(2.0), "ours inside ours over bare, ns", NESTED, BARE);
    rounds.check_times_cheaper(40.0, "times cheaper than TaskMonitor", [OURS, MONITOR, BARE]);
}
