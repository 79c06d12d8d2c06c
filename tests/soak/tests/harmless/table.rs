//! The table: each call some hundred times, under the shortest threshold.

use std::sync::Arc;

use crate::call::{Call, Returned};
use crate::drive::{self, Seen};
use crate::support::*;
use crate::{files, locks, network, time};

/// How often each call is made at least.
const RUNS: usize = 200;
/// In how many of them the thread was looked at, at least.
const CAPTURED: usize = 20;

fn calls() -> Vec<Call> {
    let files = [time::calls(), files::calls(), network::calls(), locks::calls()];
    files.into_iter().flatten().collect()
}

/// Makes the call until that was often enough, each time in a poll of its own, or until it returns
/// what it does not return without a detector: what comes after that would differ too. Returns how
/// often, and what that was.
async fn watch(
    mut call: Call,
    reference: Returned,
    rig: Arc<Rig>,
    seen: Seen,
    (runs, captured): (usize, usize),
) -> (usize, Option<Returned>) {
    let mut run = 0;
    while run < runs || seen.of(call.name).quietly < captured {
        let name = drive::name(call.name, run);
        let blocking = (call.prepare)();
        let returned = rig.stall.watched(&name, async move { blocking() }).await;
        run += 1;
        if returned != reference {
            return (run, Some(returned));
        }
        assert!(
            run < 100 * RUNS,
            "{} is looked at too rarely: {:?}",
            call.name,
            seen.of(call.name)
        );
        tokio::task::yield_now().await;
    }
    (run, None)
}

/// Makes all calls. Returns how many, and what some returned that they do not return without a
/// detector.
pub(crate) fn run(runs: usize, captured: usize) -> (usize, Vec<(&'static str, Returned)>) {
    let calls: Vec<_> = calls().into_iter().map(drive::with_reference).collect();
    assert!(calls.len() >= 15);
    let seen = Seen::default();
    let rig = Arc::new(drive::rig(&seen));
    let least = (runs, captured);
    let watch = |(call, reference): (Call, Returned)| {
        let name = call.name;
        (name, rig.runtime.spawn(watch(call, reference, Arc::clone(&rig), seen.clone(), least)))
    };
    let tasks: Vec<_> = calls.into_iter().map(watch).collect();
    let (mut runs, mut captured, mut others) = (0, 0, Vec::new());
    for (name, task) in tasks {
        let (run, other) =
            rig.runtime.block_on(task).unwrap_or_else(|_| panic!("{name}: see above"));
        println!("{name}: {:?}", seen.of(name));
        runs += run;
        others.extend(other.into_iter().map(|returned| (name, returned)));
        captured += seen.of(name).quietly;
    }
    let ok = rig.metric("tower_stall_captures_total", &[("outcome", "ok")]);
    println!("{runs} runs, {captured} stacks seen, {ok:?} whole ones counted");
    // Some get no names: too many are waiting for them.
    assert!(ok >= Some(captured as f64 / 2.0), "{}", rig.metrics());
    files::remove_all();
    (runs, others)
}

#[test]
fn every_call_returns_what_it_returns_without_a_detector() {
    if !drive::kernel_sends() {
        return;
    }
    let (_, others) = run(RUNS, CAPTURED);
    assert!(others.is_empty(), "{others:#?}");
}
