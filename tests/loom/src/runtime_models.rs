//! The models of what a runtime, its watchdog and a test say to one another.

use std::sync::Arc as StdArc;
use std::sync::atomic::AtomicBool as StdBool;
use std::task::{Wake, Waker};

use loom::sync::Arc;
use loom::thread;

use crate::heartbeat::Heartbeat;
use crate::scan_barrier::ScanBarrier;
use crate::slot::{Identity, LabelId, Place, Slot};
use crate::sync::AtomicU64;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::wake_up::WakeUp;

const MOST_PREEMPTIONS: usize = 2;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(MOST_PREEMPTIONS);
    builder.check(model);
}

/// A watchdog that sleeps for long is woken by the first poll that begins after it has armed its wake-up,
/// and by no other.
pub fn the_first_poll_wakes_the_watchdog() {
    fn poll(slot: &Slot, wake_up: &WakeUp) {
        let entered = slot.enter(LabelId(1), |wake| {
            if wake {
                wake_up.wake();
            }
            Identity { place: Place { runtime: 1, worker: Some(1) }, thread: 1, claim: 1 }
        });
        slot.leave(entered, || 0);
    }
    check(|| {
        let slot = Arc::new(Slot::new());
        let wake_up = Arc::new(WakeUp::default());
        let has_wish = Arc::new(AtomicU64::new(0));
        let watchdog = thread::spawn({
            let (slot, wake_up) = (Arc::clone(&slot), Arc::clone(&wake_up));
            let has_wish = Arc::clone(&has_wish);
            move || {
                wake_up.arm();
                slot.want_wake_up();
                has_wish.store(1, Release);
                // Loom tells where this has no end.
                while wake_up.is_armed() {
                    thread::park();
                }
            }
        });
        poll(&slot, &wake_up);
        while has_wish.load(Acquire) == 0 {
            thread::yield_now();
        }
        poll(&slot, &wake_up);
        poll(&slot, &wake_up);
        watchdog.join().expect("it was woken");
    });
}

/// Of several threads that end an idle time one unparks the watchdog, which finds that it was woken.
pub fn one_of_many_wakes_the_watchdog() {
    check(|| {
        // The main thread joins, which loom does not tell from parking.
        let watchdog = thread::spawn(|| {
            let wake_up = Arc::new(WakeUp::default());
            wake_up.arm();
            let others = [(); 2].map(|()| {
                let wake_up = Arc::clone(&wake_up);
                thread::spawn(move || wake_up.wake())
            });
            while wake_up.is_armed() {
                thread::park();
            }
            others
        });
        for other in watchdog.join().expect("it was woken") {
            other.join().expect("it ends");
        }
    });
}

/// Notes that it was called.
struct Note(StdBool);

impl Wake for Note {
    fn wake(self: StdArc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// A tick that is asked for comes: the task sees the question, or is woken, at the latest by the next scan.
pub fn a_tick_that_is_asked_for_comes() {
    check(|| {
        let heartbeat = Arc::new(Heartbeat::new());
        heartbeat.set_ticking(true);
        let note = StdArc::new(Note(StdBool::new(false)));
        let task = thread::spawn({
            let heartbeat = Arc::clone(&heartbeat);
            let waker = Waker::from(StdArc::clone(&note));
            move || {
                heartbeat.wait(&waker);
                heartbeat.asked().is_some()
            }
        });
        heartbeat.ask(5);
        let seen = task.join().expect("it ends");
        heartbeat.wake();
        assert!(seen || note.0.load(Relaxed), "the question is lost");
    });
}

/// Who asks for a tick sets the interval before: the tick that takes the question has the new one.
pub fn a_tick_has_the_interval_of_who_asked() {
    check(|| {
        let heartbeat = Arc::new(Heartbeat::new());
        heartbeat.set_interval(1000);
        let task = thread::spawn({
            let heartbeat = Arc::clone(&heartbeat);
            move || {
                let asked = heartbeat.asked();
                heartbeat.take_asked();
                (asked, heartbeat.interval())
            }
        });
        heartbeat.hurry(5, 1);
        let (asked, interval) = task.join().expect("it ends");
        if asked.is_some() {
            assert_eq!(interval, 1);
        }
    });
}

/// Who has seen a tick sees when the next one is due, and the question of the last one as taken.
pub fn a_tick_is_not_taken_for_a_missing_one() {
    check(|| {
        let heartbeat = Arc::new(Heartbeat::new());
        heartbeat.set_ticking(true);
        heartbeat.expect(100);
        heartbeat.ask(50);
        let task = thread::spawn({
            let heartbeat = Arc::clone(&heartbeat);
            move || {
                let due = heartbeat.due();
                heartbeat.take_asked();
                heartbeat.expect(200);
                heartbeat.stamp(due, 60);
            }
        });
        if heartbeat.beat() == 60 {
            assert_eq!((heartbeat.asked(), heartbeat.due()), (None, 200));
        } else {
            // Never later than the next one.
            assert!([50, 100, 200].contains(&heartbeat.due()));
        }
        task.join().expect("it ends");
    });
}

/// Each lag is read once, and in its order.
pub fn each_lag_is_read_once() {
    check(|| {
        let heartbeat = Arc::new(Heartbeat::new());
        let task = thread::spawn({
            let heartbeat = Arc::clone(&heartbeat);
            move || {
                heartbeat.stamp(10, 11);
                heartbeat.stamp(20, 22);
            }
        });
        let (mut seen, mut read) = (0, Vec::new());
        for _ in 0..2 {
            assert_eq!(heartbeat.lags(&mut seen, |lag| read.push(lag)), 0);
        }
        task.join().expect("it ends");
        assert_eq!(heartbeat.lags(&mut seen, |lag| read.push(lag)), 0);
        assert_eq!(read, [1, 2]);
    });
}

/// A test that waits for the scan it wants waits for one that has seen what came before.
pub fn a_wanted_scan_sees_what_came_before() {
    check(|| {
        let barrier = Arc::new(ScanBarrier::default());
        let before = Arc::new(AtomicU64::new(0));
        // The number of the scan that has seen it.
        let seen = Arc::new(AtomicU64::new(u64::MAX));
        let watchdog = thread::spawn({
            let (barrier, before, seen) =
                (Arc::clone(&barrier), Arc::clone(&before), Arc::clone(&seen));
            move || {
                for scan in 1..=2 {
                    barrier.begin();
                    if before.load(Acquire) == 1 {
                        seen.fetch_min(scan, Relaxed);
                    }
                    barrier.end(0);
                }
            }
        });
        before.store(1, Release);
        let scan = barrier.want();
        if barrier.is_done(scan) {
            assert!(seen.load(Relaxed) <= scan, "scan {scan} has not seen it");
        }
        watchdog.join().expect("it ends");
        assert!(seen.load(Relaxed) <= scan || barrier.is_wanted(), "it is forgotten");
    });
}
