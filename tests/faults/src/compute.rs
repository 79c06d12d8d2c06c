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

// One sample may land on any instruction of a loop. So each loop lies on one line whole, and no
// macro is in it: a jump out of a macro's body would count as a line of the macro.

#[inline(never)]
#[rustfmt::skip]
fn spin(over: &AtomicBool) {
    here!(()); while !over.load(Relaxed) { spin_loop() }
}

/// Calls nothing in its loop and has no frame of its own there, as a loop of a C library.
#[inline(never)]
#[rustfmt::skip]
extern "C" fn spin_in_leaf(over: &AtomicBool) {
    here!(()); while !over.load(Relaxed) { spin_loop() }
}

#[inline(never)]
#[rustfmt::skip]
fn hash_password(over: &AtomicBool) {
    let (argon2, mut key) = (Argon2::default(), [0; 32]);
    here!(()); while !over.load(Relaxed) { argon2.hash_password_into(b"a word", b"some salt", &mut key).expect("in range") }
}
