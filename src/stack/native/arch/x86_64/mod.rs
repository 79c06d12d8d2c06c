//! x86_64.

mod call;
mod prologue;

use std::ops::Range;

use framehop::x86_64::{UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Module};

use crate::stack::native::arch::contract::{
    Arch, Frame, Registers, Target, UNKNOWN_FP, UnwindModule, UnwindSections,
};
use crate::stack::native::bytes::Bytes;

/// x86_64.
pub(in crate::stack::native) enum Native {}

impl Arch for Native {
    type Unwinder = UnwinderX86_64<Bytes>;

    const LONGEST_CALL: usize = call::LONGEST;
    const CODE_ALIGN: usize = 1;
    const LONGEST_END: usize = call::END;
    const LONGEST_STUB: usize = call::STUB;
    const SYSTEM_CALL: &'static [u8] = call::SYSTEM_CALL;
    const LONGEST_PROLOGUE: usize = prologue::LONGEST;
    const CALLS_PUSH: bool = true;
    const ADDRESS_BITS: u64 = u64::MAX;

    fn module(base: u64, sections: UnwindSections) -> UnwindModule<Self> {
        let UnwindSections { range, text, eh_frame, eh_frame_hdr } = sections;
        let in_file =
            |range: Range<u64>| range.start.wrapping_sub(base)..range.end.wrapping_sub(base);
        let sections = ExplicitModuleSectionInfo {
            text_svma: text.map(in_file),
            eh_frame_svma: Some(in_file(eh_frame.0)),
            eh_frame: Some(eh_frame.1),
            eh_frame_hdr_svma: Some(in_file(eh_frame_hdr.0)),
            eh_frame_hdr: Some(eh_frame_hdr.1),
            ..ExplicitModuleSectionInfo::default()
        };
        Module::new(String::new(), range, base, sections)
    }

    fn regs(Registers { ip, sp, fp, .. }: Registers) -> UnwindRegsX86_64 {
        UnwindRegsX86_64::new(ip, sp, fp.unwrap_or(UNKNOWN_FP))
    }

    fn of_caller(back: u64, place: u64, _: Option<u64>) -> Registers {
        Registers { fp: None, ..Registers::at(back, place + 8) }
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

    fn link(_: &UnwindRegsX86_64) -> Option<u64> {
        None
    }

    fn kept(_: &Self::Unwinder, _: u64, _: u64) -> Vec<u64> {
        Vec::new()
    }

    fn call_before(address: u64, code: &[u8]) -> Option<Target> {
        call::before(address, code)
    }

    fn jump(address: u64, code: &[u8]) -> Option<u64> {
        call::jump(address, code)
    }

    fn branch(address: u64, code: &[u8]) -> Option<u64> {
        call::jump(address, code)
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
        prologue::frame_size(code)
    }

    fn frame(code: &[u8]) -> Option<Frame> {
        let back = prologue::room(code)?;
        Some(Frame { back, fp: None, size: back + 8, always: true })
    }
}
