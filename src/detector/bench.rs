//! How late the watchdog's scans began, for the bench of captures. Not public API.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::Nanos;

static SCANS: AtomicU64 = AtomicU64::new(0);
static LATE: AtomicU64 = AtomicU64::new(0);

/// How many scans there were in this process so far, and how late they began in all.
#[must_use]
pub fn bench_lateness() -> (u64, Duration) {
    (SCANS.load(Relaxed), Duration::from_nanos(LATE.load(Relaxed)))
}

pub(super) fn scanned(late: Nanos) {
    SCANS.fetch_add(1, Relaxed);
    LATE.fetch_add(late, Relaxed);
}
