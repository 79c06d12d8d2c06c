//! Computation.

use std::hint::spin_loop;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use argon2::Argon2;

use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[
    ("spin", || Ok(Scene::until(spin))),
    ("spin-in-leaf", || Ok(Scene::until(|over| spin_in_leaf(over)))),
    ("argon2", || Ok(Scene::until(hash_password))),
];

// One line, since the thread may be anywhere in it.
#[inline(never)]
#[rustfmt::skip]
fn spin(over: &AtomicBool) {
    here!(while !over.load(Relaxed) { spin_loop() });
}

/// Calls nothing and has no frame of its own, as a loop of a C library.
#[inline(never)]
#[rustfmt::skip]
extern "C" fn spin_in_leaf(over: &AtomicBool) {
    here!(while !over.load(Relaxed) { spin_loop() });
}

#[inline(never)]
fn hash_password(over: &AtomicBool) {
    let mut key = [0; 32];
    while !over.load(Relaxed) {
        let hash = here!(Argon2::default().hash_password_into(b"password", b"some salt", &mut key));
        hash.expect("the parameters are in range");
    }
}
