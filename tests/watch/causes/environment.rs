//! What is not the program's doing is not blamed on it; what is, is, whatever else goes on.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tower_stall::{Cause, Stall};

use super::{compute, spin};
use crate::support::needs::skip;
use crate::support::quota::Quota;
use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// Polls that are short if they get a CPU, until dropped.
struct Victim(Arc<AtomicBool>);

impl Victim {
    fn start(rig: &Rig, poll: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        rig.runtime.spawn(rig.stall.watched("victim", async move {
            while !stopped.load(Ordering::Relaxed) {
                compute(poll);
                tokio::task::yield_now().await;
            }
        }));
        Self(stop)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for stalls of the environment, for that cause, and returns them all.
#[track_caller]
fn environment(rig: &Rig, cause: Cause, mut meanwhile: impl FnMut()) -> Vec<Stall> {
    let start = Instant::now();
    loop {
        let stalls = rig.stall.stalls();
        let excused = |stall: &Stall| stall.handler == "environment" && stall.cause == cause;
        if stalls.iter().any(|stall| excused(stall) && stall.detail.is_some()) {
            return stalls;
        }
        assert!(start.elapsed() < 2 * LIMIT, "no such stall: {stalls:#?}");
        meanwhile();
        std::thread::sleep(10 * MS);
    }
}

#[track_caller]
fn nobody_is_blamed(stalls: &[Stall], name: &str) {
    let blamed: Vec<_> = stalls.iter().filter(|stall| stall.handler == name).collect();
    assert!(blamed.is_empty(), "{blamed:#?}");
}

/// The stall of that handler, which commits `fault` again and again, in one poll, until it is seen.
#[track_caller]
fn blamed(rig: &Rig, name: &'static str, fault: fn()) -> Stall {
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let task = rig.runtime.spawn(rig.stall.watched(name, async move {
        let start = Instant::now();
        while !is_over.load(Ordering::Relaxed) && start.elapsed() < LIMIT {
            fault();
        }
    }));
    let seen =
        wait_for(LIMIT, || rig.stall.stalls().into_iter().find(|stall| stall.handler == name));
    over.store(true, Ordering::Relaxed);
    rig.runtime.block_on(task).expect("no panic");
    seen
}

#[test]
fn a_process_that_was_stopped_blames_nobody() {
    child::run("causes::environment::a_process_that_was_stopped_blames_nobody", &[], || {
        let rig = Rig::new(2, |builder| builder);
        let _victim = Victim::start(&rig, 30 * MS);
        let own = std::process::id();
        let stalls = environment(&rig, Cause::Suspended, || {
            let stop = format!("kill -STOP {own}; sleep 0.5; kill -CONT {own}");
            let status = Command::new("sh").args(["-c", &stop]).status().expect("a shell");
            assert!(status.success());
        });
        nobody_is_blamed(&stalls, "victim");
        let detail = stalls.iter().find_map(|stall| stall.detail.clone()).expect("one has it");
        assert!(detail.contains("suspended for"), "{detail}");
        // And afterwards all is as before.
        let stall = blamed(&rig, "sleeper", || std::thread::sleep(500 * MS));
        assert_eq!(stall.cause, Cause::Sleep);
    });
}

/// Runs this process and its future threads on one core.
fn stay_on_one_core() {
    // SAFETY: all zeroes is the empty set; the set lives while the kernel reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &raw const set), 0);
    }
}

#[test]
fn a_process_without_a_cpu_blames_nobody() {
    child::run("causes::environment::a_process_without_a_cpu_blames_nobody", &[], || {
        stay_on_one_core();
        let stop = Arc::new(AtomicBool::new(false));
        let neighbours: Vec<_> = (0..8)
            .map(|_| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        spin(MS);
                    }
                })
            })
            .collect();
        let rig = Rig::new(1, |builder| builder);
        let victim = Victim::start(&rig, 20 * MS);
        let stalls = environment(&rig, Cause::Starved, || {});
        nobody_is_blamed(&stalls, "victim");
        drop(victim);
        stop.store(true, Ordering::Relaxed);
        neighbours.into_iter().for_each(|neighbour| neighbour.join().expect("no panic"));
    });
}

#[test]
fn handlers_that_compete_for_cpus_are_each_blamed() {
    child::run("causes::environment::handlers_that_compete_for_cpus_are_each_blamed", &[], || {
        stay_on_one_core();
        let names = ["one", "two", "three", "four"];
        let rig = Rig::new(names.len(), |builder| builder);
        for name in names {
            rig.runtime.spawn(rig.stall.watched(name, async { compute(250 * MS) }));
        }
        let stalls = wait_for(2 * LIMIT, || {
            let stalls = rig.stall.stalls();
            let all = names.iter().all(|name| stalls.iter().any(|stall| stall.handler == *name));
            let ended = stalls.iter().all(|stall| !stall.in_progress && stall.detail.is_some());
            (all && ended).then_some(stalls)
        });
        for stall in stalls.iter().filter(|stall| stall.handler != "environment") {
            assert_eq!(stall.cause, Cause::Cpu, "{stall:#?}");
            assert!(stall.detail.as_deref().unwrap_or_default().contains(" for "), "{stall:#?}");
        }
        assert_eq!(stalls.len(), names.len(), "one record each: {stalls:#?}");
    });
}

#[test]
fn a_process_out_of_quota_blames_nobody_but_who_blocks() {
    child::run(
        "causes::environment::a_process_out_of_quota_blames_nobody_but_who_blocks",
        &[],
        || {
            let Some(_quota) = Quota::join(20 * MS, 100 * MS) else {
                return skip("no control group with a CPU quota can be made here");
            };
            let rig = Rig::new(2, |builder| builder);
            let victim = Victim::start(&rig, 25 * MS);
            let stalls = environment(&rig, Cause::Throttled, || {});
            nobody_is_blamed(&stalls, "victim");
            let sleeper = blamed(&rig, "sleeper", || std::thread::sleep(1500 * MS));
            assert_eq!(sleeper.cause, Cause::Sleep, "{sleeper:#?}");
            drop(victim);
            let burner = blamed(&rig, "burner", || compute(300 * MS));
            assert_eq!(burner.cause, Cause::Cpu, "{burner:#?}");
            nobody_is_blamed(&rig.stall.stalls(), "victim");
        },
    );
}
