//! From one frame to its caller's, by the unwind information.
//!
//! framehop's own unwinder for this architecture does not read the information of functions that sign
//! their return address (`DW_CFA_AARCH64_negate_ra_state`), as all of a distribution's C library do, and
//! goes by the frame pointer there. That one is not known of a thread that waits. So this one reads the
//! information by gimli, and stops where it says nothing.

use framehop::aarch64::UnwindRegsAarch64;
use framehop::{Error, FrameAddress, Unwinder};
use gimli::{
    AArch64, BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, RegisterRule,
    UnwindContext, UnwindSection, UnwindTableRow, Vendor,
};

use crate::stack::native::arch::contract::{UNKNOWN_FP, UnwindSections};

/// Unwinds by tables alone.
#[derive(Clone, Default)]
pub(in crate::stack::native) struct UnwinderByTable {
    modules: Vec<std::sync::Arc<UnwindSections>>,
}

/// What gimli needs room for.
#[derive(Default)]
pub(in crate::stack::native) struct Room(UnwindContext<usize>);

impl UnwinderByTable {
    /// Where the function at `address`, whose frame ends at `cfa`, keeps registers of its caller, but for the
    /// frame record.
    pub(super) fn kept(&self, address: u64, cfa: u64) -> Vec<u64> {
        let mut room = Room::default();
        let registers = self.row(address, &mut room).into_iter().flat_map(|row| row.registers());
        let kept = registers.filter_map(|(register, rule)| match rule {
            RegisterRule::Offset(offset) if !matches!(*register, AArch64::X29 | AArch64::X30) => {
                cfa.checked_add_signed(*offset)
            }
            _ => None,
        });
        kept.collect()
    }

    /// How the registers of the caller of the function at `address` are found.
    fn row<'a>(&self, address: u64, room: &'a mut Room) -> Option<&'a UnwindTableRow<usize>> {
        let module = self.modules.iter().find(|module| module.range.contains(&address))?;
        let (table, header) = &module.eh_frame_hdr;
        let (begin, entries) = &module.eh_frame;
        let bases =
            BaseAddresses::default().set_eh_frame_hdr(table.start).set_eh_frame(begin.start);
        let bases = module.text.iter().fold(bases, |bases, text| bases.set_text(text.start));
        let header = EhFrameHdr::new(header, LittleEndian).parse(&bases, 8).ok()?;
        let mut entries = EhFrame::new(entries, LittleEndian);
        entries.set_address_size(8);
        entries.set_vendor(Vendor::AArch64);
        let table: gimli::EhHdrTable<'_, EndianSlice<'_, LittleEndian>> = header.table()?;
        let entry = table.lookup(address, &bases).ok()?;
        let offset = table.pointer_to_offset(entry).ok()?;
        let entry = entries.fde_from_offset(&bases, offset, EhFrame::cie_from_offset).ok()?;
        if entry.is_signal_trampoline() {
            // What is outside was interrupted. Its entry tells of a link register that need not be its
            // return address.
            return None;
        }
        entry.unwind_info_for_address(&entries, &bases, &mut room.0, address).ok()
    }
}

impl Unwinder for UnwinderByTable {
    type UnwindRegs = UnwindRegsAarch64;
    type Cache = Room;
    type Module = UnwindSections;

    fn add_module(&mut self, module: UnwindSections) {
        self.modules.push(module.into());
    }

    fn remove_module(&mut self, start: u64) {
        self.modules.retain(|module| module.range.start != start);
    }

    fn max_known_code_address(&self) -> u64 {
        self.modules.iter().map(|module| module.range.end).max().unwrap_or_default()
    }

    fn unwind_frame<F: FnMut(u64) -> Result<u64, ()>>(
        &self,
        frame: FrameAddress,
        registers: &mut UnwindRegsAarch64,
        room: &mut Room,
        read: &mut F,
    ) -> Result<Option<u64>, Error> {
        const LOST: Error = Error::DidNotAdvance;
        let row = self.row(frame.address_for_lookup(), room).ok_or(LOST)?;
        let (fp, lr) = (row.register(AArch64::X29), row.register(AArch64::X30));
        if matches!(lr, Some(RegisterRule::Undefined)) {
            return Ok(None);
        }
        let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else { return Err(LOST) };
        if register == AArch64::X29 && registers.fp() == UNKNOWN_FP {
            // A read from there shows what is missing.
            let _ = read(UNKNOWN_FP);
            return Err(LOST);
        }
        let base = match register {
            AArch64::SP => registers.sp(),
            AArch64::X29 => registers.fp(),
            _ => return Err(LOST),
        };
        let cfa = base.checked_add_signed(offset).ok_or(Error::IntegerOverflow)?;
        let mut value = |rule, same| match rule {
            None | Some(RegisterRule::SameValue) => same,
            Some(RegisterRule::Offset(offset)) => {
                let at = cfa.checked_add_signed(offset).ok_or(Error::IntegerOverflow)?;
                read(at).map_err(|()| Error::CouldNotReadStack(at))
            }
            _ => Err(LOST),
        };
        // Only the innermost function may still have its return address in the register alone.
        let innermost = !frame.is_return_address();
        let lr = value(lr, if innermost { Ok(registers.lr()) } else { Err(LOST) })?;
        let fp = value(fp, Ok(registers.fp())).or_else(|error| match error {
            LOST => Ok(UNKNOWN_FP),
            other => Err(other),
        })?;
        if cfa < registers.sp() || (cfa == registers.sp() && !innermost) {
            return Err(Error::FramepointerUnwindingMovedBackwards);
        }
        registers.set_lr(lr);
        registers.set_sp(cfa);
        registers.set_fp(fp);
        Ok((registers.lr() != 0).then(|| registers.lr()))
    }
}
