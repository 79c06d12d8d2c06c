//! x86_64.

mod call;
mod prologue;
mod unwinder;

use framehop::Unwinder;

use crate::stack::native::arch::contract::{Arch, Registers, Target};
use crate::stack::native::bytes::Bytes;

/// x86_64.
pub(in crate::stack::native) enum Native {}

type Unwinds = unwinder::Unwinds<Bytes>;
type Regs = <Unwinds as Unwinder>::UnwindRegs;

impl Arch for Native {
    type Unwinder = Unwinds;

    const LONGEST_CALL: usize = call::LONGEST;
    const LONGEST_STUB: usize = call::STUB;
    const LONGEST_PROLOGUE: usize = prologue::LONGEST;
    const ADDRESS_BITS: u64 = u64::MAX;

    fn unwinder() -> Unwinds {
        Unwinds::new()
    }

    fn cache() -> <Unwinds as Unwinder>::Cache {
        unwinder::Cache::new()
    }

    fn regs(registers: Registers) -> Regs {
        Regs::new(registers.ip, registers.sp, registers.fp)
    }

    fn with_fp(regs: &Regs, fp: u64) -> Regs {
        Regs::new(regs.ip(), regs.sp(), fp)
    }

    fn sp(regs: &Regs) -> u64 {
        regs.sp()
    }

    fn fp(regs: &Regs) -> u64 {
        regs.bp()
    }

    fn call_before(address: u64, code: &[u8]) -> Option<Target> {
        call::before(address, code)
    }

    fn stub(address: u64, code: &[u8]) -> Option<u64> {
        call::stub(address, code)
    }

    fn frame_size(code: &[u8]) -> Option<u64> {
        prologue::frame_size(code)
    }
}
