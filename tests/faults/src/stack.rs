//! Stacks that are not the usual ones.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use crate::scene::{Fault, Scene};
use crate::sleep::NAP;

pub(crate) const FAULTS: &[Fault] = &[
    ("deep-recursion", || Ok(Scene::until(|over| assert_eq!(deep_recursion(80, over), 0)))),
    ("stacker-segment", || Ok(Scene::until(stacker_segment))),
];

/// More than 4 KiB of stack for each call: more than is copied in all.
#[inline(never)]
#[rustfmt::skip]
fn deep_recursion(depth: u32, over: &AtomicBool) -> u64 {
    let mut room = black_box([0_u64; 512]);
    if depth > 0 {
        room[0] = deep_recursion(depth - 1, over);
    }
    if depth == 0 {
        here!(()); while !over.load(Relaxed) { thread::sleep(NAP) }
    }
    black_box(room)[0]
}

#[inline(never)]
fn stacker_segment(over: &AtomicBool) {
    stacker::grow(1 << 20, || on_the_segment(over));
}

#[inline(never)]
#[rustfmt::skip]
fn on_the_segment(over: &AtomicBool) {
    here!(()); while !over.load(Relaxed) { thread::sleep(NAP) }
}
