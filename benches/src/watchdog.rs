//! What the watchdog's thread takes, as the system tells it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The thread of the one detector that runs.
#[derive(Debug)]
pub struct WatchdogThread(PathBuf);

/// Its sums at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WatchdogTimes {
    /// On a CPU.
    pub cpu: Duration,
    /// Ready to run, and not on a CPU.
    pub waited: Duration,
    /// How often it went to sleep, which it does once a scan.
    pub scans: u64,
}

impl WatchdogThread {
    /// Finds it. A thread that has just been started has no name yet: waits for it.
    ///
    /// # Panics
    ///
    /// Where no detector runs, or several do.
    #[must_use]
    pub fn find() -> Self {
        for _ in 0..1000 {
            let threads = fs::read_dir("/proc/self/task").expect("a Linux");
            let threads = threads.map(|thread| thread.expect("an entry").path());
            let is_watchdog = |thread: &PathBuf| {
                let name = fs::read_to_string(thread.join("comm"));
                name.is_ok_and(|name| name.trim() == "stall-watchdog")
            };
            let mut found: Vec<_> = threads.filter(is_watchdog).collect();
            assert!(found.len() <= 1, "one detector runs");
            if let Some(thread) = found.pop() {
                return Self(thread);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("a detector runs");
    }

    /// Its sums now.
    ///
    /// # Panics
    ///
    /// Where the thread has ended, or the kernel does not tell.
    #[must_use]
    pub fn times(&self) -> WatchdogTimes {
        let read = |file| fs::read_to_string(self.0.join(file)).expect("it runs");
        let schedule = read("schedstat");
        let mut nanoseconds = schedule.split_whitespace().map(|field| field.parse());
        let mut next =
            || Duration::from_nanos(nanoseconds.next().and_then(Result::ok).expect("a number"));
        let status = read("status");
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let scans = sleeps.and_then(|sleeps| sleeps.trim().parse().ok()).expect("a number");
        WatchdogTimes { cpu: next(), waited: next(), scans }
    }
}

impl WatchdogTimes {
    /// Microseconds on a CPU for each scan since `before`.
    #[must_use]
    pub fn cpu_a_scan(self, before: Self) -> f64 {
        (self.cpu - before.cpu).as_secs_f64() * 1e6 / (self.scans - before.scans) as f64
    }

    /// Microseconds that a scan waited for a CPU since `before`.
    #[must_use]
    pub fn wait_a_scan(self, before: Self) -> f64 {
        (self.waited - before.waited).as_secs_f64() * 1e6 / (self.scans - before.scans) as f64
    }
}
