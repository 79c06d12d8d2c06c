//! What the rest of the module asks of an architecture.

use framehop::{Module, Unwinder};

use crate::stack::native::bytes::Bytes;
pub(in crate::stack::native) use crate::sys::native::signal::Registers;

/// Stands for a frame pointer that is not known. No address of user space is near it, so a read
/// near it shows that an unwind rule needed the frame pointer.
pub(in crate::stack::native) const UNKNOWN_FP: u64 = 1 << 62;

/// The registers that the unwinder of an architecture works on.
pub(in crate::stack::native) type UnwindRegs<A> = <<A as Arch>::Unwinder as Unwinder>::UnwindRegs;

/// An architecture: how its registers are unwound, and what its code looks like. It reads no memory:
/// code is passed in as bytes.
pub(in crate::stack::native) trait Arch: Sized {
    /// The unwinder, with its registers and its cache.
    type Unwinder: Unwinder<Module = Module<Bytes>, Cache: Default> + Default;

    /// Bytes of the longest call instruction.
    const LONGEST_CALL: usize;
    /// Bytes of the code that ends a thread.
    const LONGEST_END: usize;
    /// Bytes of a stub in a procedure linkage table that [`stub`](Self::stub) needs.
    const LONGEST_STUB: usize;
    /// The instruction that calls the kernel.
    const SYSTEM_CALL: &'static [u8];
    /// Bytes of the longest prologue of the usual form.
    const LONGEST_PROLOGUE: usize;
    /// The bits of a return address on the stack that are the address. The others may sign it.
    const ADDRESS_BITS: u64;

    /// Where unwinding starts. A frame pointer that is not known becomes [`UNKNOWN_FP`].
    fn regs(registers: Registers) -> UnwindRegs<Self>;

    /// The same registers with another frame pointer.
    fn with_fp(regs: &UnwindRegs<Self>, fp: u64) -> UnwindRegs<Self>;

    /// The stack pointer.
    fn sp(regs: &UnwindRegs<Self>) -> u64;

    /// The frame pointer.
    fn fp(regs: &UnwindRegs<Self>) -> u64;

    /// The call at the end of `code`, which ends just before `address`. A word on the stack is a
    /// return address only if there is a call before the place it points to.
    fn call_before(address: u64, code: &[u8]) -> Option<Target>;

    /// Where a jump at `address` goes, if `code` begins with one that always does.
    fn jump(address: u64, code: &[u8]) -> Option<u64>;

    /// Whether `code`, which a function returns to, ends the thread at once: what called that function
    /// has no caller.
    fn ends_thread(code: &[u8]) -> bool;

    /// The address of the word that a stub at `address` jumps through, if `code` is a stub.
    fn stub(address: u64, code: &[u8]) -> Option<u64>;

    /// The distance between stack pointer and frame pointer in the body of the function that begins
    /// with `code`. `None` for a function that does not keep a frame pointer in the usual way.
    ///
    /// It may be a guess: check what it leads to.
    fn frame_size(code: &[u8]) -> Option<u64>;
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stack::native) enum Target {
    /// To this address.
    At(u64),
    /// To the address in the word at this address.
    In(u64),
    /// Only the registers at the time of the call could tell.
    Somewhere,
}
