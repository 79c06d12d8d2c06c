//! aarch64.
//!
//! A call leaves its return address in a register, so the innermost frame may have it nowhere in
//! memory. Code may sign it before it stores it: the bits above an address are no part of it then.

mod call;
mod prologue;
mod unwinder;

use framehop::aarch64::{PtrAuthMask, UnwindRegsAarch64};

use crate::stack::native::arch::contract::{
    Arch, Frame, Registers, Target, UNKNOWN_FP, UNKNOWN_LR, UnwindModule, UnwindSections,
};

/// aarch64.
pub(in crate::stack::native) enum Native {}

/// The bits of an address of user space, unless the program asks for more by hints of `mmap`.
const ADDRESS: u64 = (1 << 48) - 1;

impl Arch for Native {
    type Unwinder = unwinder::UnwinderByTable;

    const LONGEST_CALL: usize = call::LONGEST;
    const CODE_ALIGN: usize = 4;
    const LONGEST_END: usize = call::END;
    const LONGEST_STUB: usize = call::STUB;
    const SYSTEM_CALL: &'static [u8] = call::SYSTEM_CALL;
    const LONGEST_PROLOGUE: usize = prologue::LONGEST;
    const CALLS_PUSH: bool = false;
    const ADDRESS_BITS: u64 = ADDRESS;

    fn module(_: u64, sections: UnwindSections) -> UnwindModule<Self> {
        sections
    }

    fn regs(Registers { ip: _, sp, fp, lr }: Registers) -> UnwindRegsAarch64 {
        let (fp, lr) = (fp.unwrap_or(UNKNOWN_FP), lr.unwrap_or(UNKNOWN_LR));
        UnwindRegsAarch64::new_with_ptr_auth_mask(PtrAuthMask(ADDRESS), lr, sp, fp)
    }

    /// It lies in a frame record, after the frame pointer of the caller. Where the frame ends is not known,
    /// so this does for a caller that is unwound by its frame pointer.
    fn of_caller(back: u64, place: u64, below: Option<u64>) -> Registers {
        Registers { fp: below, ..Registers::at(back, place + 8) }
    }

    fn with_fp(regs: &UnwindRegsAarch64, fp: u64) -> UnwindRegsAarch64 {
        let mut other = *regs;
        other.set_fp(fp);
        other
    }

    fn sp(regs: &UnwindRegsAarch64) -> u64 {
        regs.sp()
    }

    fn fp(regs: &UnwindRegsAarch64) -> u64 {
        regs.fp()
    }

    fn link(regs: &UnwindRegsAarch64) -> Option<u64> {
        Some(regs.lr()).filter(|lr| *lr != UNKNOWN_LR)
    }

    fn kept(unwinder: &Self::Unwinder, address: u64, cfa: u64) -> Vec<u64> {
        unwinder.kept(address, cfa)
    }

    fn call_before(address: u64, code: &[u8]) -> Option<Target> {
        call::before(address, code)
    }

    fn jump(address: u64, code: &[u8]) -> Option<u64> {
        call::jump(address, code)
    }

    fn branch(address: u64, code: &[u8]) -> Option<u64> {
        call::branch(address, code)
    }

    fn jumps_through_pointer(code: &[u8]) -> bool {
        call::jumps_through_pointer(code)
    }

    fn ends_thread(code: &[u8]) -> bool {
        call::ends_thread(code)
    }

    fn stub(address: u64, code: &[u8]) -> Option<u64> {
        call::stub(address, code)
    }

    fn frame_size(code: &[u8]) -> Option<u64> {
        Some(prologue::frame(code)?.record)
    }

    fn frame(code: &[u8]) -> Option<Frame> {
        let prologue::Frame { record, size, always } = prologue::frame(code)?;
        Some(Frame { back: record + 8, fp: Some(record), size, always })
    }
}
