//! `assert_no_stalls`: one future.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tower_stall::allow_blocking;
use tower_stall::testing::assert_no_stalls;

use crate::blocks::{
    LONG, SLEEPS, SLEPT, SPINS, STACKS, THRESHOLD, assert_says, at, failure, failure_with_stack,
    on_each_kind, paused, run, sleeps, spins, text,
};
use crate::support::{LIMIT, child, runtime};

#[test]
fn one_that_awaits_gives_its_output() {
    on_each_kind(|runtime| {
        let future = async {
            tokio::time::sleep(THRESHOLD * 4).await;
            let task = tokio::spawn(async { tokio::time::sleep(THRESHOLD * 4).await });
            task.await.expect("no panic");
            7
        };
        assert_eq!(runtime.block_on(assert_no_stalls(THRESHOLD, future)), 7);
    });
}

#[test]
fn one_that_sleeps_fails_with_its_line() {
    on_each_kind(|runtime| {
        let line = line!() + 1;
        let text = failure_with_stack(runtime, || assert_no_stalls(THRESHOLD, async { sleeps() }));
        let begin = format!("assert_no_stalls at tests/testing/futures.rs:{line}:");
        let says = [
            ": 1 stall of 50 ms or more\n",
            "\nassert_no_stalls blocked ",
            r#" of runtime "main""#,
            SLEPT,
            "\n  fix: use tokio::time::sleep(..).await\n",
        ];
        assert_says(&text, &begin, &says);
        if STACKS {
            assert_says(&text, "", &[&at(SLEEPS), "  stack:\n", "    testing::blocks::sleeps at "]);
        }
    });
}

#[test]
fn one_that_computes_fails_with_its_function() {
    on_each_kind(|runtime| {
        let text = failure_with_stack(runtime, || assert_no_stalls(THRESHOLD, async { spins() }));
        let says =
            ["blocked ", ": cpu", "fix: move the computation to tokio::task::spawn_blocking"];
        assert_says(&text, "assert_no_stalls at ", &says);
        if STACKS {
            assert_says(&text, "", &["\n  at tests/testing/blocks.rs:", SPINS]);
        }
    });
}

#[test]
fn allowed_blocks_and_blocking_threads_pass() {
    on_each_kind(|runtime| {
        let future = async {
            allow_blocking("on purpose", || std::thread::sleep(LONG));
            let thread = tokio::task::spawn_blocking(|| std::thread::sleep(LONG));
            thread.await.expect("no panic");
        };
        runtime.block_on(assert_no_stalls(THRESHOLD, future));
    });
}

#[test]
fn a_paused_clock_is_no_obstacle_and_does_not_move() {
    let runtime = paused();
    let real = Instant::now();
    let hour = Duration::from_secs(3600);
    let text = failure(&runtime, async {
        let start = tokio::time::Instant::now();
        assert_no_stalls(THRESHOLD, tokio::time::sleep(hour)).await;
        assert!(start.elapsed() < hour * 2, "{:?}", start.elapsed());
        assert_no_stalls(THRESHOLD, async { sleeps() }).await;
    });
    assert_says(&text, "assert_no_stalls at ", &[": sleep (clock_nanosleep"]);
    assert!(real.elapsed() < LIMIT);
}

#[test]
fn its_own_panic_wins() {
    on_each_kind(|runtime| {
        let future = async {
            sleeps();
            panic!("of its own");
        };
        assert_eq!(failure(runtime, assert_no_stalls(THRESHOLD, future)), "of its own");
    });
}

#[test]
fn one_that_is_given_up_is_judged_too() {
    on_each_kind(|runtime| {
        let text = failure(runtime, async {
            let future = assert_no_stalls(THRESHOLD, async {
                sleeps();
                std::future::pending::<()>().await;
            });
            tokio::time::timeout(Duration::from_millis(1), future).await
        });
        assert_says(&text, "assert_no_stalls at ", &["blocked ", ": sleep"]);
    });
}

#[test]
fn its_drop_counts() {
    struct Sleeps;
    impl Drop for Sleeps {
        fn drop(&mut self) {
            sleeps();
        }
    }
    let held = Sleeps;
    // Held to the end of the future, so dropped by its last poll or after it.
    let future = async move { drop(held) };
    let text = failure(&runtime(2), assert_no_stalls(THRESHOLD, future));
    assert_says(&text, "assert_no_stalls at ", &[": sleep"]);
}

#[test]
fn without_a_runtime_it_says_so() {
    let future = assert_no_stalls(THRESHOLD, async {});
    let mut context = Context::from_waker(Waker::noop());
    let poll = AssertUnwindSafe(|| pin!(future).poll(&mut context).is_ready());
    let text = text(catch_unwind(poll).expect_err("there is no runtime"));
    assert_says(&text, "assert_no_stalls at ", &["outside of a Tokio runtime"]);
}

#[test]
fn a_threshold_that_is_too_short_is_refused() {
    let short = Duration::from_micros(999);
    let text = failure(&runtime(0), assert_no_stalls(short, async {}));
    assert_says(&text, "assert_no_stalls at ", &["threshold is 999µs", "use 1ms or more"]);
}

#[test]
fn the_environment_does_not_change_the_threshold() {
    let variables = [
        ("TOWER_STALL_THRESHOLD", "60s"),
        ("TOWER_STALL_SCAN_INTERVAL", "30s"),
        ("TOWER_STALL_ADMIN", "127.0.0.1:0"),
        ("TOWER_STALL_HISTORY", "1"),
    ];
    child::run("futures::the_environment_does_not_change_the_threshold", &variables, || {
        let text = failure(&runtime(2), assert_no_stalls(THRESHOLD, async { sleeps() }));
        assert_says(&text, "assert_no_stalls at ", &[": 1 stall of 50 ms or more"]);
    });
}

#[test]
fn a_wrong_variable_is_told() {
    let variables = [("TOWER_STALL_CAPTURE", "maybe")];
    child::run("futures::a_wrong_variable_is_told", &variables, || {
        let text = failure(&runtime(2), assert_no_stalls(THRESHOLD, async {}));
        let says = [r#"TOWER_STALL_CAPTURE is "maybe": write auto, no-signal or off"#];
        assert_says(&text, "assert_no_stalls at ", &says);
    });
}

#[test]
fn without_stacks_it_does_not_wait_for_them() {
    let variables = [("TOWER_STALL_CAPTURE", "off")];
    child::run("futures::without_stacks_it_does_not_wait_for_them", &variables, || {
        let start = Instant::now();
        let text = failure(&runtime(2), assert_no_stalls(THRESHOLD, async { sleeps() }));
        assert_says(&text, "assert_no_stalls at ", &[": sleep (clock_nanosleep"]);
        assert!(text.contains("\n  no stack: stacks are off\n"), "{text}");
        assert!(!text.contains("\n  stack:"), "{text}");
        // The limit of the wait is ten seconds.
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    });
}

#[test]
fn switched_off_it_lets_everything_pass() {
    let variables = [("TOWER_STALL", "off")];
    child::run("futures::switched_off_it_lets_everything_pass", &variables, || {
        let passed = run(&runtime(2), assert_no_stalls(THRESHOLD, async { sleeps() }));
        assert_eq!(passed, Ok(()));
    });
}

#[test]
fn it_can_be_sent_where_the_future_can() {
    fn sent<T: Send>(_: &T) {}
    sent(&assert_no_stalls(THRESHOLD, async {}));
}
