//! Own code that only awaits what blocks, and a task that no layer knows.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use futures::FutureExt;
use futures::future::ready;
use tokio::task::block_in_place;

use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[
    ("middleware-inside", || {
        let (handler, release) = others_handler();
        Ok(Scene::of(handler.layer(from_fn(authenticate)), release))
    }),
    ("middleware-outside", || {
        let (handler, release) = others_handler();
        let around = |app: axum::Router| app.layer(from_fn(authenticate));
        Ok(Scene { around, ..Scene::of(handler, release) })
    }),
    ("plain-task", || {
        let (release, released) = channel();
        let lock: &'static Mutex<()> = Box::leak(Box::default());
        let held = lock.lock().expect("new");
        let released = Arc::new(Mutex::new(released));
        let handler = get(move || async move {
            // Blocks as well, and does no harm: other tasks go on meanwhile.
            let in_place = tokio::spawn(async move { in_place(lock) });
            let task = tokio::spawn(async move { plain_task(&released) });
            task.await.expect("it ends");
            in_place.await.expect("it ends");
        });
        let release = move || {
            drop(release);
            drop(held);
        };
        Ok(Scene { counted_for: Some("unattributed"), ..Scene::of(handler, release) })
    }),
];

/// A handler with no frame of this crate while it blocks: others call what blocks.
fn others_handler() -> (MethodRouter, impl FnOnce()) {
    let (release, released) = channel::<()>();
    let thread = thread::spawn(move || assert!(released.recv().is_err()));
    let thread = Arc::new(Mutex::new(Some(thread)));
    let handler = move || {
        let thread = thread.lock().expect("not poisoned").take();
        ready(thread.expect("there is one request")).map(JoinHandle::join).map(drop)
    };
    (get(handler), move || drop(release))
}

async fn authenticate(request: Request, next: Next) -> Response {
    next.run(request).await
}

#[inline(never)]
fn plain_task(released: &Mutex<Receiver<()>>) {
    let released = released.lock().expect("nobody else waits");
    let message = here!(released.recv());
    assert!(message.is_err());
}

#[inline(never)]
fn in_place(lock: &Mutex<()>) {
    block_in_place(|| drop(lock.lock().expect("not poisoned")));
}
