//! The tick task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use super::{tasks, timers};
use crate::clock::{self, Nanos, nanos};
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;

/// How often to check whether a paused clock runs again.
const PAUSED_INTERVAL: Nanos = 1_000_000_000;
/// The resolution of Tokio's timers.
const RESOLUTION: Nanos = 1_000_000;

/// Ends the watch of a runtime when the runtime drops it.
struct Sentinel(Arc<Runtime>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.0.heartbeat.set_ticking(false);
        self.0.end();
    }
}

/// Starts the tick task of a runtime, once.
pub(crate) fn start(registry: &Arc<Registry>, runtime: &Arc<Runtime>, tick: Duration) {
    let Some(handle) = runtime.handle() else { return };
    if !runtime.claim_tick_task() {
        return;
    }
    let heartbeat = &runtime.heartbeat;
    heartbeat.set_interval(nanos(tick));
    tasks::map_idle_workers(registry, runtime);
    // One that was only found is not asked: its user has not agreed to a panic.
    let by_timer = runtime.named && timers::has_timers(&handle);
    heartbeat.set_by_timer(by_timer);
    heartbeat.expect(clock::now() + nanos(tick));
    let sentinel = Sentinel(Arc::clone(runtime));
    let task = handle.spawn(run(sentinel, Arc::downgrade(registry), nanos(tick)));
    runtime.set_tick_task(task.abort_handle());
    if runtime.has_ended() {
        // It was released while the task was spawned.
        runtime.release();
    }
}

async fn run(sentinel: Sentinel, registry: Weak<Registry>, tick: Nanos) {
    let runtime = &sentinel.0;
    clock_runs(runtime, tick).await;
    while tick_once(runtime, &registry).await {}
    runtime.heartbeat.set_ticking(false);
    std::future::pending::<()>().await;
}

/// Waits until the runtime's clock runs at the speed of real time. Makes no timer, which would advance
/// a paused clock.
async fn clock_runs(runtime: &Runtime, tick: Nanos) {
    loop {
        let (virtual_start, start) = (clock::runtime_now(), clock::now());
        woken(runtime).await;
        runtime.status.started.store(true, Relaxed);
        let real = clock::now() - start;
        let virtual_time = nanos(clock::runtime_now().duration_since(virtual_start));
        if real >= tick / 2 && virtual_time.abs_diff(real) <= real / 2 {
            break;
        }
        let wait = if real < tick / 2 { tick } else { PAUSED_INTERVAL };
        runtime.heartbeat.expect(clock::now() + wait);
    }
    let first = clock::now();
    runtime.heartbeat.expect(first + tick);
    runtime.heartbeat.stamp(first, first);
    runtime.heartbeat.set_ticking(true);
}

/// Waits until the watchdog wakes the task.
async fn woken(runtime: &Runtime) {
    let mut waiting = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waiting, true) {
            return Poll::Ready(());
        }
        runtime.heartbeat.wait(cx.waker());
        Poll::Pending
    })
    .await;
}

/// Waits until the watchdog asks for a tick or, by the runtime's timers, until it is due.
async fn due_or_asked(runtime: &Runtime, due: tokio::time::Instant) {
    let heartbeat = &runtime.heartbeat;
    let sleep = heartbeat.is_by_timer().then(|| tokio::time::sleep_until(due));
    let mut sleep = pin!(sleep);
    poll_fn(|cx| {
        // In this order: who asks wakes whoever waits afterwards.
        heartbeat.wait(cx.waker());
        if heartbeat.asked().is_some() {
            return Poll::Ready(());
        }
        sleep.as_mut().as_pin_mut().map_or(Poll::Pending, |sleep| sleep.poll(cx))
    })
    .await;
}

/// Waits for the next tick and records it. Returns `false` if the clock was paused meanwhile.
async fn tick_once(runtime: &Runtime, registry: &Weak<Registry>) -> bool {
    let due = runtime.heartbeat.due();
    // Real time is read before and after virtual time, so that a clock that runs is never ahead of it.
    let start = clock::now();
    let virtual_start = clock::runtime_now();
    let wait = Duration::from_nanos(due.saturating_sub(start));
    due_or_asked(runtime, virtual_start + wait).await;
    let virtual_time = nanos(clock::runtime_now().duration_since(virtual_start));
    let now = clock::now();
    if virtual_time > now - start + RESOLUTION {
        return false;
    }
    // If it was asked for, it was due then.
    let due = runtime.heartbeat.due();
    runtime.heartbeat.take_asked();
    // Read after the question: who asks for a tick sets the interval before.
    let interval = runtime.heartbeat.interval();
    // The next due time is stored before the lag, so that the watchdog never takes the old one for a
    // missing tick.
    let next = due + interval;
    runtime.heartbeat.expect(if next > now { next } else { now + interval });
    runtime.heartbeat.stamp(due, now);
    if now.saturating_sub(due) < interval {
        runtime.status.stop_shedding();
    }
    if let Some(registry) = registry.upgrade() {
        tasks::note_owner(&registry, runtime);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::registry::LIMITS;
    use crate::runtime::status::RuntimeHealth;

    #[test]
    fn a_tick_in_time_lets_requests_in_without_a_watchdog() {
        let tokio = tokio::runtime::Builder::new_multi_thread();
        let tokio = { tokio }.worker_threads(1).enable_all().build().expect("a runtime");
        let registry = Registry::new(LIMITS);
        let runtime = registry.add_runtime("main", tokio.handle()).expect("watching");
        start(&registry, &runtime, Duration::from_millis(25));
        // As the watchdog does it until the first tick.
        while runtime.heartbeat.beat() == 0 {
            if clock::now() >= runtime.heartbeat.due() {
                runtime.heartbeat.wake();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        runtime.status.set_health(RuntimeHealth { sheds: true, ..RuntimeHealth::default() });
        while runtime.status.sheds() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
