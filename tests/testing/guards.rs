//! `NoStalls`: a whole test.

use std::time::Duration;

use tower_stall::testing::NoStalls;
use tower_stall::{WatchExt, allow_blocking};

use crate::blocks::{
    SLEEPS, SLEPT, STACKS, THRESHOLD, assert_says, at, failure, failure_with_stack, on_each_kind,
    paused, run, sleeps, text,
};
use crate::support::{block_until, runtime};

#[test]
fn a_test_that_awaits_passes() {
    on_each_kind(|runtime| {
        let passed = run(runtime, async {
            let guard = NoStalls::new(THRESHOLD);
            let task = async { tokio::time::sleep(THRESHOLD * 4).await };
            tokio::spawn(task.watched_by(guard.detector(), "import")).await.expect("no panic");
            allow_blocking("on purpose", || std::thread::sleep(THRESHOLD * 10));
            assert!(guard.stalls().is_empty());
            guard.check();
        });
        assert_eq!(passed, Ok(()));
    });
}

#[test]
fn a_named_task_that_blocks_fails_it() {
    on_each_kind(|runtime| {
        let line = line!() + 2;
        let text = failure_with_stack(runtime, || async {
            let guard = NoStalls::new(THRESHOLD);
            let task = tokio::spawn(guard.detector().watched("import", async { sleeps() }));
            task.await.expect("no panic");
        });
        let begin = format!("NoStalls at tests/testing/guards.rs:{line}:");
        let says = ["\nimport blocked worker ", SLEPT, "\n  fix: use tokio"];
        assert_says(&text, &begin, &says);
        if STACKS {
            assert_says(&text, "", &[&at(SLEEPS)]);
        }
    });
}

#[cfg(feature = "axum")]
#[test]
fn a_service_in_the_body_of_the_test_fails_it() {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt;

    // On a multi-thread runtime that body has no worker.
    on_each_kind(|runtime| {
        let text = failure(runtime, async {
            let guard = NoStalls::new(THRESHOLD);
            let app = Router::new().route("/users/{id}", get(async || sleeps()));
            let request = http::Request::get("/users/7").body(Body::empty()).expect("a request");
            app.layer(guard.layer()).oneshot(request).await.expect("never fails")
        });
        assert_says(&text, "NoStalls at ", &["\nGET /users/{id} blocked ", ": sleep"]);
    });
}

#[test]
fn a_check_panics_at_once_and_each_stall_is_told_once() {
    on_each_kind(|runtime| {
        let guard = runtime.block_on(async { NoStalls::new(THRESHOLD) });
        let block =
            |name| runtime.block_on(guard.detector().watched_root(name, async { sleeps() }));
        block("first");
        let _inside = runtime.enter();
        guard.check_fails(&["\nfirst blocked "]);
        guard.check();
        drop(_inside);
        block("second");
        let _inside = runtime.enter();
        guard.check_fails(&[": 1 stall of", "\nsecond blocked "]);
        drop(guard);
    });
}

trait CheckFails {
    fn check_fails(&self, says: &[&str]);
}

impl CheckFails for NoStalls {
    fn check_fails(&self, says: &[&str]) {
        let check = std::panic::AssertUnwindSafe(|| self.check());
        let text = text(std::panic::catch_unwind(check).expect_err("it fails"));
        assert_says(&text, "NoStalls at ", says);
    }
}

#[test]
fn in_a_panic_its_drop_does_not_abort() {
    on_each_kind(|runtime| {
        let text = failure(runtime, async {
            let guard = NoStalls::new(THRESHOLD);
            guard.detector().watched_root("body", async { sleeps() }).await;
            panic!("of the test");
        });
        assert_eq!(text, "of the test");
    });
}

#[test]
fn a_further_runtime_is_named() {
    let other = runtime(2);
    let text = failure(&runtime(0), async {
        let guard = NoStalls::new(THRESHOLD);
        guard.watch("background", other.handle());
        let task = other.spawn(guard.detector().watched("import", async { sleeps() }));
        task.await.expect("no panic");
    });
    assert_says(&text, "NoStalls at ", &["\nimport blocked ", r#" of runtime "background" for"#]);
}

#[test]
fn many_stalls_are_counted() {
    let text = failure(&runtime(0), async {
        let guard = NoStalls::new(THRESHOLD);
        for part in 0..8 {
            let sleep = async { block_until(|| guard.stalls().len() > part) };
            guard.detector().watched_root(&format!("part-{part}"), sleep).await;
        }
    });
    assert_says(
        &text,
        "NoStalls at ",
        &[": 8 stalls of 50 ms", "\npart-0 blocked ", "\nand 3 more"],
    );
}

#[test]
fn a_paused_clock_stands_still_while_it_waits() {
    let text = failure(&paused(), async {
        let guard = NoStalls::new(THRESHOLD);
        guard.detector().watched("import", async { sleeps() }).await;
        let before = tokio::time::Instant::now();
        guard.check_fails(&["\nimport blocked "]);
        assert_eq!(before.elapsed(), Duration::ZERO);
        panic!("it came so far");
    });
    assert_eq!(text, "it came so far");
}

#[test]
fn without_a_runtime_it_says_so() {
    let new = std::panic::catch_unwind(|| NoStalls::new(THRESHOLD));
    let text = text(new.expect_err("there is no runtime"));
    assert_says(&text, "NoStalls at ", &["outside of a Tokio runtime"]);
}

#[test]
fn a_threshold_that_is_too_short_is_refused() {
    let text = failure(&runtime(0), async { drop(NoStalls::new(Duration::ZERO)) });
    assert_says(&text, "NoStalls at ", &["threshold is 0ns", "use 1ms or more"]);
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "import blocked")]
async fn it_fails_a_test_of_tokio() {
    let guard = NoStalls::new(THRESHOLD);
    let task = tokio::spawn(guard.detector().watched("import", async { sleeps() }));
    task.await.expect("no panic");
}

#[test]
fn a_guard_can_be_shared() {
    fn shared<T: Send + Sync + std::fmt::Debug>() {}
    shared::<NoStalls>();
}
