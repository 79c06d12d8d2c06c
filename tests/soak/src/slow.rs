//! A hook, a log and a recorder that block for a second now and then.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower_stall::Stall;

use crate::world::{Counts, count};

/// Blocks each so many calls.
fn pause(counts: &Counts, calls: &AtomicU64, each: u64) {
    if calls.fetch_add(1, Relaxed) % each == each - 1 {
        count(&counts.pauses);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Counts the ends of stalls.
pub(crate) fn hook(counts: Arc<Counts>) -> impl FnMut(&Stall) + Send + 'static {
    let calls = AtomicU64::new(0);
    move |stall| {
        if !stall.in_progress {
            count(&counts.hooked);
        }
        pause(&counts, &calls, 40);
    }
}

/// Writes the log to nowhere.
pub(crate) struct Log {
    pub(crate) counts: Arc<Counts>,
}

static LINES: AtomicU64 = AtomicU64::new(0);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        pause(&self.counts, &LINES, 15);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A recorder of the process that records nothing.
pub(crate) struct SlowRecorder {
    pub(crate) counts: Arc<Counts>,
    pub(crate) calls: AtomicU64,
}

impl Recorder for SlowRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        pause(&self.counts, &self.calls, 100);
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
