//! Locks and channels.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, RwLock};
use std::thread;

use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[
    ("std-mutex", || {
        let lock: &'static Mutex<()> = Box::leak(Box::default());
        let release = keeper(|held, until| keep_std_mutex(lock, held, until));
        Ok(Scene::new(|| std_mutex(lock), release).with_holder())
    }),
    ("std-rwlock", || {
        let lock: &'static RwLock<()> = Box::leak(Box::default());
        let release = keeper(|held, until| keep_std_rwlock(lock, held, until));
        Ok(Scene::new(|| std_rwlock(lock), release).with_holder())
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
        let release = keeper(|held, until| keep_parking_lot_mutex(lock, held, until));
        Ok(Scene::new(|| parking_lot_mutex(lock), release).with_holder())
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

/// A thread that holds a lock until it is told to let go.
fn keeper(keep: impl FnOnce(&Sender<()>, &Receiver<()>) + Send + 'static) -> impl FnOnce() {
    let (held, is_held) = channel();
    let (release, until) = channel::<()>();
    let keeper = thread::Builder::new().name("keeper".into());
    let keeper = keeper.spawn(move || keep(&held, &until)).expect("a thread");
    is_held.recv().expect("it takes the lock");
    move || {
        drop(release);
        keeper.join().expect("it ends well");
    }
}

#[inline(never)]
fn keep_std_mutex(lock: &Mutex<()>, held: &Sender<()>, until: &Receiver<()>) {
    let guard = lock.lock().expect("new");
    wait_with(held, until);
    drop(guard);
}

#[inline(never)]
fn keep_std_rwlock(lock: &RwLock<()>, held: &Sender<()>, until: &Receiver<()>) {
    let guard = lock.write().expect("new");
    wait_with(held, until);
    drop(guard);
}

#[inline(never)]
fn keep_parking_lot_mutex(lock: &parking_lot::Mutex<()>, held: &Sender<()>, until: &Receiver<()>) {
    let guard = lock.lock();
    wait_with(held, until);
    drop(guard);
}

#[inline(never)]
fn wait_with(held: &Sender<()>, until: &Receiver<()>) {
    held.send(()).expect("it is waited for");
    assert!(until.recv().is_err());
}

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
