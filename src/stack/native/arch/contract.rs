//! What the rest of this room asks of an architecture.

use framehop::{Module, Unwinder};

use crate::stack::native::bytes::Bytes;
pub(in crate::stack::native) use crate::sys::native::signal::Registers;

/// An architecture: how its registers are unwound, and what its code looks like. It reads no memory:
/// code is passed in as bytes.
pub(in crate::stack::native) trait Arch {
    /// The unwinder, with its registers and its cache.
    type Unwinder: Unwinder<Module = Module<Bytes>>;

    /// The bytes of the longest call.
    const LONGEST_CALL: usize;
    /// The bytes of a stub in a procedure linkage table that [`stub`](Self::stub) looks at.
    const LONGEST_STUB: usize;
    /// So many bytes hold the longest prologue of the usual form.
    const LONGEST_PROLOGUE: usize;
    /// The bits of a return address on the stack that are the address. Others sign it.
    const ADDRESS_BITS: u64;

    fn unwinder() -> Self::Unwinder;

    fn cache() -> <Self::Unwinder as Unwinder>::Cache;

    /// The registers of a thread, to unwind from.
    fn regs(registers: Registers) -> <Self::Unwinder as Unwinder>::UnwindRegs;

    /// The same registers with another frame pointer.
    fn with_fp(
        regs: &<Self::Unwinder as Unwinder>::UnwindRegs,
        fp: u64,
    ) -> <Self::Unwinder as Unwinder>::UnwindRegs;

    /// The stack pointer.
    fn sp(regs: &<Self::Unwinder as Unwinder>::UnwindRegs) -> u64;

    /// The frame pointer.
    fn fp(regs: &<Self::Unwinder as Unwinder>::UnwindRegs) -> u64;

    /// The call that ends with `code`, whose last byte stands before `address`. A word on the stack
    /// is a return address only if one stands before the place it points to.
    fn call_before(address: u64, code: &[u8]) -> Option<Target>;

    /// The word that a stub at `address` jumps by, if this code is a stub.
    fn stub(address: u64, code: &[u8]) -> Option<u64>;

    /// How far apart stack pointer and frame pointer are in the body of the function that begins
    /// with `code`. `None` for one that does not keep a frame pointer in the usual way.
    ///
    /// It may be a guess: what it leads to has to be checked.
    fn frame_size(code: &[u8]) -> Option<u64>;
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stack::native) enum Target {
    /// To this address.
    At(u64),
    /// To what the word at this address says.
    In(u64),
    /// Only the registers of that moment could tell.
    Somewhere,
}
