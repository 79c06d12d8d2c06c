//! x86_64.

mod call;
mod prologue;

use framehop::x86_64::{UnwindRegsX86_64, UnwinderX86_64};

use crate::stack::native::arch::contract::{Arch, Registers, Target, UNKNOWN_FP};
use crate::stack::native::bytes::Bytes;

/// x86_64.
pub(in crate::stack::native) enum Native {}

impl Arch for Native {
    type Unwinder = UnwinderX86_64<Bytes>;

    const LONGEST_CALL: usize = call::LONGEST;
    const LONGEST_END: usize = call::END;
    const LONGEST_STUB: usize = call::STUB;
    const SYSTEM_CALL: &'static [u8] = call::SYSTEM_CALL;
    const LONGEST_PROLOGUE: usize = prologue::LONGEST;
    const ADDRESS_BITS: u64 = u64::MAX;

    fn regs(Registers { ip, sp, fp }: Registers) -> UnwindRegsX86_64 {
        UnwindRegsX86_64::new(ip, sp, fp.unwrap_or(UNKNOWN_FP))
    }

    fn with_fp(regs: &UnwindRegsX86_64, fp: u64) -> UnwindRegsX86_64 {
        UnwindRegsX86_64::new(regs.ip(), regs.sp(), fp)
    }

    fn sp(regs: &UnwindRegsX86_64) -> u64 {
        regs.sp()
    }

    fn fp(regs: &UnwindRegsX86_64) -> u64 {
        regs.bp()
    }

    fn call_before(address: u64, code: &[u8]) -> Option<Target> {
        call::before(address, code)
    }

    fn jump(address: u64, code: &[u8]) -> Option<u64> {
        call::jump(address, code)
    }

    fn ends_thread(code: &[u8]) -> bool {
        call::ends_thread(code)
    }

    fn stub(address: u64, code: &[u8]) -> Option<u64> {
        call::stub(address, code)
    }

    fn frame_size(code: &[u8]) -> Option<u64> {
        prologue::frame_size(code)
    }
}
