//! What the example measures, at a tenth of the story's times.
#![cfg(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "x86_64")))]

use std::ops::RangeInclusive;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// How late a busy machine may be.
const LATE: f64 = 10.0;
/// How much a time may be too short: what is counted from was seen a little later.
const EARLY: f64 = 0.1;

/// How many times as long five calls take as one (the median of three): five, and one, with room for
/// a machine that is busy.
const IN_TURN: RangeInclusive<f64> = 3.5..=12.0;
const AT_ONCE: RangeInclusive<f64> = 0.3..=3.3;

fn slides(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slides"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the example")
}

/// How often it runs on a machine that is too busy for stacks.
const RUNS: usize = 5;

/// All tests look at one run, in which the detector could take its stacks.
static RUN: LazyLock<Output> = LazyLock::new(|| {
    let runs = (1..=RUNS).map(|run| (run, slides(&["--scale", "0.1", "--json"])));
    let is_usable = |output: &Output| {
        let report: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        let pods = report.as_ref().and_then(|report| report["pods"].as_array());
        pods.is_none_or(|pods| pods.iter().all(|pod| pod["stacks_timed_out"] == 0))
    };
    let (_, run) = runs
        .into_iter()
        .find(|(run, output)| *run == RUNS || is_usable(output))
        .expect("the last one if no other");
    run
});

#[track_caller]
fn find(list: &str, experiment: &str) -> Value {
    let log = String::from_utf8_lossy(&RUN.stderr);
    println!("{log}");
    assert!(RUN.status.success(), "{}", RUN.status);
    let report: Value = serde_json::from_slice(&RUN.stdout).expect("one JSON document, no more");
    let all = report[list].as_array().expect("a list");
    all.iter().find(|found| found["experiment"] == experiment).expect("it ran").clone()
}

/// The number in a field of an experiment is in that range.
#[track_caller]
fn in_range(found: &Value, field: &str, range: RangeInclusive<f64>) {
    let number = found[field].as_f64();
    assert!(
        number.is_some_and(|number| range.contains(&number)),
        "{field} in {range:?}: {found:#}"
    );
}

/// The text in a field of an experiment has all of these parts.
#[track_caller]
fn says(found: &Value, field: &str, parts: &[&str]) {
    let text = found[field].as_str().unwrap_or_default();
    assert!(parts.iter().all(|part| text.contains(part)), "{field} has {parts:?}: {found:#}");
}

#[test]
fn what_blocks_takes_its_turn_and_what_awaits_does_not() {
    let five = &find("sleepers", "1a");
    // Five; where the machine is busy either side may be late.
    in_range(five, "ratio", IN_TURN);
    assert_eq!(five["stalls_counted"], 8, "three calls alone, and five: {five:#}");
    for experiment in ["2a", "2b"] {
        let once = &find("sleepers", experiment);
        // One, or so; on a blocked runtime it is five.
        in_range(once, "ratio", AT_ONCE);
        assert_eq!(once["stalls_counted"], 0, "{once:#}");
    }
}

#[test]
fn four_workers_sleep_four_at_a_time() {
    // Two rounds, if Tokio spreads the calls well, and less than five.
    in_range(&find("sleepers", "1b"), "ratio", 1.2..=4.7);
}

#[test]
fn a_probe_on_the_blocked_runtime_restarts_the_pod() {
    let pod = &find("pods", "3a");
    assert_eq!(pod["restarts"], 1, "{pod:#}");
    in_range(pod, "restarted_after_seconds", documented(pod));
    assert_eq!(pod["ended_by"], "SIGKILL", "nobody could handle SIGTERM: {pod:#}");
    assert_eq!(pod["in_rotation_at_end"], true, "{pod:#}");
    says(pod, "told", &["GET /hello has blocked worker", "sleep"]);
}

#[test]
fn a_pod_probed_on_the_admin_port_waits_out_of_rotation() {
    let pod = &find("pods", "3b");
    assert_eq!(pod["restarts"], 0, "{pod:#}");
    in_range(pod, "out_of_rotation_after_seconds", 0.5..=1.1 + LATE);
    // The block, `ready_after`, and at most a period until the next probe.
    in_range(pod, "back_in_rotation_after_seconds", 12.2 - EARLY..=12.7 + LATE);
    assert_eq!(pod["in_rotation_at_end"], true, "{pod:#}");
    names_the_line(pod);
}

#[test]
fn one_blocked_worker_of_four_restarts_nothing_and_is_named() {
    let pod = &find("pods", "3c");
    assert_eq!(pod["restarts"], 0, "{pod:#}");
    assert_eq!(pod["in_rotation_at_end"], true, "{pod:#}");
    names_the_line(pod);
}

/// The log has handler, cause and line, and so has the body of the probe.
#[track_caller]
fn names_the_line(pod: &Value) {
    says(pod, "told", &["GET /hello has blocked worker", "sleep"]);
    says(pod, "site", &["src/service.rs:", "slides::service::hello"]);
    says(
        pod,
        "livez",
        &["degraded: GET /hello", "sleep", "src/service.rs:", "slides::service::hello"],
    );
}

#[test]
fn a_pod_that_is_stuck_for_ever_is_restarted_in_time_and_its_log_ends_with_the_reason() {
    let pod = &find("pods", "3d");
    assert_eq!(pod["restarts"], 1, "{pod:#}");
    in_range(pod, "restarted_after_seconds", documented(pod));
    assert_eq!(pod["ended_by"], "SIGKILL", "{pod:#}");
    assert_eq!(pod["in_rotation_at_end"], true, "{pod:#}");
    says(pod, "livez", &["dead: runtime \"main\"", "GET /deadlock", "lock"]);
    says(pod, "last_log_line", &["ERROR", "dead", "GET /deadlock"]);
}

#[track_caller]
fn documented(pod: &Value) -> RangeInclusive<f64> {
    let bound = |at: usize| pod["documented_seconds"][at].as_f64().expect("a number");
    bound(0) - EARLY..=bound(1) + LATE
}

#[test]
fn what_is_no_scale_is_refused() {
    for wrong in ["0", "-1", "fast", "NaN"] {
        let output = slides(&[&format!("--scale={wrong}")]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{wrong}");
        assert!(error.contains("write a number from 0.01 to 100"), "{wrong}: {error}");
    }
}
