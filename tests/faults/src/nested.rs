//! An executor inside of a handler.

use std::sync::mpsc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{block_in_place, spawn_blocking};

use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[
    ("handle-block-on", || {
        let (release, released) = oneshot::channel();
        Ok(Scene::new(|| handle_block_on(released), || release.send(()).expect("it waits")))
    }),
    ("futures-block-on", || {
        let (release, released) = oneshot::channel();
        Ok(Scene::new(|| futures_block_on(released), || release.send(()).expect("it waits")))
    }),
];

/// Tokio lets a handler do that in `block_in_place` alone. That is a stall if no thread is left
/// to take the worker over.
#[inline(never)]
fn handle_block_on(released: oneshot::Receiver<()>) {
    let (started, starts) = mpsc::channel();
    let (hold, held) = mpsc::channel::<()>();
    spawn_blocking(move || {
        started.send(()).expect("it is waited for");
        held.recv()
    });
    starts.recv().expect("the only thread of the pool");
    let result = block_in_place(|| here!(Handle::current().block_on(released)));
    drop(hold);
    result.expect("it was sent");
}

#[inline(never)]
fn futures_block_on(released: oneshot::Receiver<()>) {
    let result = here!(futures::executor::block_on(released));
    result.expect("it was sent");
}
