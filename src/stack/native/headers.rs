//! Parsers of two parts of a loaded module: the index of its unwind information, and its build id.

use std::ops::Range;

/// `.eh_frame_hdr`: the address of the unwind information, and where each function begins.
#[derive(Debug)]
pub(super) struct EhFrameHdr<'a> {
    /// The address the bytes were loaded at.
    address: u64,
    bytes: &'a [u8],
}

/// The encodings that all linkers use: the address of the unwind information as a signed 32-bit
/// distance from the field, the number of functions in 32 bits, and the table as signed 32-bit
/// distances from the header.
const ENCODINGS: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
const TABLE: usize = 12;
const ROW: usize = 8;

impl<'a> EhFrameHdr<'a> {
    /// `None` if it uses other encodings.
    pub(super) fn parse(address: u64, bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(&ENCODINGS).then_some(Self { address, bytes })
    }

    /// The address of `.eh_frame`.
    pub(super) fn eh_frame(&self) -> Option<u64> {
        let distance = int(self.bytes, 4)?;
        Some(self.address.wrapping_add(4).wrapping_add_signed(distance.into()))
    }

    /// Where the function that contains `address` begins.
    pub(super) fn function_start(&self, address: u64) -> Option<u64> {
        self.function(address).map(|(start, _)| start)
    }

    /// The same, and the address of its entry in the unwind information.
    pub(super) fn function(&self, address: u64) -> Option<(u64, u64)> {
        let rows = self.rows()?;
        let after =
            rows.partition_point(|row| self.at(row, 0).is_some_and(|start| start <= address));
        let row = rows.get(after.checked_sub(1)?)?;
        Some((self.at(row, 0)?, self.at(row, 4)?))
    }
}

impl EhFrameHdr<'_> {
    /// Whether its rows are in the order of their functions, as a module at `base` counts, and lead into
    /// the unwind information. Unwinders search it and subtract its addresses without a check.
    pub(super) fn is_sound(&self, base: u64, eh_frame: &Range<u64>) -> bool {
        let rows = || self.rows().unwrap_or_default().iter();
        let start = |row| self.at(row, 0).map(|start| start.wrapping_sub(base));
        rows().is_sorted_by_key(start)
            && rows().all(|row| self.at(row, 4).is_some_and(|entry| eh_frame.contains(&entry)))
    }

    fn rows(&self) -> Option<&[[u8; ROW]]> {
        let (rows, _) = self.bytes.get(TABLE..)?.as_chunks::<ROW>();
        let count = int(self.bytes, 8)? as u32 as usize;
        Some(&rows[..count.min(rows.len())])
    }

    fn at(&self, row: &[u8; ROW], place: usize) -> Option<u64> {
        Some(self.address.wrapping_add_signed(int(row, place)?.into()))
    }
}

/// Bytes of an entry that tell where its function ends.
pub(super) const ENTRY: usize = 16;

/// The bytes of code that an entry at `address` is for, as all linkers write it; `None` if it is not of
/// the function that begins at `start` in that form.
pub(super) fn function_length(address: u64, entry: &[u8; ENTRY], start: u64) -> Option<u64> {
    let begin = address.wrapping_add(8).wrapping_add_signed(int(entry, 8)?.into());
    (begin == start).then_some(u64::from(int(entry, 12)? as u32))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk().map(|bytes| i32::from_le_bytes(*bytes))
}

/// The build id among the notes of a module, in hexadecimal digits.
pub(super) fn build_id(mut notes: &[u8]) -> Option<String> {
    const BUILD_ID: i32 = 3;
    const HEADER: usize = 12;
    let padded = |length: usize| length.checked_next_multiple_of(4);
    loop {
        let name = usize::try_from(int(notes, 0)?).ok()?;
        let length = usize::try_from(int(notes, 4)?).ok()?;
        let kind = int(notes, 8)?;
        let content = HEADER.checked_add(padded(name)?)?;
        if kind == BUILD_ID && notes.get(HEADER..HEADER.checked_add(name)?)? == b"GNU\0" {
            let id = notes.get(content..content.checked_add(length)?)?;
            return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = notes.get(content.checked_add(padded(length)?)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(functions: &[i32]) -> Vec<u8> {
        let mut bytes = ENCODINGS.to_vec();
        bytes.extend(0x100_i32.to_le_bytes());
        bytes.extend((functions.len() as u32).to_le_bytes());
        for distance in functions {
            bytes.extend(distance.to_le_bytes());
            bytes.extend(0_i32.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn functions_are_found_by_what_begins_before() {
        let bytes = header(&[-0x300, -0x200, 0x10]);
        let index = EhFrameHdr::parse(0x1000, &bytes).expect("the usual encodings");
        assert_eq!(index.eh_frame(), Some(0x1104));
        for (address, start) in [
            (0xcff, None),
            (0xd00, Some(0xd00)),
            (0xdff, Some(0xd00)),
            (0xe00, Some(0xe00)),
            (0x100f, Some(0xe00)),
            (0x1_0000, Some(0x1010)),
        ] {
            assert_eq!(index.function_start(address), start, "{address:#x}");
        }
    }

    #[test]
    fn a_header_that_is_cut_off_or_strange_is_no_panic() {
        let bytes = header(&[1, 2]);
        for length in 0..bytes.len() {
            if let Some(index) = EhFrameHdr::parse(0, &bytes[..length]) {
                let _ = (index.eh_frame(), index.function_start(5));
            }
        }
        assert!(EhFrameHdr::parse(0, &[2; 40]).is_none());
    }

    #[test]
    fn rows_have_an_order_and_lead_into_the_unwind_information() {
        let with_entries = |functions: &[i32], entry: i32| {
            let mut bytes = header(functions);
            for row in bytes[TABLE..].chunks_exact_mut(ROW) {
                row[4..].copy_from_slice(&entry.to_le_bytes());
            }
            bytes
        };
        let is_sound = |bytes: &[u8], base| {
            let index = EhFrameHdr::parse(0x1000, bytes).expect("the usual encodings");
            index.is_sound(base, &(0x1104..0x2000))
        };
        assert!(is_sound(&with_entries(&[-0x300, -0x200, 0x10], 0x104), 0));
        assert!(!is_sound(&with_entries(&[-0x200, -0x300], 0x104), 0), "no order");
        assert!(!is_sound(&with_entries(&[-0x300, 0x10], 0x104), 0xe00), "before the module");
        for entry in [0x100, 0x1000, i32::MIN] {
            assert!(!is_sound(&with_entries(&[-0x300], entry), 0), "{entry:#x}");
        }
    }

    #[test]
    fn an_entry_tells_how_long_its_function_is() {
        let mut entry = [0; ENTRY];
        entry[8..12].copy_from_slice(&(-0x1008_i32).to_le_bytes());
        entry[12..].copy_from_slice(&0x40_u32.to_le_bytes());
        assert_eq!(function_length(0x5000, &entry, 0x4000), Some(0x40));
        assert_eq!(function_length(0x5000, &entry, 0x4001), None, "another form");
    }

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for number in [name.len() as u32, content.len() as u32, kind] {
            note.extend(number.to_le_bytes());
        }
        for part in [name, content] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_build_id_is_found_behind_other_notes() {
        let mut notes = note(b"stapsdt\0", 3, b"12345");
        assert_eq!(build_id(&notes), None);
        notes.extend(note(b"GNU\0", 1, b"abcd"));
        notes.extend(note(b"GNU\0", 3, &[0xde, 0xad, 0x01]));
        assert_eq!(build_id(&notes).as_deref(), Some("dead01"));
        for length in 0..notes.len() - 4 {
            assert_eq!(build_id(&notes[..length]), None);
        }
    }
}
