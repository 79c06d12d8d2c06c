//! For the fuzzer: input as numbers, addresses and stacks.

/// Where stacks begin.
pub(super) const SP: u64 = 0x7000_0000_0000;

/// The input as numbers; zeros behind its end.
pub(super) struct Numbers<'a>(pub(super) &'a [u8]);

impl Numbers<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    pub(super) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// The words of a stack: by the uppermost byte an address of code, one of the stack, or as they are.
pub(super) fn stack(numbers: &mut Numbers<'_>, code: u64, sp: u64, most: usize) -> Vec<u8> {
    let mut stack = Vec::new();
    while !numbers.0.is_empty() && stack.len() < most {
        stack.extend(place(numbers.u64(), code, sp).to_le_bytes());
    }
    stack
}

/// A word of the input as an address: of code, of the stack, or as it is.
pub(super) fn place(word: u64, code: u64, sp: u64) -> u64 {
    // Four bytes say how far it is.
    let distance = u64::from(word as u32);
    match word >> 56 {
        0xc0 => code.wrapping_add(distance),
        0x57 => sp.wrapping_add(distance & 0xffff),
        _ => word,
    }
}

/// A panic of framehop ends a walk and nothing else. That of another is a finding, for which the fuzzer's own hook ends
/// the process.
pub(super) fn forgive_framehop() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let fails = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic.location().is_some_and(|location| location.file().contains("/framehop-")) {
                fails(panic);
            }
        }));
    });
}
