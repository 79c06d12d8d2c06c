//! Futures with a name.

use tower_stall::WatchExt;

use crate::support::{Block, LIMIT, Rig, wait_for, wait_until};

#[test]
fn a_watched_task_counts_for_its_name() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("nightly-report");
    rig.run(rig.stall.watched("nightly-report", async move { block.run() }));
    let stall = rig.one_stall("nightly-report");
    assert!(stall.worker.is_some());
    assert_eq!(stall.trace_id, None);
}

#[test]
fn so_does_one_named_at_the_end_of_the_expression() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("tail");
    rig.run(async move { block.run() }.watched_by(&rig.stall, "tail"));
    rig.one_stall("tail");
}

#[test]
fn and_so_does_its_drop() {
    struct OnDrop(Block);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.run();
        }
    }

    let rig = Rig::new(2, |builder| builder);
    let held = OnDrop(rig.block("dropped"));
    let future = rig.stall.watched("dropped", async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    rig.run(async move { drop(future) });
    rig.one_stall("dropped");
}

#[test]
fn the_inner_of_two_names_has_the_time() {
    let has_inner = || {
        let rig = Rig::new(2, |builder| builder);
        let block = rig.block("inner");
        let inner = rig.stall.watched("inner", async move { block.run() });
        rig.run(rig.stall.watched("outer", async move {
            inner.await;
            tokio::task::yield_now().await;
        }));
        let stall = wait_for(LIMIT, || rig.long_stalls().into_iter().find(|it| !it.in_progress));
        // On a busy machine the thread may stand between the two marks when it is looked at first.
        assert!(["inner", "outer"].contains(&&*stall.handler), "{stall:#?}");
        stall.handler == "inner"
    };
    assert!((0..5).any(|_| has_inner()), "the outer one had the time of the inner one");
}

#[test]
fn a_root_future_counts_without_a_worker_only_if_it_is_declared() {
    let rig = Rig::new(2, |builder| builder);
    let pause = std::time::Duration::from_millis(400);
    rig.runtime.block_on(rig.stall.watched("plain", async { std::thread::sleep(pause) }));
    let block = rig.block("root");
    rig.runtime.block_on(rig.stall.watched_root("root", async { block.run() }));
    let stall = rig.one_stall("root");
    assert_eq!(stall.worker, None, "the thread of block_on is no worker");
    assert!(rig.stall.stalls().iter().all(|stall| stall.handler != "plain"));
}

#[test]
fn names_past_the_cap_share_one() {
    let rig = Rig::new(2, |builder| builder.max_handlers(2));
    for (name, label) in [("one", "one"), ("two", "two"), ("three", "other"), ("one", "one")] {
        let before = rig.long_stalls().len();
        let block = rig.block(label);
        rig.run(rig.stall.watched(name, async move { block.run() }));
        wait_until(LIMIT, || {
            let stalls = rig.long_stalls();
            stalls.len() == before + 1 && !stalls[0].in_progress
        });
        assert_eq!(rig.long_stalls()[0].handler, label, "{name}");
    }
}

#[test]
fn a_watched_future_gives_what_the_future_inside_gives() {
    let rig = Rig::new(2, |builder| builder);
    assert_eq!(rig.run(rig.stall.watched("sum", async { 1 + 1 })), 2);
    let panics = rig.stall.watched("panics", async { panic!("on purpose") });
    assert!(rig.runtime.block_on(rig.runtime.spawn(panics)).is_err_and(|error| error.is_panic()));
}
