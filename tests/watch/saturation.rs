//! Trap (a): healthy workers at full load, whose counters stand still for longer than the
//! threshold. The load times its own polls, so that what the machine does to it is told apart.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tower_stall::{Stall, StallDetector};

use crate::support::detector::*;

/// Seconds each load runs for; raised for a soak by `STALL_SOAK_SECONDS`.
pub(crate) fn seconds() -> Duration {
    let soak = std::env::var("STALL_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(soak.unwrap_or(2))
}

/// The longest poll a load has seen.
#[derive(Clone, Default)]
pub(crate) struct Longest(Arc<AtomicU64>);

impl Longest {
    fn spin(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
        self.note(start);
    }

    /// Times the polls of a future.
    pub(crate) async fn of<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let start = Instant::now();
            let polled = future.as_mut().poll(context);
            self.note(start);
            polled
        })
        .await
    }

    fn note(&self, start: Instant) {
        self.0.fetch_max(start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Fails unless the machine itself has made a poll long, so that there may be stalls.
    #[track_caller]
    pub(crate) fn excuses(&self, stalls: &[Stall]) {
        // Half the threshold: what was done around the timed part takes time as well.
        let longest = ms(self.0.load(Ordering::Relaxed));
        assert!(longest >= ms(50), "the longest poll took {longest:?}: {stalls:#?}");
        eprintln!("a poll was held up for {longest:?} by the machine: once more");
    }
}

/// Runs `load` and wants no stall, unless the machine itself made one of its polls long.
fn nothing_is_blamed(runtime: &Runtime, load: impl Fn(&StallDetector, Longest, Arc<AtomicBool>)) {
    let _all = all_cpus();
    for _ in 0..5 {
        let stall = detector(runtime);
        let (longest, stop) = (Longest::default(), Arc::new(AtomicBool::new(false)));
        load(&stall, longest.clone(), Arc::clone(&stop));
        block(seconds());
        let (stalls, page) = (own(&stall), scrape(&stall));
        stop.store(true, Ordering::Release);
        wait_for(LIMIT, || (runtime.metrics().num_alive_tasks() <= 1).then_some(()));
        assert!(page.value("tower_stall_watchdog_scans_total", &[]) > 10.0);
        if stalls.is_empty() {
            return;
        }
        longest.excuses(&stalls);
    }
    panic!("this machine holds threads up for too long to tell");
}

/// Tasks that spin for `time` and yield, marked and not.
fn yielding_polls(runtime: &Runtime, tasks: usize, time: Duration) {
    nothing_is_blamed(runtime, |stall, longest, stop| {
        for number in 0..tasks {
            let (longest, stop) = (longest.clone(), Arc::clone(&stop));
            let polls = async move {
                while !stop.load(Ordering::Acquire) {
                    longest.spin(time);
                    tokio::task::yield_now().await;
                }
            };
            if number % 2 == 0 {
                runtime.spawn(stall.watched("polls", polls));
            } else {
                runtime.spawn(polls);
            }
        }
    });
}

#[test]
fn yielding_polls_of_2_ms_are_no_stall() {
    yielding_polls(&multi_thread(2), 6, ms(2));
}

#[test]
fn a_long_event_interval_is_no_stall() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .event_interval(1000)
        .enable_all()
        .build()
        .expect("a runtime");
    yielding_polls(&runtime, 6, Duration::from_micros(500));
}

#[test]
fn channel_ping_pong_of_half_a_millisecond_is_no_stall() {
    let runtime = multi_thread(2);
    nothing_is_blamed(&runtime, |stall, longest, stop| {
        for _ in 0..2 {
            let (to_pong, mut pong) = mpsc::channel::<()>(1);
            let (to_ping, mut ping) = mpsc::channel::<()>(1);
            let (spun, ends) = (longest.clone(), Arc::clone(&stop));
            runtime.spawn(stall.watched("pong", async move {
                while pong.recv().await.is_some() && !ends.load(Ordering::Acquire) {
                    spun.spin(Duration::from_micros(500));
                    if to_ping.send(()).await.is_err() {
                        break;
                    }
                }
            }));
            let (spun, ends) = (longest.clone(), Arc::clone(&stop));
            runtime.spawn(async move {
                while to_pong.send(()).await.is_ok() && !ends.load(Ordering::Acquire) {
                    if ping.recv().await.is_none() {
                        break;
                    }
                    spun.spin(Duration::from_micros(500));
                }
            });
        }
    });
}

// (g): threads that compete for the cores are no stall either; what they do to a marked poll is
// the environment's doing, and told apart from the next version on.

#[test]
fn competing_threads_do_not_make_a_worker_without_a_marker_a_stall() {
    let runtime = multi_thread(2);
    let stop = Arc::new(AtomicBool::new(false));
    let hogs: Vec<_> = (0..32)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    let stall = detector(&runtime);
    for _ in 0..6 {
        let stop = Arc::clone(&stop);
        runtime.spawn(async move {
            while !stop.load(Ordering::Acquire) {
                Longest::default().spin(ms(1));
                tokio::task::yield_now().await;
            }
        });
    }
    block(seconds());
    stop.store(true, Ordering::Release);
    for hog in hogs {
        hog.join().expect("no panic");
    }
    assert_none(&stall);
}
