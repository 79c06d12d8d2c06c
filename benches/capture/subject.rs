//! A thread that is looked at.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use tower_stall_benches::{cores, stay_on_core};

/// How much of its stack is in use.
const STACK: usize = 16 * 1024;

/// Ends its thread when it is dropped.
pub(super) struct Subject {
    /// The thread id.
    pub(super) thread: u32,
    shared: Arc<Shared>,
    handle: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The longest time between two readings of the clock, in nanoseconds.
    gap: AtomicU64,
}

impl Subject {
    /// One that reads the clock again and again, on the last core.
    pub(super) fn that_computes() -> Self {
        Self::start(|shared| {
            stay_on_core(cores() - 1);
            let mut last = Instant::now();
            while !shared.stop.load(Ordering::Relaxed) {
                let now = Instant::now();
                let gap = (now - last).as_nanos() as u64;
                if gap > shared.gap.load(Ordering::Relaxed) {
                    shared.gap.store(gap, Ordering::Relaxed);
                }
                last = now;
            }
        })
    }

    /// One that waits in the kernel.
    pub(super) fn that_waits() -> Self {
        Self::start(|shared| {
            while !shared.stop.load(Ordering::Relaxed) {
                std::thread::park();
            }
        })
    }

    fn start(run: fn(&Shared)) -> Self {
        let shared = Arc::new(Shared::default());
        let (own, (tell, told)) = (Arc::clone(&shared), channel());
        let handle = std::thread::spawn(move || {
            let begin = 0_u8;
            deep((&raw const begin).addr(), &|| {
                let tell: &Sender<u32> = &tell;
                tell.send(this_thread()).expect("somebody listens");
                run(&own);
            });
        });
        Self { thread: told.recv().expect("the thread begins"), shared, handle: Some(handle) }
    }

    /// How often the scheduler has put it on a core so far.
    pub(super) fn turns(&self) -> u64 {
        let line = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread));
        let line = line.expect("the kernel keeps schedstat");
        let turns = line.split_whitespace().nth(2).and_then(|turns| turns.parse().ok());
        turns.expect("three numbers")
    }

    /// The longest gap since this was asked for last, in microseconds.
    pub(super) fn longest_gap(&self) -> f64 {
        self.shared.gap.swap(0, Ordering::Relaxed) as f64 / 1e3
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(handle) = self.handle.take() {
            handle.thread().unpark();
            handle.join().expect("the thread ends");
        }
    }
}

/// The id of the calling thread.
fn this_thread() -> u32 {
    // SAFETY: takes no argument and always succeeds.
    unsafe { libc::gettid() as u32 }
}

/// Calls itself until the stack is that deep, then calls `run`.
#[inline(never)]
fn deep(begin: usize, run: &dyn Fn()) -> u8 {
    let frame = black_box([1_u8; 256]);
    if begin - frame.as_ptr().addr() < STACK {
        // The frame is needed afterwards, so this is no tail call.
        deep(begin, run) ^ black_box(frame)[0]
    } else {
        run();
        black_box(frame)[0]
    }
}
