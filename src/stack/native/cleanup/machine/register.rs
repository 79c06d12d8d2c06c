//! Registers, and values of so many bytes.

/// `None` where it is not known.
pub(super) type Value = Option<u64>;

/// A register of which some bytes may not be known.
#[derive(Clone, Copy, Default)]
pub(super) struct Register64 {
    value: u64,
    /// A mask of the bits that are known.
    known: u64,
}

impl Register64 {
    pub(super) fn get(self, size: usize) -> Value {
        (self.known & mask(size) == mask(size)).then_some(self.value & mask(size))
    }

    /// Sets its lower bytes. Four of them clear the others, as the processor does.
    pub(super) fn set(&mut self, size: usize, value: Value) {
        let mask = if size == 4 { u64::MAX } else { mask(size) };
        let (value, known) = value.map_or((0, 0), |value| (value & mask, mask));
        self.value = self.value & !mask | value;
        self.known = self.known & !mask | known;
    }
}

impl From<Value> for Register64 {
    fn from(value: Value) -> Self {
        value.map_or(Self::default(), |value| Self { value, known: u64::MAX })
    }
}

pub(super) fn mask(size: usize) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (size * 8)) - 1 }
}

pub(super) fn is_negative(value: u64, size: usize) -> bool {
    value >> (size * 8 - 1) & 1 == 1
}

pub(super) fn extended(value: u64, size: usize) -> u64 {
    if is_negative(value, size) { value | !mask(size) } else { value }
}
