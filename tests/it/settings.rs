//! Each wrong setting has its own error, from the real start.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tower_stall::{BuildError, Builder, Stall, StallDetector};

use crate::support::{LIMIT, Rig, runtime, wait_until};

#[track_caller]
fn refused(set: impl FnOnce(Builder) -> Builder) -> BuildError {
    let started = runtime(1).block_on(async { set(StallDetector::builder()).start() });
    started.expect_err("it is refused")
}

/// The error names the setting and its value, and what to write instead.
#[track_caller]
fn says(error: &BuildError, parts: [&str; 3]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    assert!(text.starts_with(|c: char| c.is_lowercase()), "{text}");
}

#[test]
fn a_threshold_under_a_millisecond() {
    let error = refused(|builder| builder.threshold(Duration::from_micros(999)));
    assert!(matches!(error, BuildError::ThresholdTooShort(_)));
    says(&error, ["threshold", "999µs", "1ms"]);
}

#[test]
fn a_scan_of_0_or_above_the_threshold() {
    let error = refused(|builder| builder.scan_interval(Duration::ZERO));
    assert!(matches!(error, BuildError::ScanIntervalZero));
    says(&error, ["scan", "0", "a quarter"]);
    let error = refused(|builder| builder.scan_interval(Duration::from_millis(200)));
    assert!(matches!(error, BuildError::ScanIntervalAboveThreshold { .. }));
    says(&error, ["scan", "200ms", "25ms"]);
}

#[test]
fn a_tick_of_0() {
    let error = refused(|builder| builder.tick_interval(Duration::ZERO));
    assert!(matches!(error, BuildError::TickIntervalTooShort(_)));
    says(&error, ["tick", "0ns", "1ms"]);
}

#[test]
fn no_place_for_stalls_or_labels() {
    let error = refused(|builder| builder.history(0));
    assert!(matches!(error, BuildError::HistoryZero));
    says(&error, ["history", "0", "256"]);
    let error = refused(|builder| builder.max_handlers(0));
    assert!(matches!(error, BuildError::MaxHandlersZero));
    says(&error, ["max_handlers", "0", "128"]);
}

#[test]
fn no_runtime() {
    let error = StallDetector::builder().start().expect_err("there is nothing to watch");
    assert!(matches!(error, BuildError::NoRuntime));
    says(&error, ["start()", "outside", "Runtime::enter"]);
    // Inside its scope it works.
    let runtime = runtime(1);
    let _inside = runtime.enter();
    drop(StallDetector::builder().start().expect("there is one here"));
}

#[cfg(feature = "admin")]
#[test]
fn an_address_in_use() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address");
    let error = refused(|builder| builder.admin(address));
    assert!(matches!(error, BuildError::AddressInUse { .. }));
    says(&error, ["admin", &address.to_string(), "another port"]);
    assert!(std::error::Error::source(&error).is_some());
}

#[cfg(feature = "admin")]
#[test]
fn an_address_of_another_machine() {
    // TEST-NET-1 is nobody's.
    let error = refused(|builder| builder.admin(([192, 0, 2, 1], 9099)));
    assert!(matches!(error, BuildError::AddressUnusable { .. }));
    says(&error, ["admin", "192.0.2.1:9099", "127.0.0.1:9099"]);
}

#[cfg(not(feature = "admin"))]
#[test]
fn an_admin_server_that_is_not_built() {
    let error = refused(|builder| builder.admin((Ipv4Addr::LOCALHOST, 0)));
    assert!(matches!(error, BuildError::AdminNotBuilt(_)));
    says(&error, ["admin", "127.0.0.1:0", "feature"]);
    drop(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
}

#[test]
fn a_start_that_is_refused_leaves_nothing_behind() {
    // No other detector has tasks here, which come and go.
    let runtime = runtime(1);
    runtime.block_on(async {
        for _ in 0..10 {
            drop(StallDetector::builder().history(0).start().expect_err("it is refused"));
        }
    });
    assert_eq!(runtime.metrics().num_alive_tasks(), 0);
}

#[test]
fn the_history_keeps_the_newest() {
    let rig = Rig::new(2, |builder| builder.threshold(Duration::from_millis(20)).history(2));
    for name in ["first", "second", "third"] {
        let block = rig.block(name);
        rig.run(rig.stall.watched(name, async move { block.run() }));
        // One that lasts is kept beside them.
        let is_over = |stall: &Stall| stall.handler == name && !stall.in_progress;
        wait_until(LIMIT, || rig.stall.stalls().iter().any(is_over));
    }
    let kept: Vec<_> = rig.stall.stalls().into_iter().map(|stall| stall.handler).collect();
    assert_eq!(kept, ["third", "second"], "newest first");
}

#[test]
fn times_without_end_are_harmless() {
    let rig = Rig::new(1, |builder| builder.tick_interval(Duration::MAX));
    let layer = rig.stall.layer().threshold(Duration::MAX);
    let block = rig.block("import");
    rig.run(rig.stall.watched("import", async move { block.run() }));
    rig.one_stall("import");
    drop(layer);
    let rig = Rig::new(1, |builder| builder.threshold(Duration::MAX).tick_interval(Duration::MAX));
    rig.run(rig.stall.watched("import", async { tokio::task::yield_now().await }));
    assert!(rig.stall.stalls().is_empty());
}
