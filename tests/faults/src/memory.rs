//! Memory of the process's own, at its peak.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that looks at the memory once a millisecond.
pub(crate) struct Peak {
    before: u64,
    peak: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Peak {
    pub(crate) fn watch() -> Self {
        let (peak, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, has_ended) = (Arc::clone(&peak), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            while !has_ended.load(Relaxed) {
                seen.fetch_max(own(), Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { before: own(), peak, ends, thread }
    }

    /// How many bytes more there were at the peak, and are now.
    pub(crate) fn end(self) -> (u64, u64) {
        self.ends.store(true, Relaxed);
        self.thread.join().expect("no panic");
        let over = |bytes: u64| bytes.saturating_sub(self.before);
        (over(self.peak.load(Relaxed)), over(own()))
    }
}

fn own() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
