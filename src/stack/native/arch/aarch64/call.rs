//! Call instructions, and the stubs they go through.

use crate::stack::native::arch::contract::Target;

/// Bytes before the end of a call: the call, and what may say where an indirect one goes.
pub(super) const LONGEST: usize = 32;
/// Bytes of the code that ends a thread.
pub(super) const END: usize = 16;
/// Bytes of a stub in a procedure linkage table that [`stub`] needs.
pub(super) const STUB: usize = 20;

const BTI_C: u32 = 0xd503_245f;
const SVC: u32 = 0xd400_0001;

/// The instruction `svc #0`.
pub(super) const SYSTEM_CALL: &[u8] = &SVC.to_le_bytes();

/// The instruction that `code` begins with.
pub(super) fn instruction(code: &[u8]) -> Option<u32> {
    code.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The call at the end of `before`, which ends just before `address`.
pub(super) fn before(address: u64, before: &[u8]) -> Option<Target> {
    if !address.is_multiple_of(4) {
        return None;
    }
    let (_, instructions) = before.as_rchunks::<4>();
    let (call, earlier) = instructions.split_last()?;
    let call = u32::from_le_bytes(*call);
    if call >> 26 == 0b10_0101 {
        return Some(Target::At(relative(address.wrapping_sub(4), call, 0, 26)));
    }
    // blr, and the forms that authenticate the address.
    let is_plain = call & 0xffff_fc1f == 0xd63f_0000;
    if !is_plain && call & 0xfeff_f800 != 0xd63f_0800 {
        return None;
    }
    let register = (call >> 5) & 31;
    let end = address.wrapping_sub(4);
    let place = is_plain.then(|| loaded_from(end, earlier, register)).flatten();
    Some(place.map_or(Target::Somewhere, Target::In))
}

/// The address of the word that `register` is loaded from in these instructions, which end at `end`:
/// `adrp` and `ldr`, as for an entry in the table of global offsets.
fn loaded_from(end: u64, instructions: &[[u8; 4]], register: u32) -> Option<u64> {
    let (mut wanted, mut offset) = (register, None);
    let mut at = end;
    for bytes in instructions.iter().rev() {
        at = at.wrapping_sub(4);
        let code = u32::from_le_bytes(*bytes);
        // What another branch, or a load of two words, leaves in the register is not known.
        let is_pair = code & 0x3c40_0000 == 0x2840_0000;
        if is_branch(code) || (is_pair && (code >> 10) & 31 == wanted) {
            return None;
        }
        if code & 31 != wanted {
            continue;
        }
        match offset {
            None if code & 0xffc0_0000 == 0xf940_0000 => {
                offset = Some(u64::from((code >> 10) & 0xfff) * 8);
                wanted = (code >> 5) & 31;
            }
            Some(offset) if code & 0x9f00_0000 == 0x9000_0000 => {
                return Some(page(at, code).wrapping_add(offset));
            }
            _ => return None,
        }
    }
    None
}

/// Whether that is a branch, a call or a return: whether it goes on elsewhere.
pub(super) fn is_branch(code: u32) -> bool {
    (code >> 26) & 0b1_1111 == 0b0_0101
        || (code >> 25) & 0b11_1111 == 0b01_1010
        || (code >> 25) & 0b11_1111 == 0b01_1011
        || code >> 24 == 0b0101_0100
        || code >> 25 == 0b110_1011
}

/// Where a jump at `address` goes, if `code` begins with one that always does.
pub(super) fn jump(address: u64, code: &[u8]) -> Option<u64> {
    let first = instruction(code)?;
    if first >> 26 == 0b00_0101 {
        return Some(relative(address, first, 0, 26));
    }
    // What a linker puts in between where the way is long: adrp x16; add x16, x16; br x16
    let (add, jump) = (instruction(code.get(4..)?)?, instruction(code.get(8..)?)?);
    let is_long = first & 0x9f00_001f == 0x9000_0010
        && add & 0xffc0_03ff == 0x9100_0210
        && jump == 0xd61f_0200;
    is_long.then(|| page(address, first).wrapping_add(u64::from((add >> 10) & 0xfff)))
}

/// Where a jump at `address` may go, if `code` begins with one, conditional or not.
pub(super) fn branch(address: u64, code: &[u8]) -> Option<u64> {
    let first = instruction(code)?;
    match first {
        // b.cond, and bc.cond
        _ if first >> 24 == 0b0101_0100 => Some(relative(address, first, 5, 19)),
        // cbz, cbnz
        _ if (first >> 25) & 0b11_1111 == 0b01_1010 => Some(relative(address, first, 5, 19)),
        // tbz, tbnz
        _ if (first >> 25) & 0b11_1111 == 0b01_1011 => Some(relative(address, first, 5, 14)),
        _ => jump(address, code),
    }
}

/// Whether `code` ends in a jump to an address that was loaded from memory as it is. One that a table of
/// distances leads to, as in a `match`, was computed.
pub(super) fn jumps_through_pointer(code: &[u8]) -> bool {
    let (_, instructions) = code.as_rchunks::<4>();
    let Some((jump, earlier)) = instructions.split_last() else { return false };
    let jump = u32::from_le_bytes(*jump);
    // br, and the forms that authenticate the address.
    if jump & 0xffff_fc1f != 0xd61f_0000 && jump & 0xfeff_f800 != 0xd61f_0800 {
        return false;
    }
    let register = (jump >> 5) & 31;
    let mut earlier = earlier.iter().rev().map(|bytes| u32::from_le_bytes(*bytes));
    let is_pair = |code: u32| code & 0xffc0_0000 == 0xa940_0000;
    let writes =
        |code: &u32| *code & 31 == register || (is_pair(*code) && (*code >> 10) & 31 == register);
    let load = earlier.find(writes);
    load.is_some_and(|code| code & 0xffc0_0000 == 0xf940_0000 || is_pair(code))
}

/// Whether `code` makes the system call 93, `exit`: as the `clone` of C libraries does.
pub(super) fn ends_thread(code: &[u8]) -> bool {
    let (instructions, _) = code.as_chunks::<4>();
    let mut numbered = false;
    for bytes in instructions {
        match u32::from_le_bytes(*bytes) {
            // mov x8, 93, in both widths
            0xd280_0ba8 | 0x5280_0ba8 => numbered = true,
            SVC => return numbered,
            other if is_branch(other) => return false,
            _ => {}
        }
    }
    false
}

/// The address of the word that a stub at `address` jumps through, if `code` is a stub:
/// adrp x16; ldr x17, \[x16\]; add x16, x16; br x17
pub(super) fn stub(address: u64, code: &[u8]) -> Option<u64> {
    let skip = if instruction(code)? == BTI_C { 4 } else { 0 };
    let at = |number: usize| instruction(code.get(skip + 4 * number..)?);
    let (first, load) = (at(0)?, at(1)?);
    let is_stub = first & 0x9f00_001f == 0x9000_0010 && load & 0xffc0_03ff == 0xf940_0211;
    let offset = u64::from((load >> 10) & 0xfff) * 8;
    is_stub.then(|| page(address + skip as u64, first).wrapping_add(offset))
}

/// Where an instruction at `address` points to whose distance, in instructions, is in so many `bits` from
/// bit `low` on.
fn relative(address: u64, code: u32, low: u32, bits: u32) -> u64 {
    let distance = ((code << (32 - low - bits)) as i32) >> (32 - bits);
    address.wrapping_add_signed(i64::from(distance) * 4)
}

/// The page that an `adrp` at `address` points to.
fn page(address: u64, code: u32) -> u64 {
    let pages = (((code >> 5) & 0x7_ffff) << 2) | ((code >> 29) & 3);
    let pages = i64::from((pages << 11) as i32 >> 11);
    (address & !0xfff).wrapping_add_signed(pages << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(code: &[u32]) -> Vec<u8> {
        code.iter().flat_map(|code| code.to_le_bytes()).collect()
    }

    #[test]
    fn calls_are_known_in_all_their_forms() {
        let call = |code: &[u32]| before(0x10_1000, &bytes(code));
        assert_eq!(call(&[0x9400_0004]), Some(Target::At(0x10_100c))); // bl
        assert_eq!(call(&[0x97ff_ffff]), Some(Target::At(0x10_0ff8)));
        assert_eq!(call(&[0xd63f_0100]), Some(Target::Somewhere)); // blr x8
        assert_eq!(call(&[0xd63f_0900]), Some(Target::Somewhere)); // blraaz x8
        assert_eq!(call(&[0xd73f_0909]), Some(Target::Somewhere)); // blraa x8, x9
        // adrp x8, +0x2000; ldr x8, [x8, #0x18]; mov x0, x1; blr x8
        let loaded = [0xd000_0008, 0xf940_0d08, 0xaa01_03e0, 0xd63f_0100];
        assert_eq!(call(&loaded), Some(Target::In(0x10_2018)));
        // The same with a call in between, which may change the register.
        let lost = [0xd000_0008, 0xf940_0d08, 0x9400_0004, 0xd63f_0100];
        assert_eq!(call(&lost), Some(Target::Somewhere));
        // The same with ldp x0, x8, [x19] in between.
        let pair = [0xd000_0008, 0xf940_0d08, 0xa940_2260, 0xd63f_0100];
        assert_eq!(call(&pair), Some(Target::Somewhere));
        assert_eq!(before(0x1002, &bytes(&[0x9400_0004])), None, "no place of an instruction");
    }

    #[test]
    fn other_code_is_no_call() {
        for code in [0x1400_0004, 0xd61f_0200, 0xd65f_03c0, SVC, 0xaa01_03e0, 0] {
            assert_eq!(before(0x1000, &bytes(&[code])), None, "{code:#x}");
        }
        assert_eq!(before(0x1000, &[]), None);
    }

    #[test]
    fn jumps_say_where_they_go() {
        assert_eq!(jump(0x1000, &bytes(&[0x17ff_fffe])), Some(0xff8)); // b
        let long = [0xb000_0010, 0x9100_4210, 0xd61f_0200];
        assert_eq!(jump(0x1000, &bytes(&long)), Some(0x2010));
        assert_eq!(jump(0x1000, &bytes(&[0x5400_0080])), None, "it may not");
        assert_eq!(branch(0x1000, &bytes(&[0x5400_0080])), Some(0x1010)); // b.eq
        assert_eq!(branch(0x1000, &bytes(&[0xb4ff_ffe8])), Some(0xffc)); // cbz x8
        assert_eq!(branch(0x1000, &bytes(&[0xb6f8_0080])), Some(0x1010)); // tbz x0, #63
        assert_eq!(branch(0x1000, &bytes(&[0x9400_0004])), None, "it comes back");
    }

    #[test]
    fn a_last_call_through_a_pointer_is_known() {
        // ldp x0, x9, [x0]; ldr x2, [x9, #24]; br x2
        assert!(jumps_through_pointer(&bytes(&[0xa940_2400, 0xf940_0d22, 0xd61f_0040])));
        // ldp x0, x9, [x0]; br x9
        assert!(jumps_through_pointer(&bytes(&[0xa940_2400, 0xd61f_0120])));
        // ldrb w11, [x9, x8]; add x10, x10, x11, lsl #2; br x10
        assert!(!jumps_through_pointer(&bytes(&[0x3868_692b, 0x8b0b_094a, 0xd61f_0140])));
        assert!(!jumps_through_pointer(&bytes(&[0xf940_0d22, 0xd63f_0040])), "it comes back");
        assert!(
            !jumps_through_pointer(&bytes(&[0xd61f_0040])),
            "from where it has it is not known"
        );
        assert!(!jumps_through_pointer(&[]));
    }

    #[test]
    fn the_end_of_a_thread_is_known() {
        assert!(ends_thread(&bytes(&[0xd280_0ba8, SVC])));
        assert!(!ends_thread(&bytes(&[0xd280_0bc8, SVC])), "another call");
        assert!(!ends_thread(&bytes(&[0xd280_0ba8, 0xd65f_03c0, SVC])), "it returns");
        assert!(!ends_thread(&[]));
    }

    #[test]
    fn stubs_say_which_word_they_jump_by() {
        let code = [0x9000_0010, 0xf940_0611, 0x9100_2210, 0xd61f_0220];
        assert_eq!(stub(0x2000, &bytes(&code)), Some(0x2008));
        assert_eq!(stub(0x2000, &bytes(&[&[BTI_C], &code[..]].concat())), Some(0x2008));
        assert_eq!(stub(0x2000, &bytes(&[0xd65f_03c0; 5])), None);
        assert_eq!(stub(0x2000, &bytes(&code)[..4]), None);
    }
}
