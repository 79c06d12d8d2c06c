//! How far frame pointer and return address are from the stack pointer in the body of a function, read from
//! the instructions that the function begins with.

/// Bytes of the longest prologue of the usual form.
pub(super) const LONGEST: usize = 40;

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// What the function that begins with `code` subtracts from the stack pointer after it has set rbp.
/// `None` if it does not keep a frame pointer in the usual way, or aligns its frame.
///
/// A guess: a function may make more room in another way, for a very large frame for example, or
/// push arguments. Check what it leads to.
pub(super) fn frame_size(code: &[u8]) -> Option<u64> {
    let code = code.strip_prefix(&ENDBR64).unwrap_or(code);
    let code = code.strip_prefix(&[0x55])?; // push rbp
    let mut code = [[0x48, 0x89, 0xe5], [0x48, 0x8b, 0xec]] // mov rbp, rsp
        .iter()
        .find_map(|set| code.strip_prefix(set))?;
    let mut size = 0;
    loop {
        code = match code {
            // push, of rax to rdi and of r8 to r15
            [0x50..=0x57, rest @ ..] | [0x41, 0x50..=0x57, rest @ ..] => rest,
            // sub rsp, with an 8-bit and with a 32-bit operand
            [0x48, 0x83, 0xec, room, ..] => return Some(size + u64::from(*room)),
            [0x48, 0x81, 0xec, a, b, c, d, ..] => {
                return Some(size + u64::from(u32::from_le_bytes([*a, *b, *c, *d])));
            }
            [0x48, 0x83 | 0x81, 0xe4, ..] => return None, // and rsp
            _ => return Some(size),
        };
        size += 8;
    }
}

/// How far above the stack pointer the function that begins with `code` has its return address: registers
/// that it pushes first, and the room that it makes next. `None` if it makes none there.
///
/// A guess: a function may make more room later. Check what it leads to.
pub(super) fn room(code: &[u8]) -> Option<u64> {
    let mut code = code.strip_prefix(&ENDBR64).unwrap_or(code);
    let mut pushed = 0;
    loop {
        code = match code {
            [0x50..=0x57, rest @ ..] | [0x41, 0x50..=0x57, rest @ ..] => rest,
            [0x48, 0x83, 0xec, room @ ..0x80, ..] => return Some(pushed + u64::from(*room)),
            [0x48, 0x81, 0xec, a, b, c, d, ..] => {
                return Some(pushed + u64::from(u32::from_le_bytes([*a, *b, *c, *d])));
            }
            _ => return None,
        };
        pushed += 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: [u8; 4] = [0x55, 0x48, 0x89, 0xe5];

    #[track_caller]
    fn check(after: &[u8], size: Option<u64>) {
        let code = [&BEGIN, after, &[0x90]].concat();
        assert_eq!(frame_size(&code), size);
        assert_eq!(frame_size(&[&[0xf3, 0x0f, 0x1e, 0xfa], &code[..]].concat()), size);
    }

    #[test]
    fn registers_that_are_pushed_and_room_that_is_made_are_counted() {
        check(&[], Some(0));
        check(&[0x48, 0x83, 0xec, 0x20], Some(0x20));
        check(&[0x48, 0x81, 0xec, 0x00, 0x10, 0, 0], Some(0x1000));
        check(&[0x41, 0x57, 0x41, 0x56, 0x53], Some(24));
        check(&[0x41, 0x57, 0x53, 0x48, 0x83, 0xec, 0x08], Some(24));
        check(&[0x53, 0x48, 0x83, 0xe4, 0xe0, 0x48, 0x83, 0xec, 0x08], None);
    }

    #[test]
    fn other_functions_have_no_such_frame() {
        for code in [&[0x53, 0x48, 0x83, 0xec, 0x20][..], &[0x55, 0x41, 0x57], &[0xc3], &[]] {
            assert_eq!(frame_size(code), None);
        }
        for length in 0..BEGIN.len() {
            assert_eq!(frame_size(&BEGIN[..length]), None);
        }
    }

    #[test]
    fn the_return_address_is_above_what_is_pushed_and_the_room() {
        for begin in [&[][..], &ENDBR64] {
            let check = |code: &[u8], distance| assert_eq!(room(&[begin, code].concat()), distance);
            // As in musl's `syscall`.
            check(&[0x48, 0x83, 0xec, 0x58, 0x48, 0x89, 0xf8], Some(0x58));
            check(&[0x41, 0x54, 0x55, 0x53, 0x48, 0x83, 0xec, 0x20], Some(0x38));
            check(&[0x53, 0x48, 0x81, 0xec, 0x00, 0x10, 0, 0], Some(0x1008));
            // sub rsp, -128
            check(&[0x48, 0x83, 0xec, 0x80], None);
            check(&[0x48, 0x81, 0xec, 0x00, 0x10], None);
            check(&[0x48, 0x89, 0xf8, 0x48, 0x83, 0xec, 0x58], None);
            check(&[0x53], None);
        }
    }
}
