//! Call instructions, and the stubs they go through.

use crate::stack::native::arch::contract::Target;

/// Bytes of the longest call instruction.
pub(super) const LONGEST: usize = 7;
/// Bytes of the code that ends a thread.
pub(super) const END: usize = 16;
/// Bytes of a stub in a procedure linkage table that [`stub`] needs.
pub(super) const STUB: usize = 11;

/// The instruction `syscall`.
pub(super) const SYSTEM_CALL: &[u8] = &[0x0f, 0x05];

/// The call at the end of `before`, which ends just before `address`.
pub(super) fn before(address: u64, before: &[u8]) -> Option<Target> {
    if let Some([0xe8, distance @ ..]) = before.last_chunk::<5>() {
        return Some(Target::At(relative(address, *distance)));
    }
    if let Some([0xff, 0x15, distance @ ..]) = before.last_chunk::<6>() {
        return Some(Target::In(relative(address, *distance)));
    }
    ends_indirectly(before, CALL).then_some(Target::Somewhere)
}

/// What an instruction with the first byte ff does with its operand, by three bits of its second byte.
const CALL: u8 = 2;
const JUMP: u8 = 4;

/// Whether `code` ends in a call or a jump to an address in a register or in memory.
fn ends_indirectly(code: &[u8], what: u8) -> bool {
    let length = code.len();
    let mut sizes = 2..=LONGEST.min(length);
    sizes.any(|size| indirect(&code[length - size..], what) == Some(size))
}

/// The length of the instruction of that kind that `code` begins with.
fn indirect(code: &[u8], what: u8) -> Option<usize> {
    let [0xff, modes, ..] = *code else { return None };
    if (modes >> 3) & 7 != what {
        return None;
    }
    let (mode, place) = (modes >> 6, modes & 7);
    let sib = usize::from(mode != 3 && place == 4);
    let displacement = match mode {
        // Base 5 in mode 0 means a 32-bit displacement and no base register.
        0 if place == 5 || (sib == 1 && code.get(2)? & 7 == 5) => 4,
        0 | 3 => 0,
        1 => 1,
        _ => 4,
    };
    Some(2 + sib + displacement)
}

/// Where a jump at `address` goes, if `code` begins with one that always does.
pub(super) fn jump(address: u64, code: &[u8]) -> Option<u64> {
    match *code {
        [0xe9, a, b, c, d, ..] => Some(relative(address.wrapping_add(5), [a, b, c, d])),
        [0xeb, distance, ..] => {
            let distance = i64::from(i8::from_le_bytes([distance]));
            Some(address.wrapping_add(2).wrapping_add_signed(distance))
        }
        _ => None,
    }
}

/// Whether `code` ends in a jump to an address in a register or in memory: as a function has whose last act
/// is a call through a pointer, and as a `match` has.
pub(super) fn jumps_through_pointer(code: &[u8]) -> bool {
    ends_indirectly(code, JUMP)
}

/// Whether `code` makes the system call 60, `exit`, and stops should that return: as musl's `clone` does.
pub(super) fn ends_thread(code: &[u8]) -> bool {
    const EXIT: [&[u8]; 2] = [&[0xb0, 60], &[0xb8, 60, 0, 0, 0]];
    const CALL: &[u8] = &[0x0f, 0x05, 0xf4];
    let at = |bytes: &[u8]| code.windows(bytes.len()).position(|window| window == bytes);
    let call = at(CALL);
    EXIT.iter().any(|number| at(number).is_some_and(|at| call.is_some_and(|call| at < call)))
}

/// The address of the word that a stub at `address` jumps through, if `code` is a stub.
pub(super) fn stub(address: u64, code: &[u8]) -> Option<u64> {
    let mut at = 0;
    for prefix in [&[0xf3, 0x0f, 0x1e, 0xfa][..], &[0xf2]] {
        at += if code[at.min(code.len())..].starts_with(prefix) { prefix.len() } else { 0 };
    }
    match code.get(at..at + 6)? {
        [0xff, 0x25, a, b, c, d] => {
            let next = address.wrapping_add(at as u64 + 6);
            Some(relative(next, [*a, *b, *c, *d]))
        }
        _ => None,
    }
}

fn relative(address: u64, distance: [u8; 4]) -> u64 {
    address.wrapping_add_signed(i32::from_le_bytes(distance).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &[u8], expected: Option<Target>) {
        for junk in [0x00, 0x90, 0xcc] {
            let mut bytes = vec![junk; LONGEST.saturating_sub(code.len())];
            bytes.extend(code);
            assert_eq!(before(0x1000, &bytes), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn calls_are_known_in_all_their_forms() {
        check(&[0xe8, 0x10, 0, 0, 0], Some(Target::At(0x1010)));
        check(&[0xe8, 0xf0, 0xff, 0xff, 0xff], Some(Target::At(0xff0)));
        check(&[0xff, 0x15, 0x08, 0, 0, 0], Some(Target::In(0x1008)));
        for code in [
            &[0xff, 0xd0][..],                     // call rax
            &[0x41, 0xff, 0xd4],                   // call r12
            &[0xff, 0x10],                         // call [rax]
            &[0xff, 0x50, 0x18],                   // call [rax + 0x18]
            &[0xff, 0x14, 0xc8],                   // call [rax + rcx * 8]
            &[0xff, 0x54, 0x24, 0x08],             // call [rsp + 8]
            &[0xff, 0x90, 0x00, 0x01, 0, 0],       // call [rax + 0x100]
            &[0xff, 0x94, 0x24, 0x00, 0x01, 0, 0], // call [rsp + 0x100]
            &[0xff, 0x14, 0x25, 0x00, 0x01, 0, 0], // call [0x100]
        ] {
            check(code, Some(Target::Somewhere));
        }
    }

    #[test]
    fn other_code_is_no_call() {
        check(&[0xeb, 0x10], None); // jmp
        check(&[0xff, 0xe0], None); // jmp rax
        check(&[0xff, 0x25, 0x08, 0, 0, 0], None); // jmp [rip + 8]
        check(&[0x0f, 0x05], None); // syscall
        check(&[0xc3], None);
        assert_eq!(before(0x1000, &[]), None);
    }

    #[test]
    fn jumps_say_where_they_go() {
        assert_eq!(jump(0x1000, &[0xe9, 0xe1, 0xff, 0xff, 0xff, 0xcc]), Some(0x0fe6));
        assert_eq!(jump(0x1000, &[0xeb, 0x10]), Some(0x1012));
        assert_eq!(jump(0x1000, &[0x74, 0x10]), None, "it may not");
        assert_eq!(jump(0x1000, &[0xe9]), None);
    }

    #[test]
    fn a_last_call_through_a_pointer_is_known() {
        for code in [
            &[0xff, 0xe0][..],            // jmp rax
            &[0x41, 0xff, 0xe3],          // jmp r11
            &[0xff, 0x61, 0x18],          // jmp [rcx + 0x18]
            &[0xff, 0x25, 0x08, 0, 0, 0], // jmp [rip + 8]
            &[0x90, 0xff, 0x24, 0xc8],    // jmp [rax + rcx * 8]
        ] {
            assert!(jumps_through_pointer(code), "{code:02x?}");
        }
        assert!(!jumps_through_pointer(&[0xff, 0xd0]), "it comes back");
        assert!(!jumps_through_pointer(&[0xff, 0xe0, 0x90]), "it does not end there");
        assert!(!jumps_through_pointer(&[]));
    }

    #[test]
    fn the_end_of_a_thread_is_known() {
        // mov edi, eax; xor eax, eax; mov al, 60; syscall; hlt
        assert!(ends_thread(&[0x89, 0xc7, 0x31, 0xc0, 0xb0, 60, 0x0f, 0x05, 0xf4]));
        assert!(ends_thread(&[0xb8, 60, 0, 0, 0, 0x0f, 0x05, 0xf4, 0xcc]));
        assert!(!ends_thread(&[0xb0, 61, 0x0f, 0x05, 0xf4]), "another call");
        assert!(!ends_thread(&[0xb0, 60, 0x0f, 0x05, 0xc3]), "it goes on");
    }

    #[test]
    fn stubs_say_which_word_they_jump_by() {
        let jump = [0xff, 0x25, 0x04, 0, 0, 0];
        let padded = |prefix: &[u8]| [prefix, &jump, &[0; 5]].concat();
        assert_eq!(stub(0x100, &padded(&[])), Some(0x10a));
        assert_eq!(stub(0x100, &padded(&[0xf3, 0x0f, 0x1e, 0xfa])), Some(0x10e));
        assert_eq!(stub(0x100, &padded(&[0xf3, 0x0f, 0x1e, 0xfa, 0xf2])), Some(0x10f));
        assert_eq!(stub(0x100, &[0x90; STUB]), None);
        assert_eq!(stub(0x100, &jump[..4]), None);
        assert_eq!(stub(u64::MAX, &padded(&[])), Some(9), "at the end of memory");
    }
}
