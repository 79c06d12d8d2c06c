//! A blocked worker that holds up timers and sockets, and the task that wakes another.

use std::time::Duration;

use super::MS;
use crate::support::events::Events;
use crate::support::*;

/// How often the runtime was rescued.
fn rescues(rig: &Rig) -> f64 {
    rig.metric("tower_stall_rescues_total", &[("runtime", "main")]).expect("from the start")
}

#[test]
fn timers_go_on_behind_a_blocked_worker_and_it_is_told_once() {
    let log = Events::default();
    let rig = log.with(|| Rig::new(4, |builder| builder));
    rig.wait_until_told("/readyz", 200, "ok");
    let (gate, _opener) = rig.block_the_driver("import", || rescues(&rig) == 1.0);
    // Timers made now wake, all on time in the end: the heartbeat goes on for seconds.
    let ticks = || rig.metric("tokio_event_loop_lag_seconds_count", &[]).expect("it ticks");
    let before = ticks();
    wait_until(LIMIT, || {
        let stalls = rig.stall.stalls();
        stalls.iter().any(|stall| stall.in_progress && stall.duration >= Duration::from_secs(2))
    });
    assert!(ticks() > before + 20.0, "2 s have 80 ticks");
    assert_eq!(rig.probe("/readyz").0, 200);
    let told = wait_for(LIMIT, || log.named("rescue").pop());
    assert_eq!(told.field("runtime"), "main");
    gate.open();
    wait_until(LIMIT, || rig.stall.stalls().iter().all(|stall| !stall.in_progress));
    assert_eq!(log.named("rescue").len(), rescues(&rig) as usize, "told as often as counted");
}

#[test]
fn nothing_is_done_where_it_is_switched_off() {
    let rig = Rig::new(4, |builder| builder.rescue(false).unready_after(200 * MS));
    rig.wait_until_told("/readyz", 200, "ok");
    let frozen = || !rig.stall.health().is_ready();
    let (_gate, _opener) = rig.block_the_driver("import", frozen);
    assert_eq!(rescues(&rig), 0.0);
}

#[test]
fn a_healthy_service_needs_none() {
    // A tick is overdue only after a second: so late is no machine.
    let rig = Rig::new(4, |builder| builder.tick_interval(500 * MS));
    rig.wait_until_told("/readyz", 200, "ok");
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            rig.runtime.spawn(async move {
                for _ in 0..50 {
                    std::hint::black_box((0..20_000_u64).sum::<u64>());
                    tokio::time::sleep(MS * (number % 20)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        rig.runtime.block_on(task).expect("no panic");
    }
    assert_eq!(rescues(&rig), 0.0);
}
