//! The frame of a function in its body, read from the instructions that the function begins with.

use super::call::is_branch;

/// Bytes of the longest prologue of the usual form, with a check before it that may return early.
pub(super) const LONGEST: usize = 128;

/// Distances from the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// To the frame record.
    pub(super) record: u64,
    /// To the stack pointer of the caller.
    pub(super) size: u64,
    /// Whether no branch comes before it.
    pub(super) always: bool,
}

/// The frame of the function that begins with `code`. `None` if it keeps no frame record in the usual way, or aligns
/// its frame.
///
/// A guess: a function may make more room later. Check what it leads to.
pub(super) fn frame(code: &[u8]) -> Option<Frame> {
    let (instructions, _) = code.as_chunks::<4>();
    // What was subtracted from the stack pointer, and where the record is, once it is known.
    let (mut size, mut record, mut always) = (0, None, true);
    for bytes in instructions {
        let code = u32::from_le_bytes(*bytes);
        if is_branch(code) {
            if record.is_some() {
                break;
            }
            always = false;
            continue;
        }
        // and sp, x9: an aligned frame
        if code & 0xff80_001f == 0x9200_001f {
            return None;
        }
        let made = room(code);
        size += made;
        record = record.map(|at: u64| at + made);
        // add x29, sp, or mov x29, sp
        if code & 0xff80_03ff == 0x9100_03fd {
            record = Some(immediate(code));
        }
    }
    Some(Frame { record: record?, size, always })
}

/// How much an instruction subtracts from the stack pointer.
fn room(code: u32) -> u64 {
    // sub sp, sp
    if code & 0xff80_03ff == 0xd100_03ff {
        return immediate(code);
    }
    // stp [sp, -n]!, of general registers and of those of floating point
    if code & 0xffc0_03e0 == 0xa980_03e0 || code & 0x3fc0_03e0 == 0x2d80_03e0 {
        let scale = if code >> 30 == 0b10 && (code >> 26) & 1 == 1 { 16 } else { 8 };
        let steps = ((code >> 15) & 0x7f) << 25;
        return u64::from((steps as i32 >> 25).unsigned_abs()) * scale;
    }
    // str [sp, -n]!
    if code & 0xffe0_0fe0 == 0xf800_0fe0 {
        let bytes = ((code >> 12) & 0x1ff) << 23;
        return u64::from((bytes as i32 >> 23).unsigned_abs());
    }
    0
}

/// The operand of an addition.
fn immediate(code: u32) -> u64 {
    let shift = if code & (1 << 22) == 0 { 0 } else { 12 };
    u64::from((code >> 10) & 0xfff) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACIASP: u32 = 0xd503_233f;
    const RET: u32 = 0xd65f_03c0;

    fn whole(code: &[u32]) -> Option<Frame> {
        let bytes: Vec<u8> = code.iter().flat_map(|code| code.to_le_bytes()).collect();
        super::frame(&bytes)
    }

    /// Where its record is, and how large it is.
    fn frame(code: &[u32]) -> Option<(u64, u64)> {
        whole(code).map(|Frame { record, size, .. }| (record, size))
    }

    #[test]
    fn the_record_is_where_the_frame_pointer_is_set() {
        // stp x29, x30, [sp, #-16]!; mov x29, sp
        assert_eq!(frame(&[PACIASP, 0xa9bf_7bfd, 0x9100_03fd, RET]), Some((0, 16)));
        // sub sp, sp, #0x60; stp x29, x30, [sp, #0x40]; stp x20, x19, [sp, #0x50]; add x29, sp, #0x40
        assert_eq!(
            frame(&[0xd101_83ff, 0xa904_7bfd, 0xa905_4ff4, 0x9101_03fd]),
            Some((0x40, 0x60))
        );
        // stp x29, x30, [sp, #-32]!; str x28, [sp, #16]; mov x29, sp; sub sp, sp, #0x2, lsl #12
        assert_eq!(
            frame(&[0xa9be_7bfd, 0xf900_0bfc, 0x9100_03fd, 0xd140_0bff]),
            Some((0x2000, 0x2020))
        );
        // str x19, [sp, #-16]! after it
        assert_eq!(frame(&[0xa9bf_7bfd, 0x9100_03fd, 0xf81f_0ff3]), Some((16, 32)));
    }

    #[test]
    fn a_function_may_return_before_it_has_a_frame() {
        // cbz x0; ret; and the prologue
        assert_eq!(frame(&[0xb400_0040, RET, 0xa9bf_7bfd, 0x9100_03fd, RET]), Some((0, 16)));
        // What comes after its first branch is no prologue any more.
        assert_eq!(frame(&[0xa9bf_7bfd, 0x9100_03fd, 0x9400_0004, 0xd140_0bff]), Some((0, 16)));
    }

    #[test]
    fn a_frame_after_a_branch_is_not_always_made() {
        let always = |code: &[u32]| whole(code).expect("a frame").always;
        // stp x29, x30, [sp, #-16]!; mov x29, sp; cbz x0
        assert!(always(&[PACIASP, 0xa9bf_7bfd, 0x9100_03fd, 0xb400_0040]));
        // As musl's `clock_nanosleep`: cmp w0, #3; b.eq, and the prologue.
        assert!(!always(&[0x7100_0c1f, 0x5400_03e0, 0xa9bf_7bfd, 0x9100_03fd]));
    }

    #[test]
    fn other_functions_have_no_record() {
        assert_eq!(frame(&[RET]), None);
        assert_eq!(frame(&[]), None);
        // The frame is aligned: and sp, x9, #0xffffffffffffffc0
        assert_eq!(frame(&[0xa9bf_7bfd, 0x9100_03fd, 0x927a_e53f]), None);
    }
}
