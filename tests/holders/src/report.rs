//! Slow work under a lock: the example of `docs/fix/lock.md`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Adds a report to those that there are. Nobody else gets at them meanwhile.
#[inline(never)]
pub fn render(reports: &Mutex<Vec<String>>) {
    let mut reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::sleep(Duration::from_secs(10));
    reports.push("a report".into());
}
