//! A process that could not run is neither dead nor unready for that.

use std::fs;
use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use super::MS;
use crate::support::events::Events;
use crate::support::needs::skip;
use crate::support::quota::Quota;
use crate::support::*;

/// What probes are told while `condition` does not hold yet, by a look from inside.
#[track_caller]
fn well_until(rig: &Rig, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        let report = rig.stall.health();
        assert!(report.is_live() && report.is_ready(), "{report:?}");
        assert!(start.elapsed() < 2 * LIMIT, "it did not happen");
        std::thread::sleep(MS);
    }
}

#[test]
fn a_throttled_process_is_alive_and_ready() {
    child::run("health::environment::a_throttled_process_is_alive_and_ready", &[], || {
        let log = Events::default();
        let rig = log.with(|| {
            Rig::new(2, |builder| {
                // Sites and names would take what CPU time there is.
                let builder = builder.capture(tower_stall::Capture::Off);
                builder.unready_after(400 * MS).dead_after(600 * MS)
            })
        });
        rig.wait_until_told("/readyz", 200, "ok");
        let Some(_quota) = Quota::join(30 * MS, 1000 * MS) else {
            return skip("no control group with a CPU quota can be made here");
        };
        // Something uses up the quota: the process stands still for most of each second.
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
        let frozen = || rig.metric("tokio_event_loop_lag_seconds_bucket", &[("le", "0.5")]);
        let all = || rig.metric("tokio_event_loop_lag_seconds_count", &[]);
        // Ticks were later than it takes to be dead.
        well_until(&rig, || all() >= frozen().map(|frozen| frozen + 20.0));
        assert!(log.named("dead").is_empty());
    });
}

/// Keeps a thread, 0 the calling one, to the first CPU of this process.
fn pin(thread: i32) {
    // SAFETY: plain data, of which all zeros is an empty set; the calls get pointers to it with
    // its size.
    let done = unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&cpus), &raw mut cpus);
        let mut all = 0..libc::CPU_SETSIZE as usize;
        let first = all.find(|cpu| libc::CPU_ISSET(*cpu, &cpus)).expect("a CPU");
        libc::CPU_ZERO(&mut cpus);
        libc::CPU_SET(first, &mut cpus);
        libc::sched_setaffinity(thread, size_of_val(&cpus), &raw const cpus)
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Lets all others that want a CPU have it before that thread.
fn put_last(thread: i32) {
    let idle = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the parameter.
    let done = unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const idle) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// The kernel's numbers of the threads of that name.
fn threads(name: &str) -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").expect("our threads");
    let names = tasks.map(|task| {
        let task = task.expect("a thread");
        (task.file_name(), fs::read_to_string(task.path().join("comm")).unwrap_or_default())
    });
    let named = names.filter(|(_, comm)| comm.trim_end() == name);
    named.map(|(number, _)| number.to_string_lossy().parse().expect("a number")).collect()
}

#[test]
fn workers_that_get_no_cpu_are_no_reason_for_a_restart() {
    child::run(
        "health::environment::workers_that_get_no_cpu_are_no_reason_for_a_restart",
        &[],
        || {
            let log = Events::default();
            let rig = log.with(|| {
                Rig::new(2, |builder| builder.unready_after(400 * MS).dead_after(600 * MS))
            });
            rig.wait_until_told("/readyz", 200, "ok");
            let workers = threads("tokio-rt-worker");
            assert_eq!(workers.len(), 2);
            // Once each has polled something of ours it is known which thread it is.
            let both = Arc::new(Barrier::new(2));
            let meets = [0; 2].map(|_| {
                let both = Arc::clone(&both);
                rig.runtime.spawn(rig.stall.watched("meets", async move { both.wait() }))
            });
            for meets in meets {
                rig.runtime.block_on(meets).expect("no panic");
            }
            let over = Arc::new(AtomicBool::new(false));
            for _ in 0..4 {
                let over = Arc::clone(&over);
                std::thread::spawn(move || {
                    pin(0);
                    while !over.load(Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            // A worker that mostly sleeps would get the little CPU time it needs. So both are busy.
            for _ in 0..8 {
                let over = Arc::clone(&over);
                rig.runtime.spawn(async move {
                    while !over.load(Relaxed) {
                        tokio::task::yield_now().await;
                    }
                });
            }
            for worker in workers {
                pin(worker);
                put_last(worker);
            }
            // Ticks were later than it takes to be dead.
            let in_time = || rig.metric("tokio_event_loop_lag_seconds_bucket", &[("le", "1")]);
            let all = || rig.metric("tokio_event_loop_lag_seconds_count", &[]);
            well_until(&rig, || {
                all() >= in_time().map(|in_time| in_time + 10.0) && in_time().is_some()
            });
            over.store(true, Relaxed);
            assert!(log.named("dead").is_empty());
        },
    );
}

#[test]
fn a_stopped_process_is_alive_and_ready_when_it_goes_on() {
    child::run(
        "health::environment::a_stopped_process_is_alive_and_ready_when_it_goes_on",
        &[],
        || {
            let log = Events::default();
            let rig =
                log.with(|| Rig::new(2, |builder| builder.dead_after(Duration::from_secs(1))));
            rig.wait_until_told("/readyz", 200, "ok");
            let own = std::process::id();
            for _ in 0..2 {
                let stop = format!("kill -STOP {own}; sleep 3; kill -CONT {own}");
                let mut stopper = Command::new("sh").args(["-c", &stop]).spawn().expect("a shell");
                well_until(&rig, || stopper.try_wait().expect("our child").is_some());
                let later = Instant::now();
                well_until(&rig, || later.elapsed() > 500 * MS);
            }
            assert!(log.named("dead").is_empty());
        },
    );
}
