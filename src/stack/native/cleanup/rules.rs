//! What the unwind information says of a frame: where it keeps registers of its caller, and where the
//! code is that cleans it up.

use gimli::{BaseAddresses, EhFrame, LittleEndian, Pointer, RegisterRule, UnwindSection, X86_64};

use super::machine::Kept;
use crate::stack::native::bytes::read;
use crate::stack::native::images::Images;
use crate::stack::native::unwind::Stack;

/// Longer tables of calls are taken for a mistake.
const LONGEST_TABLE: u64 = 256 << 10;
/// Bytes before the table of calls at most.
const LONGEST_HEADER: u64 = 32;

/// What is known of a frame.
pub(super) struct Rules {
    /// Where the clean-up begins if the call does not return, if there is some.
    pub(super) pad: Option<u64>,
    /// The registers of the caller.
    pub(super) kept: Kept,
}

/// The rules of the frame at `address`, a place within its call. Its own registers are `kept`, and it
/// ends at `cfa`. `None` where the unwind information cannot be read.
pub(super) fn rules(
    images: &mut Images,
    stack: Stack<'_>,
    (address, cfa): (u64, u64),
    kept: Kept,
) -> Option<Rules> {
    images.load(address);
    let (entry, start, bytes) = images.unwind_entry(address)?;
    let bases = BaseAddresses::default().set_eh_frame(start);
    let mut frames = EhFrame::new(bytes, LittleEndian);
    frames.set_address_size(8);
    let offset = usize::try_from(entry.checked_sub(start)?).ok()?;
    let entry = frames.fde_from_offset(&bases, offset.into(), EhFrame::cie_from_offset).ok()?;
    if !entry.contains(address) {
        return None;
    }
    let mut context = gimli::UnwindContext::new();
    let row = entry.unwind_info_for_address(&frames, &bases, &mut context, address).ok()?;
    let value = |register, own| match row.register(register) {
        Some(RegisterRule::Offset(offset)) => stack.word(cfa.wrapping_add_signed(offset)),
        None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => own,
        Some(_) => None,
    };
    let [r12, r13, r14, r15] = kept.r12_to_r15;
    let outer = Kept {
        rbx: value(X86_64::RBX, kept.rbx),
        rbp: value(X86_64::RBP, kept.rbp),
        r12_to_r15: [
            value(X86_64::R12, r12),
            value(X86_64::R13, r13),
            value(X86_64::R14, r14),
            value(X86_64::R15, r15),
        ],
    };
    let table = match entry.lsda() {
        Some(Pointer::Direct(at)) => Some(at),
        _ => None,
    };
    let pad = table.and_then(|table| landing_pad(table, entry.initial_address(), address));
    Some(Rules { pad, kept: outer })
}

/// Where the clean-up of the call at `address` begins, by the table of the function that begins at `start`.
fn landing_pad(table: u64, start: u64, address: u64) -> Option<u64> {
    let header = read(&(table..table.checked_add(LONGEST_HEADER)?), LONGEST_HEADER)?;
    let mut header = Bytes(&header);
    const OMITTED: u8 = 0xff;
    if header.byte()? != OMITTED {
        // Pads are relative to something else than the function. No compiler of Rust does that.
        return None;
    }
    if header.byte()? != OMITTED {
        header.number()?;
    }
    let encoding = header.byte()?;
    let length = header.number()?;
    let begin = table + (LONGEST_HEADER - header.0.len() as u64);
    let calls = read(&(begin..begin.checked_add(length)?), LONGEST_TABLE)?;
    pad_of_call(&calls, encoding, address.checked_sub(start)?).map(|pad| start.wrapping_add(pad))
}

/// The same by the rows of the table; all relative to the begin of the function.
fn pad_of_call(calls: &[u8], encoding: u8, at: u64) -> Option<u64> {
    let mut calls = Bytes(calls);
    while !calls.0.is_empty() {
        let (begin, length) = (calls.encoded(encoding)?, calls.encoded(encoding)?);
        let (pad, _action) = (calls.encoded(encoding)?, calls.number()?);
        if at.checked_sub(begin).is_some_and(|at| at < length) {
            return (pad != 0).then_some(pad);
        }
    }
    None
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number in LEB128.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn encoded(&mut self, encoding: u8) -> Option<u64> {
        const ULEB128: u8 = 1;
        const UDATA4: u8 = 3;
        match encoding {
            ULEB128 => self.number(),
            UDATA4 => {
                let (number, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Some(u64::from(u32::from_le_bytes(*number)))
            }
            _ => None,
        }
    }
}

#[cfg(fuzzing)]
pub(super) mod fuzz {
    use super::*;

    /// What a table says in that memory, and what the same bytes say as its rows.
    pub(in crate::stack::native::cleanup) fn pads(memory: &[u8], at: u64) {
        let table = memory.as_ptr() as u64;
        let _ = landing_pad(table, table, table + at);
        for encoding in [1, 3] {
            let _ = pad_of_call(memory, encoding, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_pad_of_its_row() {
        let calls = [0, 4, 0, 0, 4, 0x81, 1, 0x90, 2, 1, 0x85, 1, 9, 0x20, 0];
        for (at, pad) in [
            (0, None),
            (3, None),
            (4, Some(0x110)),
            (132, Some(0x110)),
            (133, Some(0x20)),
            (142, None),
        ] {
            assert_eq!(pad_of_call(&calls, 1, at), pad, "{at}");
        }
        let wide = [8, 0, 0, 0, 4, 0, 0, 0, 0x10, 0, 0, 0, 0];
        assert_eq!(pad_of_call(&wide, 3, 9), Some(0x10));
        for length in 0..calls.len() {
            let _ = pad_of_call(&calls[..length], 1, 200);
        }
        assert_eq!(pad_of_call(&calls, 0x1b, 4), None, "another encoding");
    }
}
