//! Many tests in one process: each fails for itself, and nothing is left behind.

use std::fs;
use std::process::Command;

use tower_stall::testing::NoStalls;

use crate::blocks::THRESHOLD;
use crate::support::{LIMIT, child, runtime, wait_until};

/// Says to the suite that one of it is to block.
const BLOCKS: &str = "STALL_TEST_SUITE_BLOCKS";

/// Two hundred tests, of which one blocks if it is told to: another test runs them so.
mod suite {
    use std::time::Duration;

    use tower_stall::testing::assert_no_stalls;

    const LIMIT: Duration = Duration::from_millis(100);

    async fn awaits() {
        let future = async {
            let task = tokio::spawn(tokio::time::sleep(Duration::from_millis(20)));
            task.await.expect("no panic");
        };
        assert_no_stalls(LIMIT, future).await;
    }

    pub(super) const LINE: u32 = line!() + 4;

    #[inline(never)]
    fn sleeps() {
        std::thread::sleep(Duration::from_secs(4));
        std::hint::black_box(());
    }

    #[tokio::test]
    async fn blocks() {
        let future = async {
            if std::env::var_os(super::BLOCKS).is_some() {
                sleeps();
            }
        };
        assert_no_stalls(LIMIT, future).await;
    }

    macro_rules! tests {
        ($($name:ident)*) => {$(
            #[tokio::test]
            async fn $name() {
                crate::many::suite::awaits().await;
            }
        )*};
    }

    macro_rules! modules {
        ($($name:ident)*) => {$(mod $name { tests! { a b c d e f g h i j } })*};
    }

    tests! { a b c d e f g h i }
    modules! { m1 m2 m3 m4 m5 m6 m7 m8 m9 m10 m11 m12 m13 m14 m15 m16 m17 m18 m19 }
}

#[test]
fn of_two_hundred_the_one_fails_that_blocks() {
    let program = std::env::current_exe().expect("this binary");
    let mut command = Command::new(program);
    command.args(["suite::", "--test-threads", "16"]).env(BLOCKS, "yes");
    for variable in ["", "_CAPTURE", "_SITE_OWNS", "_SITE_SKIPS"] {
        command.env_remove(format!("TOWER_STALL{variable}"));
    }
    let output = command.output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("test result: FAILED. 199 passed; 1 failed;"), "{text}");
    assert!(text.contains("---- many::suite::blocks stdout ----"), "{text}");
    assert!(text.contains("assert_no_stalls at tests/testing/many.rs:"), "{text}");
    if crate::blocks::STACKS {
        let line = suite::LINE;
        let site = format!("at tests/testing/many.rs:{line} in testing::many::suite::sleeps");
        assert!(text.contains(&site), "{site} is not in\n{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn three_hundred_guards_leave_nothing_behind() {
    child::run("many::three_hundred_guards_leave_nothing_behind", &[], || {
        for workers in [0, 2] {
            let runtime = runtime(workers);
            let guards = |count: usize| {
                for _ in 0..count {
                    runtime.block_on(async {
                        let guard = NoStalls::new(THRESHOLD * 10);
                        let task = async { tokio::task::yield_now().await };
                        let task = guard.detector().watched("task", task);
                        tokio::spawn(task).await.expect("no panic");
                    });
                }
            };
            guards(20);
            let held = || {
                let status = fs::read_to_string("/proc/self/status").expect("procfs");
                let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
                let size = size.and_then(|size| size.split_whitespace().next()?.parse().ok());
                let count = |path| fs::read_dir(path).expect("procfs").count();
                let size: usize = size.expect("a size in kB");
                (count("/proc/self/task"), count("/proc/self/fd"), size)
            };
            let no_task = || runtime.metrics().num_alive_tasks() == 0;
            let settle = || runtime.block_on(async { tokio::time::sleep(THRESHOLD).await });
            settle();
            let before = held();
            guards(150);
            // The kernel takes its time with threads.
            wait_until(LIMIT, || held().0 <= before.0 && held().1 <= before.1);
            wait_until(LIMIT, || {
                settle();
                no_task()
            });
            let after = held();
            assert!(after.2 <= before.2 + 16 * 1024, "{before:?} {after:?}");
        }
    });
}
