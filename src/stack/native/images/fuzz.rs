//! For the fuzzer: a module whose code and unwind information are the input.

use super::*;
use crate::stack::native::cleanup::{LockWord, holds};
use crate::stack::native::fuzz_input::{Numbers, SP, forgive_framehop, place, stack};
use crate::stack::native::headers::function_length;
use crate::stack::native::still::StackCopy;
use crate::stack::native::unwind::walk;
use crate::sys::native::modules::Segment;
use crate::sys::native::signal::Registers;

/// How the index of unwind information begins.
const HEADER: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
/// Added to the length of the stack where the module is the program itself, of which the clean-up is looked at.
const IS_PROGRAM: u16 = 0x8000;

/// Registers, a stack, and a module in memory that they lie in. The index of its unwind information is
/// where its first bytes are. The lock is the first word of the stack.
///
/// # Panics
///
/// The walk has no end, or one that cannot be.
pub fn modules(data: &[u8]) {
    forgive_framehop();
    let mut numbers = Numbers(data);
    let (ip, fp, length) = (numbers.u64(), numbers.u64(), numbers.u16());
    let is_program = length & IS_PROGRAM != 0;
    let length = usize::from(length & !IS_PROGRAM);
    let (words, bytes) = numbers.0.split_at(numbers.0.len().min(length));
    let memory: Box<[u8]> = bytes.into();
    let base = memory.as_ptr() as u64;
    let place = |word| place(word, base, SP);

    for at in 0..bytes.len().min(64) {
        let _ = build_id(&bytes[at..]);
        if let Some(entry) = bytes[at..].first_chunk() {
            let _ = function_length(base, entry, base);
        }
    }
    let mut images = hostile(&memory, is_program);
    let stack = stack(&mut Numbers(words), base, SP, length);
    for fp in [None, Some(place(fp))] {
        let registers = Registers { fp, ..Registers::at(place(ip), SP) };
        let walk = walk(&mut images, registers, &stack);
        assert_eq!(walk.addresses.len(), walk.sps.len());
        for (index, address) in walk.addresses.iter().enumerate() {
            let code = images.describe(*address, index > 0);
            let _ = (code.lookup(), code.offset());
        }
        let copy = StackCopy { thread: 0, registers, stack: stack.clone() };
        let _ = holds(&mut images, &copy, &walk, LockWord { address: SP, size: 4 });
    }
    let _ = images.leads_to(place(ip), place(ip));
}

/// A module that lies in that memory, which has to outlive what is returned.
pub(in crate::stack::native) fn hostile(memory: &[u8], is_program: bool) -> Images {
    let base = memory.as_ptr() as u64;
    let end = base + memory.len() as u64;
    let header = memory.windows(HEADER.len()).position(|window| window == HEADER);
    let eh_frame_hdr = header.map(|at| base + at as u64..end);
    let segment = |executable| Segment { range: base..end, executable, writable: false };
    let module = Module {
        is_program,
        name: "hostile".into(),
        base,
        segments: vec![segment(true)],
        notes: std::iter::once(base..end).collect(),
        eh_frame_hdr,
    };
    let image = Arc::new(image(&module, 0));
    Images {
        code: vec![(base..end, 0)],
        loaded: vec![Loaded {
            module,
            image,
            sections: Sections::Unread,
            entries: Default::default(),
        }],
        ..Images::default()
    }
}
