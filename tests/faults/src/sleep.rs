//! Sleeps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use axum::routing::get;

use crate::scene::{Fault, Scene};

/// Longer than it takes to find it; then the fault looks whether it is over.
pub(crate) const NAP: Duration = Duration::from_millis(500);

pub(crate) const FAULTS: &[Fault] = &[
    ("thread-sleep", || Ok(Scene::until(thread_sleep))),
    ("async-sleep", || Ok(async_scene())),
    ("usleep", || Ok(Scene::until(usleep))),
    ("destructor", || Ok(Scene::until(destructor))),
];

#[inline(never)]
fn thread_sleep(over: &AtomicBool) {
    while !over.load(Relaxed) {
        here!(thread::sleep(NAP));
    }
}

/// As it stands in most services: in the handler itself.
async fn async_sleep(over: Arc<AtomicBool>) {
    while !over.load(Relaxed) {
        here!(thread::sleep(NAP));
    }
}

fn async_scene() -> Scene {
    let over = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&over);
    let handler = get(move || async_sleep(Arc::clone(&over)));
    Scene { handler, release: Box::new(move || switch.store(true, Relaxed)) }
}

#[inline(never)]
fn usleep(over: &AtomicBool) {
    while !over.load(Relaxed) {
        // SAFETY: it has no conditions.
        here!(unsafe { libc::usleep(900_000) });
    }
}

#[inline(never)]
fn destructor(over: &AtomicBool) {
    drop(Flushed(over));
}

/// Takes its time to go.
struct Flushed<'a>(&'a AtomicBool);

impl Drop for Flushed<'_> {
    #[inline(never)]
    fn drop(&mut self) {
        while !self.0.load(Relaxed) {
            here!(thread::sleep(NAP));
        }
    }
}
