//! The page is there at once, whatever the service does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{LIMIT, Rig, fetch, wait_until};

const WORKERS: usize = 4;
/// On a machine of its own it takes a tenth of that.
const LONGEST: Duration = Duration::from_secs(1);

#[test]
fn it_answers_while_every_worker_is_blocked_and_the_ring_is_full() {
    let rig = Rig::new(WORKERS, |builder| builder.threshold(Duration::from_millis(5)));
    let admin = rig.stall.admin_addr().expect("an admin server");
    // As many handlers as have names, so that there are many sites too.
    wait_until(6 * LIMIT, || {
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let sleep = async { thread::sleep(Duration::from_millis(20)) };
                rig.runtime.spawn(rig.stall.watched(&format!("handler {number}"), sleep))
            })
            .collect();
        for task in tasks {
            rig.runtime.block_on(task).expect("no panic");
        }
        rig.stall.stalls().len() == 256
    });
    let over = Arc::new(AtomicBool::new(false));
    let blocks: Vec<_> = (0..WORKERS)
        .map(|_| {
            let over = Arc::clone(&over);
            rig.runtime.spawn(rig.stall.watched("block", async move {
                while !over.load(Ordering::Acquire) {
                    thread::sleep(Duration::from_millis(10));
                }
            }))
        })
        .collect();
    wait_until(LIMIT, || {
        let stalls = rig.stall.stalls();
        stalls.iter().filter(|stall| stall.in_progress && stall.handler == "block").count()
            == WORKERS
    });
    for path in ["/stalls", "/stalls.json", "/flamegraph.svg", "/livez", "/metrics"] {
        let mut times: Vec<_> = (0..9)
            .map(|_| {
                let start = Instant::now();
                let (status, text) = fetch(admin, path);
                assert_eq!(status, 200, "{text}");
                (start.elapsed(), text.len())
            })
            .collect();
        times.sort();
        let (median, length) = times[4];
        println!("{path}: {median:?}, {length} bytes");
        assert!(median < LONGEST, "{path}: {times:?}");
    }
    let page = super::page(admin);
    assert!(page.contains("block blocks all 4 workers now, for "), "{page}");
    assert!(page.matches("<details").count() + WORKERS >= 256);
    over.store(true, Ordering::Release);
    for block in blocks {
        rig.runtime.block_on(block).expect("no panic");
    }
}
