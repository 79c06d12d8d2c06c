//! A stall that lasts is shown for as long as it lasts, however many others come and go.

use std::sync::mpsc::channel;
use std::time::Duration;

use tower_stall::{Stall, StallDetector};

use crate::support::{LIMIT, Rig, fetch, is_own, wait_until};

/// More than the detector keeps of those that are over.
const SHORT: usize = 300;

fn open<'a>(stalls: &'a [Stall], handler: &str) -> Option<&'a Stall> {
    stalls.iter().find(|stall| stall.in_progress && is_own(stall) && stall.handler == handler)
}

/// Blocks the thread until that stall is shown.
fn block_until_shown(stall: &StallDetector, handler: &str) {
    wait_until(LIMIT, || open(&stall.stalls(), handler).is_some());
}

#[test]
fn a_stall_that_lasts_outlives_hundreds_of_short_ones() {
    let rig = Rig::new(3, |builder| builder.threshold(Duration::from_millis(2)));
    let (release, held) = channel::<()>();
    let lasts = async move {
        let _ended = held.recv();
    };
    let lasts = rig.runtime.spawn(rig.stall.watched("lasts", lasts));
    block_until_shown(&rig.stall, "lasts");
    let id = open(&rig.stall.stalls(), "lasts").expect("it is shown").id;

    let admin = rig.stall.admin_addr().expect("an admin server");
    let is_everywhere = || {
        let stalls = rig.stall.stalls();
        assert_eq!(open(&stalls, "lasts").map(|stall| stall.id), Some(id));
        assert!(stalls.is_sorted_by(|newer, older| newer.id > older.id), "newest first");
        let (_, html) = fetch(admin, "/stalls");
        assert!(html.contains(&format!("href=\"/stalls/{id}\"")), "{html}");
        let json: serde_json::Value =
            serde_json::from_str(&fetch(admin, "/stalls.json").1).expect("JSON");
        let lasting = json["in_progress"].as_array().expect("a list");
        assert!(lasting.iter().any(|stall| stall["id"] == id), "{json}");
        let (status, told) = fetch(admin, "/livez");
        assert!(status == 200 && told.starts_with("degraded: lasts has blocked"), "{told}");
    };
    is_everywhere();
    for round in 0..SHORT {
        let stall = rig.stall.clone();
        rig.run(rig.stall.watched("short", async move { block_until_shown(&stall, "short") }));
        wait_until(LIMIT, || open(&rig.stall.stalls(), "short").is_none());
        if round % 50 == 49 {
            is_everywhere();
        }
    }
    drop(release);
    rig.runtime.block_on(lasts).expect("no panic");
    wait_until(LIMIT, || {
        let stalls = rig.stall.stalls();
        stalls.iter().any(|stall| stall.id == id && stall.is_complete())
    });
}
