//! For the fuzzer: a module whose code and unwind information are the input.

use super::*;
use crate::stack::native::fuzz_input::{Numbers, place, stack};
use crate::stack::native::headers::function_length;
use crate::stack::native::unwind::walk;
use crate::sys::native::modules::Segment;
use crate::sys::native::signal::Registers;

/// How the index of unwind information begins.
const HEADER: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// Registers, a stack, and a module in memory that they lie in. The index of its unwind information is
/// where its first bytes are.
///
/// # Panics
///
/// The walk has no end, or one that cannot be.
pub fn modules(data: &[u8]) {
    let mut numbers = Numbers(data);
    let (ip, fp, length) = (numbers.u64(), numbers.u64(), usize::from(numbers.u16()));
    let (words, bytes) = numbers.0.split_at(numbers.0.len().min(length));
    let memory: Box<[u8]> = bytes.into();
    let base = memory.as_ptr() as u64;
    let end = base + memory.len() as u64;
    let sp = 0x7000_0000_0000;
    let place = |word| place(word, base, sp);

    for at in 0..bytes.len().min(64) {
        let _ = build_id(&bytes[at..]);
        if let Some(entry) = bytes[at..].first_chunk() {
            let _ = function_length(base, entry, base);
        }
    }
    let header = bytes.windows(HEADER.len()).position(|window| window == HEADER);
    let eh_frame_hdr = header.map(|at| base + at as u64..end);
    let segment = |executable| Segment { range: base..end, executable, writable: false };
    let module = Module {
        is_program: false,
        name: "hostile".into(),
        base,
        segments: vec![segment(true)],
        notes: std::iter::once(base..end).collect(),
        eh_frame_hdr,
    };
    let image = Arc::new(image(&module, 0));
    let mut images = Images {
        code: vec![(base..end, 0)],
        loaded: vec![Loaded { module, image, sections: Sections::Unread }],
        ..Images::default()
    };
    let stack = stack(&mut Numbers(words), base, sp, length);
    for fp in [None, Some(place(fp))] {
        let walk = walk(&mut images, Registers { ip: place(ip), sp, fp }, &stack);
        assert_eq!(walk.addresses.len(), walk.sps.len());
        for (index, address) in walk.addresses.iter().enumerate() {
            let code = images.describe(*address, index > 0);
            let _ = (code.lookup(), code.offset());
        }
    }
    let _ = images.leads_to(place(ip), place(ip));
}
