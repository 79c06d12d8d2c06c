//! Locks and channels.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Condvar, Mutex, RwLock};
use std::thread;

use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[
    ("std-mutex", || {
        let lock: &'static Mutex<()> = Box::leak(Box::default());
        let held = lock.lock().expect("new");
        Ok(Scene::new(|| std_mutex(lock), || drop(held)))
    }),
    ("std-rwlock", || {
        let lock: &'static RwLock<()> = Box::leak(Box::default());
        let held = lock.write().expect("new");
        Ok(Scene::new(|| std_rwlock(lock), || drop(held)))
    }),
    ("std-condvar", || {
        let pair: &'static (Mutex<bool>, Condvar) = Box::leak(Box::default());
        let release = || {
            *pair.0.lock().expect("not poisoned") = true;
            pair.1.notify_all();
        };
        Ok(Scene::new(|| std_condvar(pair), release))
    }),
    ("parking-lot-mutex", || {
        let lock: &'static parking_lot::Mutex<()> = Box::leak(Box::default());
        let held = lock.lock();
        Ok(Scene::new(|| parking_lot_mutex(lock), || drop(held)))
    }),
    ("std-recv", || {
        let (sender, receiver) = channel::<()>();
        Ok(Scene::new(move || std_recv(&receiver), || drop(sender)))
    }),
    ("scope-join", || {
        let (sender, receiver) = channel::<()>();
        Ok(Scene::new(move || scope_join(receiver), || drop(sender)))
    }),
    ("crossbeam-recv", || {
        let (sender, receiver) = crossbeam_channel::bounded::<()>(1);
        Ok(Scene::new(move || crossbeam_recv(&receiver), || drop(sender)))
    }),
];

#[inline(never)]
fn std_mutex(lock: &Mutex<()>) {
    let held = here!(lock.lock());
    drop(held.expect("not poisoned"));
}

#[inline(never)]
fn std_rwlock(lock: &RwLock<()>) {
    let held = here!(lock.read());
    drop(held.expect("not poisoned"));
}

#[inline(never)]
fn std_condvar((lock, ready): &(Mutex<bool>, Condvar)) {
    let held = lock.lock().expect("not poisoned");
    let held = here!(ready.wait_while(held, |ready| !*ready));
    drop(held.expect("not poisoned"));
}

#[inline(never)]
fn parking_lot_mutex(lock: &parking_lot::Mutex<()>) {
    let held = here!(lock.lock());
    drop(held);
}

#[inline(never)]
fn std_recv(queue: &Receiver<()>) {
    let message = here!(queue.recv());
    assert!(message.is_err());
}

#[inline(never)]
#[rustfmt::skip]
fn scope_join(queue: Receiver<()>) {
    let ended = here!(thread::scope(|scope| { scope.spawn(move || assert!(queue.recv().is_err())); 1 }));
    assert_eq!(ended, 1);
}

#[inline(never)]
fn crossbeam_recv(queue: &crossbeam_channel::Receiver<()>) {
    let message = here!(queue.recv());
    assert!(message.is_err());
}
