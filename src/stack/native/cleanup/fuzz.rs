//! For the fuzzer: code that cleans a frame up, and the table that says where it is.

use super::machine::{Kept, LockWord, Steps, follow};
use super::rules;
use crate::stack::native::fuzz_input::{Numbers, SP, place, stack};
use crate::stack::native::images::fuzz::hostile;
use crate::stack::native::unwind::Stack;

/// Registers, a stack, and code in memory, which begins with the table of its calls. The lock is the first
/// word of the stack.
pub fn cleanup(data: &[u8]) {
    let mut numbers = Numbers(data);
    let size = usize::from(numbers.u8() % 8 + 1);
    let (pad, length) = (u64::from(numbers.u8()), usize::from(numbers.u8()));
    let registers: [u64; 6] = std::array::from_fn(|_| numbers.u64());
    let (words, bytes) = numbers.0.split_at(numbers.0.len().min(length));
    let memory: Box<[u8]> = bytes.into();
    let base = memory.as_ptr() as u64;
    let register = |at: usize| (registers[at] != 0).then(|| place(registers[at], base, SP));
    let kept = Kept {
        rbx: register(0),
        rbp: register(1),
        r12_to_r15: [register(2), register(3), register(4), register(5)],
    };
    let stack = stack(&mut Numbers(words), base, SP, length);
    rules::fuzz::pads(&memory, pad);

    let images = hostile(&memory, true);
    let stack = (Stack::new(SP, &stack), Some(base));
    let mut steps = Steps::of_thread();
    for word in [SP, base] {
        let word = LockWord { address: word, size };
        follow(&images, stack, word, base + pad, (SP + 8, kept), &mut steps);
    }
}
