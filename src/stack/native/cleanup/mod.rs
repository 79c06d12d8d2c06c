//! Whether a thread holds a lock: by what the compiler has written down to clean its frames up.
//!
//! A pointer to a lock proves nothing: who only knows the lock has one, and calls that have returned
//! leave theirs behind. But a guard that lives across a call is dropped if that call panics. So the
//! compiler has put code beside each such call that drops what lives there, the guard among it. That
//! code is found by the tables that the unwinder uses, and followed in a copy of the frame
//! ([`machine`]). Where it releases the very word that is waited for, the frame holds the lock. Nothing is run.
//!
//! It finds nothing in programs that abort on panics, for calls that the compiler knows not to panic,
//! and where a value is needed that is in a register which no inner frame has saved.

#[cfg(fuzzing)]
pub(super) mod fuzz;
mod machine;
mod rules;

pub(super) use machine::LockWord;
use machine::{Cleanup, Kept, Steps, follow};

use crate::stack::native::images::Images;
use crate::stack::native::still::StackCopy;
use crate::stack::native::unwind::Walk;

/// What the frames of a thread say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// The frame with that index holds the lock.
    Frame(usize),
    /// No frame that has a clean-up does, except for those with these indexes, which could not be followed.
    No(Vec<usize>),
    /// No frame is known to, but some are missing.
    Unclear,
}

/// Whether one of the frames of a thread holds the lock.
pub(super) fn holds(images: &mut Images, thread: &StackCopy, walk: &Walk, word: LockWord) -> Holds {
    let (stack, thread_area) = thread.memory();
    let mut kept = Kept::of(thread.registers);
    let (mut unclear, mut steps) = (Vec::new(), Steps::of_thread());
    for (index, pair) in walk.sps.windows(2).enumerate() {
        // The code of an outer frame is where its call returns to, which may be after its function.
        let address = walk.addresses[index] - u64::from(index > 0);
        let rules = rules::rules(images, stack, (address, pair[1]), kept);
        let Some(rules) = rules.filter(|_| !walk.guessed.contains(&index)) else {
            // Its registers are not known, but those of the stack are.
            kept = Kept::default();
            unclear.push(index);
            continue;
        };
        if let Some(pad) = rules.pad.filter(|_| index > 0) {
            let memory = (stack, thread_area);
            match follow(images, memory, word, pad, (pair[0], kept), &mut steps) {
                Cleanup::Releases => return Holds::Frame(index),
                Cleanup::Leaves => {}
                Cleanup::Unclear => unclear.push(index),
            }
        }
        kept = rules.kept;
    }
    if walk.is_complete { Holds::No(unclear) } else { Holds::Unclear }
}
