//! The tick task.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use crate::clock::{self, Nanos, nanos};
use crate::mark::thread_slots;
use crate::runtime::Runtime;
use crate::runtime::heartbeat::TickState;
use crate::runtime::registry::Registry;

/// How long a paused clock is left alone before it is looked at again.
const PAUSED: Nanos = 1_000_000_000;
/// Of Tokio's timers.
const RESOLUTION: Nanos = 1_000_000;

/// Ends the watch of the runtime that drops it.
struct Sentinel(Arc<Runtime>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.0.heartbeat.set_state(TickState::Off);
        self.0.end();
    }
}

/// Starts the task of a runtime, once.
pub(crate) fn arm(registry: &Arc<Registry>, runtime: &Arc<Runtime>, tick: Duration) {
    let Some(handle) = runtime.handle() else { return };
    if !runtime.arm() {
        return;
    }
    // Where the question could end the process, a runtime that the developer named is taken to
    // have timers, which shows at the start if it is wrong, and one that was only met is not.
    let ticks =
        if cfg!(panic = "abort") { runtime.named } else { super::timers::has_timers(&handle) };
    if ticks {
        runtime.heartbeat.expect(clock::now() + nanos(tick));
        runtime.heartbeat.set_state(TickState::Waiting);
    } else {
        runtime.status.start();
    }
    let sentinel = Sentinel(Arc::clone(runtime));
    let task = handle.spawn(run(sentinel, Arc::downgrade(registry), ticks, nanos(tick)));
    runtime.set_task(task.abort_handle());
    if runtime.has_ended() {
        // It was let go of while the task was made.
        runtime.release();
    }
}

async fn run(sentinel: Sentinel, registry: Weak<Registry>, ticks: bool, tick: Nanos) {
    let runtime = &sentinel.0;
    if ticks {
        clock_runs(runtime, tick).await;
        while tick_once(runtime, &registry, tick).await {}
        runtime.heartbeat.set_state(TickState::Off);
    }
    std::future::pending::<()>().await;
}

/// Waits until the runtime's clock is seen to keep step with real time, without making a timer:
/// one made under a paused clock would move it.
async fn clock_runs(runtime: &Runtime, tick: Nanos) {
    loop {
        let (virtual_start, start) = (clock::runtime_now(), clock::now());
        nudged(runtime).await;
        runtime.status.start();
        let real = clock::now() - start;
        let virtual_time = nanos(clock::runtime_now().duration_since(virtual_start));
        if real >= tick / 2 && virtual_time.abs_diff(real) <= real / 2 {
            break;
        }
        let wait = if real < tick / 2 { tick } else { PAUSED };
        runtime.heartbeat.expect(clock::now() + wait);
    }
    let first = clock::now();
    runtime.heartbeat.expect(first + tick);
    runtime.heartbeat.stamp(first, first);
    runtime.heartbeat.set_state(TickState::Ticking);
}

/// Waits for the watchdog's nudge.
async fn nudged(runtime: &Runtime) {
    let mut waiting = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waiting, true) {
            return Poll::Ready(());
        }
        runtime.heartbeat.wait_for_nudge(cx.waker());
        Poll::Pending
    })
    .await;
}

/// Waits for the tick that is due and stamps it; `false` when the clock was paused meanwhile.
async fn tick_once(runtime: &Runtime, registry: &Weak<Registry>, tick: Nanos) -> bool {
    let due = runtime.heartbeat.due();
    // Real time is read outside of virtual time, so that a clock that runs is never ahead of it.
    let start = clock::now();
    let virtual_start = clock::runtime_now();
    let wait = Duration::from_nanos(due.saturating_sub(start));
    tokio::time::sleep_until(virtual_start + wait).await;
    let virtual_time = nanos(clock::runtime_now().duration_since(virtual_start));
    let now = clock::now();
    if virtual_time > now - start + RESOLUTION {
        return false;
    }
    // What is awaited next is told before what was, so that the watchdog never takes an old due
    // time for a missing tick.
    let next = due + tick;
    runtime.heartbeat.expect(if next > now { next } else { now + tick });
    runtime.heartbeat.stamp(due, now);
    if let Some(registry) = registry.upgrade() {
        registry.note_owner(runtime, tokio::runtime::worker_index(), thread_slots::thread_number());
    }
    true
}
