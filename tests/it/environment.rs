//! Settings from the environment: processes of their own, started with these variables.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tower_stall::{BuildError, StallDetector};

use crate::support::child;
use crate::support::events::Events;
use crate::support::{LIMIT, Rig, THRESHOLD, fetch, metric, runtime, scrape, wait_until};

#[test]
fn off_stops_detection_and_leaves_the_page() {
    child::run(
        "environment::off_stops_detection_and_leaves_the_page",
        &[("TOWER_STALL", "off")],
        || {
            let rig = Rig::new(2, |builder| builder);
            let watched = rig.stall.watched("import", async { std::thread::sleep(THRESHOLD * 6) });
            rig.run(watched);
            rig.stall.watch("second", rig.runtime.handle());
            assert!(rig.stall.stalls().is_empty());
            let page = rig.metrics();
            assert_eq!(metric(&page, "tower_stall_threshold_seconds", &[]), Some(0.1));
            assert_eq!(metric(&page, "tower_stall_watchdog_scans_total", &[]), None);
            assert!(!page.contains("import"), "{page}");
            assert_eq!(rig.runtime.metrics().num_alive_tasks(), 0, "no task of ours");
        },
    );
}

#[test]
fn off_needs_no_runtime() {
    child::run("environment::off_needs_no_runtime", &[("TOWER_STALL", "off")], || {
        drop(StallDetector::builder().start().expect("there is nothing to watch"));
    });
}

#[test]
fn on_changes_nothing() {
    child::run("environment::on_changes_nothing", &[("TOWER_STALL", "on")], || {
        let rig = Rig::new(2, |builder| builder);
        let block = rig.block("import");
        rig.run(rig.stall.watched("import", async move { block.run() }));
        rig.one_stall("import");
    });
}

#[test]
fn variables_go_over_the_code() {
    let variables = [
        ("TOWER_STALL_THRESHOLD", "30ms"),
        ("TOWER_STALL_SCAN_INTERVAL", "5ms"),
        ("TOWER_STALL_TICK_INTERVAL", "10ms"),
        ("TOWER_STALL_HISTORY", "1"),
        ("TOWER_STALL_MAX_HANDLERS", "1"),
    ];
    child::run("environment::variables_go_over_the_code", &variables, || {
        let rig = Rig::new(2, |builder| {
            builder
                .threshold(Duration::from_secs(60))
                .history(9)
                .max_handlers(9)
                .tick_interval(LIMIT)
        });
        for (name, label) in [("first", "first"), ("second", "other")] {
            let block = rig.block(label);
            rig.run(rig.stall.watched(name, async move { block.run() }));
        }
        // The first leaves when the second, which is in progress until then, has ended.
        wait_until(LIMIT, || rig.stall.stalls().len() == 1);
        let stalls = rig.stall.stalls();
        assert_eq!(stalls[0].handler, "other");
        assert_eq!(rig.metric("tower_stall_threshold_seconds", &[]), Some(0.03));
        wait_until(LIMIT, || {
            let main = [("runtime", "main")];
            rig.metric("tokio_event_loop_lag_seconds_count", &main) >= Some(10.0)
        });
    });
}

#[test]
fn an_operator_opens_the_admin_server() {
    let variables = [("TOWER_STALL_ADMIN", "127.0.0.1:0")];
    child::run("environment::an_operator_opens_the_admin_server", &variables, || {
        let runtime = runtime(1);
        let stall = runtime.block_on(async { StallDetector::builder().start() });
        let stall = stall.expect("a detector");
        assert!(scrape(stall.admin_addr().expect("an admin server")).contains("tokio_workers"));
    });
}

#[test]
fn in_a_pod_it_listens_on_all_addresses() {
    let variables = [("TOWER_STALL_ADMIN", "[::]:0")];
    child::run("environment::in_a_pod_it_listens_on_all_addresses", &variables, || {
        let runtime = runtime(1);
        let stall = runtime.block_on(async { StallDetector::builder().start() });
        let stall = stall.expect("a detector, with IPv6 or without");
        let port = stall.admin_addr().expect("an admin server").port();
        scrape(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    });
}

#[test]
fn an_operator_closes_the_admin_server() {
    let variables = [("TOWER_STALL_ADMIN", "off")];
    child::run("environment::an_operator_closes_the_admin_server", &variables, || {
        let rig = Rig::new(1, |builder| builder);
        assert_eq!(rig.stall.admin_addr(), None);
    });
}

#[test]
fn an_operator_turns_to_the_facade() {
    child::run(
        "environment::an_operator_turns_to_the_facade",
        &[("TOWER_STALL_FACADE", "on")],
        || {
            let rig = Rig::new(1, |builder| builder);
            let admin = rig.stall.admin_addr().expect("an admin server");
            assert_eq!(fetch(admin, "/metrics").0, 404);
        },
    );
}

#[test]
fn a_misspelt_variable_is_told() {
    let variables = [("TOWER_STALL_TRESHOLD", "30ms")];
    child::run("environment::a_misspelt_variable_is_told", &variables, || {
        let log = Events::default();
        let rig = log.with(|| Rig::new(1, |builder| builder));
        let told = log.all();
        assert!(
            told.iter().any(|event| event.field("variable") == "TOWER_STALL_TRESHOLD"),
            "{told:?}"
        );
        assert_eq!(rig.metric("tower_stall_threshold_seconds", &[]), Some(0.1));
    });
}

/// Starts with one variable that cannot be read.
fn refused(test: &str, variable: &'static str, value: &'static str, hint: &'static str) {
    child::run(test, &[(variable, value)], || {
        let started = runtime(1).block_on(async { StallDetector::builder().start() });
        let error = started.expect_err("it is refused");
        let BuildError::Variable { variable: of_error, value: of_value, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((of_error.as_str(), of_value.as_str()), (variable, value));
        assert_eq!(error.to_string(), format!("{variable} is {value:?}: write {hint}"));
    });
}

#[test]
fn an_unreadable_switch() {
    refused(
        "environment::an_unreadable_switch",
        "TOWER_STALL",
        "no",
        "true or false, or on or off",
    );
}

#[test]
fn an_unreadable_duration() {
    let hint = "a duration with its unit, such as 100ms or 60s";
    refused("environment::an_unreadable_duration", "TOWER_STALL_THRESHOLD", "100", hint);
}

#[test]
fn an_unreadable_number() {
    let hint = "a whole number, such as 256";
    refused("environment::an_unreadable_number", "TOWER_STALL_HISTORY", "many", hint);
}

#[test]
fn an_unreadable_address() {
    let hint = "an address with a port, such as 127.0.0.1:9099 or [::]:9099, or off";
    refused("environment::an_unreadable_address", "TOWER_STALL_ADMIN", "localhost", hint);
}

#[test]
fn a_readable_value_that_is_wrong() {
    let variables = [("TOWER_STALL_THRESHOLD", "10us")];
    child::run("environment::a_readable_value_that_is_wrong", &variables, || {
        let started = runtime(1).block_on(async { StallDetector::builder().start() });
        let error = started.expect_err("it is refused");
        assert!(matches!(error, BuildError::ThresholdTooShort(_)), "{error}");
        assert!(error.to_string().contains("threshold is 10µs"), "{error}");
    });
}
