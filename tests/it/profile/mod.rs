//! Profiles, read back by programs and libraries that have nothing to do with what writes them.

mod answers;
mod read;
mod windows;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tower_stall::Stall;

use crate::support::{LIMIT, Rig, block_until, wait_until};

/// Blocks until it is told to end. Its name is looked for in stacks.
#[inline(never)]
fn load_report(over: &AtomicBool) {
    block_until(|| over.load(Ordering::Acquire));
}

/// A stall of that handler, in `load_report`. Returns once it is over and all of it is known.
#[track_caller]
fn stall(rig: &Rig, handler: &'static str) {
    let over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&over);
    let task = rig.stall.watched(handler, async move { load_report(&ends) });
    let task = rig.runtime.spawn(task);
    let is = |check: fn(&Stall) -> bool| {
        let stalls = rig.stall.stalls();
        stalls.iter().any(|stall| stall.handler == handler && check(stall))
    };
    wait_until(LIMIT, || is(|stall| stall.in_progress && !stall.is_stack_pending()));
    over.store(true, Ordering::Release);
    rig.runtime.block_on(task).expect("no panic");
    wait_until(LIMIT, || is(Stall::is_complete) && !is(|stall| !stall.is_complete()));
}

fn admin(rig: &Rig) -> SocketAddr {
    rig.stall.admin_addr().expect("an admin server")
}

/// The handlers that have time in a profile.
fn handlers(folded: &str) -> BTreeSet<String> {
    let handlers = folded.lines().map(|line| line.split(';').next().expect("a root").to_owned());
    handlers.collect()
}
