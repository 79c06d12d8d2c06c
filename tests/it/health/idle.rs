//! What is told and done about a freeze that ends an idle time. The idle interval is so long that
//! what waited for the next slow scan would be seen.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use tower::{Layer, ServiceExt};

use super::MS;
use super::shed::hello;
use crate::support::*;

const LONG: Duration = Duration::from_secs(10);

impl Rig {
    fn that_slows_down(
        workers: usize,
        set: impl FnOnce(tower_stall::Builder) -> tower_stall::Builder,
    ) -> Self {
        let rig = Self::new(workers, |builder| set(builder.idle_interval(LONG)));
        rig.wait_until_told("/readyz", 200, "ok");
        rig
    }

    /// Whether there was no scan for a time that has some thirty.
    fn is_idle(&self) -> bool {
        let scans = || self.metric("tower_stall_watchdog_scans_total", &[]);
        let before = scans();
        std::thread::sleep(666 * MS);
        before.is_some() && scans() == before
    }

    #[track_caller]
    fn wait_until_idle(&self) {
        wait_until(LIMIT, || self.is_idle());
    }
}

#[test]
fn the_service_is_unready_as_soon_as_without_the_idle_time_and_ready_again() {
    let rig = Rig::that_slows_down(2, |builder| builder.unready_after(300 * MS));
    rig.wait_until_idle();
    let start = Instant::now();
    let (gate, _opener) = rig.block_workers(2, "import");
    rig.wait_until_told("/readyz", 503, "frozen");
    assert!(start.elapsed() < LONG / 2, "after {:?}", start.elapsed());
    gate.open();
    rig.wait_until_told("/readyz", 200, "ok");
}

#[test]
fn timers_go_on_behind_the_worker_that_looked_after_them() {
    let rig = Rig::that_slows_down(4, |builder| builder);
    let stalls = || rig.stall.stalls().iter().any(|stall| stall.in_progress);
    // A busy machine may take longer to look idle.
    let mut pauses = [3, 6, 9, 12].into_iter();
    let opener = loop {
        let pause = Duration::from_secs(pauses.next().expect("it is idle for a moment"));
        let gate = super::Gate::default();
        let (held, opener) = (gate.clone(), gate.opener());
        rig.runtime.spawn(rig.stall.watched("import", async move {
            // Only the worker that waits for timers is woken for it.
            tokio::time::sleep(pause).await;
            held.block();
        }));
        let mut was_idle = false;
        wait_until(2 * LIMIT, || {
            was_idle |= rig.is_idle();
            stalls()
        });
        if was_idle {
            break opener;
        }
        drop(opener);
        wait_until(LIMIT, || !stalls());
    };
    let ticks = || rig.metric("tokio_event_loop_lag_seconds_count", &[]).expect("it ticks");
    let late = || rig.metric("tokio_event_loop_lag_seconds_bucket", &[("le", "0.5")]);
    let (before, start) = (ticks(), Instant::now());
    wait_until(LIMIT, || ticks() >= before + 20.0);
    assert!(start.elapsed() < LONG / 2, "after {:?}", start.elapsed());
    assert!(
        late().is_some_and(|in_time| ticks() - in_time < 20.0),
        "they are ticks, not filled in"
    );
    drop(opener);
}

#[test]
fn requests_are_refused_as_soon_as_without_the_idle_time() {
    let rig = Rig::that_slows_down(1, |builder| builder.shed_after(300 * MS));
    let service = rig.stall.shed_layer().layer(tower::service_fn(hello));
    rig.wait_until_idle();
    let start = Instant::now();
    let refused = rig.run(rig.stall.watched("import", async move {
        while start.elapsed() < LIMIT {
            std::thread::sleep(5 * MS);
            let request = Request::new(Body::empty());
            let answer = futures_util::FutureExt::now_or_never(service.clone().oneshot(request));
            let answer = answer.expect("at once").expect("no error");
            if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
                return start.elapsed();
            }
        }
        LIMIT
    }));
    assert!((280 * MS..LONG / 2).contains(&refused), "after {refused:?}");
}
