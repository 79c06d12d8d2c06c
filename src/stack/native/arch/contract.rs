//! What the rest of the module asks of an architecture.

use std::ops::Range;

use framehop::Unwinder;

use crate::stack::native::bytes::Bytes;
pub(in crate::stack::native) use crate::sys::native::signal::Registers;

/// Stands for a frame pointer that is not known. No address of user space is near it, so a read
/// near it shows that an unwind rule needed the frame pointer.
pub(in crate::stack::native) const UNKNOWN_FP: u64 = 1 << 62;

/// Stands for a link register that is not known. No code is there.
pub(in crate::stack::native) const UNKNOWN_LR: u64 = 1;

/// The registers that the unwinder of an architecture works on.
pub(in crate::stack::native) type UnwindRegs<A> = <<A as Arch>::Unwinder as Unwinder>::UnwindRegs;

/// A module as the unwinder of an architecture wants it.
pub(in crate::stack::native) type UnwindModule<A> = <<A as Arch>::Unwinder as Unwinder>::Module;

/// The unwind information of a module, as it was loaded.
pub(in crate::stack::native) struct UnwindSections {
    /// From the first to the last address of the module.
    pub(in crate::stack::native) range: Range<u64>,
    pub(in crate::stack::native) text: Option<Range<u64>>,
    pub(in crate::stack::native) eh_frame: (Range<u64>, Bytes),
    pub(in crate::stack::native) eh_frame_hdr: (Range<u64>, Bytes),
}

/// An architecture: how its registers are unwound, and what its code looks like. It reads no memory:
/// code is passed in as bytes.
pub(in crate::stack::native) trait Arch: Sized {
    /// The unwinder, with its registers and its cache.
    type Unwinder: Unwinder<Cache: Default> + Default;

    /// Bytes of the longest call instruction, with what comes before it and tells where it goes.
    const LONGEST_CALL: usize;
    /// What addresses of instructions are multiples of.
    const CODE_ALIGN: usize;
    /// Bytes of the code that ends a thread.
    const LONGEST_END: usize;
    /// Bytes of a stub in a procedure linkage table that [`stub`](Self::stub) needs.
    const LONGEST_STUB: usize;
    /// The instruction that calls the kernel.
    const SYSTEM_CALL: &'static [u8];
    /// Bytes of the longest prologue of the usual form.
    const LONGEST_PROLOGUE: usize;
    /// Whether a call stores its return address on the stack itself.
    const CALLS_PUSH: bool;
    /// The bits of a return address on the stack that are the address. The others may sign it.
    const ADDRESS_BITS: u64;

    /// A module for the unwinder. `base` is the address it was loaded at, relative to the addresses in its
    /// file.
    fn module(base: u64, sections: UnwindSections) -> UnwindModule<Self>;

    /// Where unwinding starts. A frame pointer that is not known becomes [`UNKNOWN_FP`], a link
    /// register [`UNKNOWN_LR`].
    fn regs(registers: Registers) -> UnwindRegs<Self>;

    /// The registers of the caller of a function without unwind information, whose return address, to
    /// `back`, was found at `place`. `below` is the word before it.
    fn of_caller(back: u64, place: u64, below: Option<u64>) -> Registers;

    /// The same registers with another frame pointer.
    fn with_fp(regs: &UnwindRegs<Self>, fp: u64) -> UnwindRegs<Self>;

    /// The stack pointer.
    fn sp(regs: &UnwindRegs<Self>) -> u64;

    /// The frame pointer.
    fn fp(regs: &UnwindRegs<Self>) -> u64;

    /// The return address of the innermost function, where a register has it and it is known.
    fn link(regs: &UnwindRegs<Self>) -> Option<u64>;

    /// Where the function at `address`, whose frame ends at `cfa`, keeps registers of its caller, but for
    /// the frame pointer and the return address. Empty where that is not asked for.
    fn kept(unwinder: &Self::Unwinder, address: u64, cfa: u64) -> Vec<u64>;

    /// The call at the end of `code`, which ends just before `address`. A word on the stack is a
    /// return address only if there is a call before the place it points to.
    fn call_before(address: u64, code: &[u8]) -> Option<Target>;

    /// Where a jump at `address` goes, if `code` begins with one that always does.
    fn jump(address: u64, code: &[u8]) -> Option<u64>;

    /// Where a jump at `address` may go, if `code` begins with one, conditional or not.
    fn branch(address: u64, code: &[u8]) -> Option<u64>;

    /// Whether `code` ends in a jump to an address that was loaded from memory, as a function has
    /// whose last act is a call through a pointer.
    fn jumps_through_pointer(code: &[u8]) -> bool;

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

    /// The frame of the function that begins with `code`, in its body. `None` for a function that does not make
    /// one in the usual way.
    ///
    /// It may be a guess: check what it leads to.
    fn frame(code: &[u8]) -> Option<Frame>;
}

/// A frame, by distances from its stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stack::native) struct Frame {
    /// To the return address.
    pub(in crate::stack::native) back: u64,
    /// To the frame pointer of the caller, where it is known that the function keeps it.
    pub(in crate::stack::native) fp: Option<u64>,
    /// To the stack pointer of the caller.
    pub(in crate::stack::native) size: u64,
    /// Whether the function always makes it. Else it may have gone another way, without a frame.
    pub(in crate::stack::native) always: bool,
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
