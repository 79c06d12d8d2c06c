//! The table: each call some hundred times, under the shortest threshold.

use std::sync::Arc;

use crate::call::{Call, Returned};
use crate::common::*;
use crate::drive::{self, Seen};
use crate::{files, locks, network, time};

/// How often each call is made at least.
const RUNS: usize = 200;
/// In how many of them the thread was looked at, at least.
const CAPTURED: usize = 20;

fn calls() -> Vec<Call> {
    let files = [time::calls(), files::calls(), network::calls(), locks::calls()];
    files.into_iter().flatten().collect()
}

/// Makes the call until that was often enough, each time in a poll of its own.
async fn watch(mut call: Call, reference: Returned, rig: Arc<Rig>, seen: Seen) -> usize {
    let mut run = 0;
    while run < RUNS || seen.of(call.name).quietly < CAPTURED {
        let name = drive::name(call.name, run);
        let blocking = (call.prepare)();
        let returned = rig.stall.watched(&name, async move { blocking() }).await;
        assert_eq!(returned, reference, "run {run} of {}", call.name);
        run += 1;
        assert!(
            run < 100 * RUNS,
            "{} is looked at too rarely: {:?}",
            call.name,
            seen.of(call.name)
        );
        tokio::task::yield_now().await;
    }
    run
}

#[test]
fn every_call_returns_what_it_returns_without_a_detector() {
    let calls: Vec<_> = calls().into_iter().map(drive::with_reference).collect();
    assert!(calls.len() >= 15);
    let seen = Seen::default();
    let rig = Arc::new(drive::rig(&seen));
    let watch = |(call, reference): (Call, Returned)| {
        let name = call.name;
        (name, rig.runtime.spawn(watch(call, reference, Arc::clone(&rig), seen.clone())))
    };
    let tasks: Vec<_> = calls.into_iter().map(watch).collect();
    let (mut runs, mut captured) = (0, 0);
    for (name, task) in tasks {
        runs += rig.runtime.block_on(task).unwrap_or_else(|_| panic!("{name}: see above"));
        println!("{name}: {:?}", seen.of(name));
        captured += seen.of(name).quietly;
    }
    let ok = rig.metric("tower_stall_captures_total", &[("outcome", "ok")]);
    println!("{runs} runs, {captured} stacks seen, {ok:?} whole ones counted");
    // Some get no names: too many are waiting for them.
    assert!(ok >= Some(captured as f64 / 2.0), "{}", rig.metrics());
    files::remove_all();
}
