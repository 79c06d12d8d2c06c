//! Sleeps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use axum::routing::get;

use crate::scene::{Fault, Scene};

/// Longer than it takes to find it; then the fault looks whether it is over.
///
/// A sample between two naps lands in the loop. So each loop lies on one line whole, and no macro is
/// in it: see `compute`.
pub(crate) const NAP: Duration = Duration::from_millis(500);

pub(crate) const FAULTS: &[Fault] = &[
    ("thread-sleep", || Ok(Scene::until(thread_sleep))),
    ("async-sleep", || Ok(async_scene())),
    ("usleep", || Ok(Scene::until(usleep))),
    ("destructor", || Ok(Scene::until(destructor))),
];

#[inline(never)]
#[rustfmt::skip]
fn thread_sleep(over: &AtomicBool) {
    here!(()); while !over.load(Relaxed) { thread::sleep(NAP) }
}

/// As it stands in most services: in the handler itself.
#[rustfmt::skip]
async fn async_sleep(over: Arc<AtomicBool>) {
    here!(()); while !over.load(Relaxed) { thread::sleep(NAP) }
}

fn async_scene() -> Scene {
    let over = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&over);
    let handler = get(move || async_sleep(Arc::clone(&over)));
    Scene::of(handler, move || switch.store(true, Relaxed))
}

#[inline(never)]
#[rustfmt::skip]
fn usleep(over: &AtomicBool) {
    // SAFETY: it has no conditions.
    here!(()); while !over.load(Relaxed) { unsafe { libc::usleep(900_000) }; }
}

#[inline(never)]
fn destructor(over: &AtomicBool) {
    drop(Flushed(over));
}

/// Takes its time to go.
struct Flushed<'a>(&'a AtomicBool);

impl Drop for Flushed<'_> {
    #[inline(never)]
    #[rustfmt::skip]
    fn drop(&mut self) {
        here!(()); while !self.0.load(Relaxed) { thread::sleep(NAP) }
    }
}
