//! What the machine does to the process, and what the process holds.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::stop::Stop;

#[path = "../../support/schedstat.rs"]
mod schedstat;

pub(crate) use schedstat::{detector_threads, waited, waited_for_cpu};

/// Waits of one thread: the begin, and how long.
type Waits = VecDeque<(Instant, Duration)>;

/// A thread that naps, and notes when the machine let it wait, and when it let the detector wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    naps: Waits,
    /// Those of the detector's threads, with their numbers and what was counted of them so far.
    threads: Vec<(u32, Duration, Waits)>,
}

/// How long each had no CPU between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    /// The thread that only naps.
    pub(crate) nap: Duration,
    /// The thread of the detector that had none for longest.
    pub(crate) detector: Duration,
}

impl Witness {
    const NAP: Duration = Duration::from_millis(5);
    /// A shorter wait is not noted.
    const LATE: Duration = Duration::from_millis(5);
    /// For how long that is remembered.
    const MEMORY: Duration = Duration::from_secs(120);

    /// It watches these threads too.
    pub(crate) fn watch(&self, threads: Vec<u32>) {
        let threads = threads.into_iter().map(|id| (id, waited(id), Waits::new())).collect();
        self.0.lock().expect("not poisoned").threads = threads;
    }

    pub(crate) fn run(&self, stop: &Stop) {
        while !stop.is_set() {
            let start = Instant::now();
            std::thread::sleep(Self::NAP);
            let late = start.elapsed().saturating_sub(Self::NAP);
            let mut seen = self.0.lock().expect("not poisoned");
            Self::note(&mut seen.naps, start + Self::NAP, late);
            for (id, before, waits) in &mut seen.threads {
                // A wait is counted when it is over.
                let now = waited(*id);
                let more = now.saturating_sub(*before);
                *before = now;
                Self::note(waits, Instant::now().checked_sub(more).unwrap_or(start), more);
            }
        }
    }

    fn note(waits: &mut Waits, at: Instant, long: Duration) {
        if long > Self::LATE {
            waits.push_back((at, long));
            while waits.front().is_some_and(|(at, _)| at.elapsed() > Self::MEMORY) {
                waits.pop_front();
            }
        }
    }

    /// What was lost between two moments that are over for a while.
    pub(crate) fn lost(&self, from: Instant, to: Instant) -> Lost {
        let seen = self.0.lock().expect("not poisoned");
        let threads = seen.threads.iter().map(|(_, _, waits)| overlap(waits, from, to));
        Lost { nap: overlap(&seen.naps, from, to), detector: threads.max().unwrap_or_default() }
    }
}

fn overlap(waits: &Waits, from: Instant, to: Instant) -> Duration {
    let of_wait = |(at, long): &(Instant, Duration)| {
        (*at + *long).min(to).saturating_duration_since((*at).max(from))
    };
    waits.iter().map(of_wait).sum()
}

/// What the process holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) kilobytes: usize,
    /// Of these, what is allocated by code in Rust.
    pub(crate) allocated: usize,
    pub(crate) files: usize,
    pub(crate) threads: usize,
    /// Series on the page of metrics, as of the last scrape.
    pub(crate) series: usize,
}

impl Held {
    pub(crate) fn now(series: usize) -> Self {
        let count = |path| fs::read_dir(path).map_or(0, Iterator::count);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
        Self {
            kilobytes: kilobytes.unwrap_or(0),
            allocated: crate::memory::allocated() >> 10,
            files: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            series,
        }
    }

    /// Each with its name.
    pub(crate) const fn rows(&self) -> [(&'static str, usize); 5] {
        [
            ("resident memory, KiB", self.kilobytes),
            ("allocated memory, KiB", self.allocated),
            ("file descriptors", self.files),
            ("threads", self.threads),
            ("series on `/metrics`", self.series),
        ]
    }

    /// The least of each: what comes and goes is not in it, what is leaked is.
    fn least(samples: &[Self]) -> Self {
        let least = |of: fn(&Self) -> usize| samples.iter().map(of).min().unwrap_or(0);
        Self {
            kilobytes: least(|held| held.kilobytes),
            allocated: least(|held| held.allocated),
            files: least(|held| held.files),
            threads: least(|held| held.threads),
            series: least(|held| held.series),
        }
    }
}

/// The warm-up of a long run.
const WARM_UP: usize = 300;

/// One sample a second.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    begin: Vec<Held>,
    end: VecDeque<Held>,
    /// As many seconds are the warm-up, the begin, and the end.
    window: usize,
    warm_up: usize,
    taken: usize,
}

impl Samples {
    pub(crate) fn new(time: Duration) -> Self {
        let seconds = usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
        // The end may be over before the begin where the time is too short for both.
        let window = (seconds / 6).clamp(2, 120);
        let warm_up = (seconds / 4).min(WARM_UP);
        Self { begin: Vec::new(), end: VecDeque::new(), window, warm_up, taken: 0 }
    }

    pub(crate) fn add(&mut self, held: Held) {
        self.taken += 1;
        if self.taken > self.warm_up && self.begin.len() < self.window {
            self.begin.push(held);
        }
        self.end.push_back(held);
        if self.end.len() > self.window {
            self.end.pop_front();
        }
    }

    /// After the warm-up and at the end.
    fn ends(&self) -> (Held, Held) {
        let end: Vec<_> = self.end.iter().copied().collect();
        (Held::least(&self.begin), Held::least(&end))
    }

    /// What the process may hold more at the end than after the warm-up.
    fn growth(&self) -> Held {
        // Each kind of fault on each runtime has series of its own, from its first time on, and 256 records
        // are kept. After a short warm-up most are still to come.
        let is_long = self.warm_up == WARM_UP;
        let (series, allocated) = if is_long { (40, 1 << 10) } else { (500, 2 << 10) };
        // The pool of Tokio keeps as many idle threads as were busy at once in the last seconds.
        Held { kilobytes: 16 << 10, allocated, files: 8, threads: 16, series }
    }

    /// What has grown too much.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (what, begin, end, most) in self.rows() {
            if end > begin + most {
                all.push(format!(
                    "{what}: {begin} after the warm-up, {end} at the end; {most} more may be"
                ));
            }
        }
        all
    }

    /// What is held, after the warm-up and at the end, and how much more that may be.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, usize, usize, usize)> {
        let (begin, end) = self.ends();
        let rows = begin.rows().into_iter().zip(end.rows()).zip(self.growth().rows());
        rows.map(|(((what, begin), (_, end)), (_, most))| (what, begin, end, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(leak: usize) -> Samples {
        let mut samples = Samples::new(Duration::from_secs(60));
        for second in 0..60 {
            let burst = if second % 4 == 0 { 300 } else { 0 };
            let threads = 30 + burst + second * leak;
            samples.add(Held {
                kilobytes: 50_000,
                allocated: 3000,
                files: 20,
                threads,
                series: 400,
            });
        }
        samples
    }

    #[test]
    fn what_comes_and_goes_is_no_leak() {
        assert_eq!(samples(0).complaints(), Vec::<String>::new());
        assert_eq!(samples(1).complaints().len(), 1);
    }

    #[test]
    fn only_the_time_between_the_moments_counts() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let waits = Waits::from([(start + ms(5), ms(95))]);
        assert_eq!(overlap(&waits, start, start + ms(200)), ms(95));
        assert_eq!(overlap(&waits, start + ms(50), start + ms(200)), ms(50));
        assert_eq!(overlap(&waits, start + ms(150), start + ms(200)), ms(0));
    }
}
