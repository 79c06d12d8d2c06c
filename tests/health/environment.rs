//! A process that could not run is neither dead nor unready for that.

use std::process::Command;
use std::time::{Duration, Instant};

use super::MS;
use crate::common::events::Events;
use crate::common::quota::{Quota, skip};
use crate::common::*;

/// What probes are told while `condition` does not hold yet, by a look from inside.
#[track_caller]
fn well_until(rig: &Rig, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        let report = rig.stall.health();
        assert!(report.is_live() && report.is_ready(), "{report:?}");
        assert!(start.elapsed() < 2 * LIMIT, "it did not happen");
        std::thread::sleep(MS);
    }
}

#[test]
fn a_throttled_process_is_alive_and_ready() {
    child::run("environment::a_throttled_process_is_alive_and_ready", &[], || {
        let log = Events::default();
        let rig = log.with(|| {
            Rig::new(2, |builder| {
                // Sites and names would take what CPU time there is.
                let builder = builder.capture(tower_stall::Capture::Off);
                builder.unready_after(400 * MS).dead_after(600 * MS)
            })
        });
        rig.wait_until_told("/readyz", 200, "ok");
        let Some(_quota) = Quota::join(30 * MS, 1000 * MS) else {
            return skip("no control group with a CPU quota can be made here");
        };
        // Something uses up the quota: the process stands still for most of each second.
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
        let frozen = || rig.metric("tokio_event_loop_lag_seconds_bucket", &[("le", "0.5")]);
        let all = || rig.metric("tokio_event_loop_lag_seconds_count", &[]);
        // Ticks were later than it takes to be dead.
        well_until(&rig, || all() >= frozen().map(|frozen| frozen + 20.0));
        assert!(log.named("dead").is_empty());
    });
}

#[test]
fn a_stopped_process_is_alive_and_ready_when_it_goes_on() {
    child::run("environment::a_stopped_process_is_alive_and_ready_when_it_goes_on", &[], || {
        let log = Events::default();
        let rig = log.with(|| Rig::new(2, |builder| builder.dead_after(Duration::from_secs(1))));
        rig.wait_until_told("/readyz", 200, "ok");
        let own = std::process::id();
        for _ in 0..2 {
            let stop = format!("kill -STOP {own}; sleep 3; kill -CONT {own}");
            let mut stopper = Command::new("sh").args(["-c", &stop]).spawn().expect("a shell");
            well_until(&rig, || stopper.try_wait().expect("our child").is_some());
            let later = Instant::now();
            well_until(&rig, || later.elapsed() > 500 * MS);
        }
        assert!(log.named("dead").is_empty());
    });
}
