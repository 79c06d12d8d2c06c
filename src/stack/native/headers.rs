//! Parsers of two parts of a loaded module: the index of its unwind information, and its build id.

use std::cmp::Ordering;

/// `.eh_frame_hdr`: the address of the unwind information, and where each function begins.
#[derive(Debug)]
pub(super) struct EhFrameHdr<'a> {
    /// The address the bytes were loaded at.
    address: u64,
    base: u64,
    bytes: &'a [u8],
}

/// The encodings that all linkers use: the address of the unwind information as a signed 32-bit
/// distance from the field, the number of functions in 32 bits, and the table as signed 32-bit
/// distances from the header.
const ENCODINGS: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
const TABLE: usize = 12;
const ROW: usize = 8;

impl<'a> EhFrameHdr<'a> {
    /// `None` if it uses other encodings. `base` is where its module was loaded.
    pub(super) fn parse(address: u64, base: u64, bytes: &'a [u8]) -> Option<Self> {
        bytes.starts_with(&ENCODINGS).then_some(Self { address, base, bytes })
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

    /// The same, and the address of its entry in the unwind information; `None` also if the entry is not
    /// in there.
    ///
    /// It finds the row that gimli finds, step by step, also in a table without order: gimli subtracts the
    /// addresses of its row without a check.
    pub(super) fn function(&self, address: u64) -> Option<(u64, u64)> {
        let (mut first, mut count) = (0, int(self.bytes, 8)? as u32 as usize);
        let in_module = |address: u64| address.wrapping_sub(self.base);
        while count > 1 {
            let half = count / 2;
            let (start, _) = self.row(first + half)?;
            match in_module(start).cmp(&in_module(address)) {
                Ordering::Greater => count = half,
                Ordering::Less => (first, count) = (first + half, count - half),
                Ordering::Equal => (first, count) = (first + half, 1),
            }
        }
        let (start, entry) = self.row(first)?;
        let is_there = in_module(entry) >= in_module(self.eh_frame()?);
        (count > 0 && start <= address && is_there).then_some((start, entry))
    }

    fn row(&self, number: usize) -> Option<(u64, u64)> {
        let at = TABLE.checked_add(number.checked_mul(ROW)?)?;
        let address =
            |place| Some(self.address.wrapping_add_signed(int(self.bytes, place)?.into()));
        Some((address(at)?, address(at + 4)?))
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
            bytes.extend(0x104_i32.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn functions_are_found_by_what_begins_before() {
        let bytes = header(&[-0x300, -0x200, 0x10]);
        let index = EhFrameHdr::parse(0x1000, 0, &bytes).expect("the usual encodings");
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
            if let Some(index) = EhFrameHdr::parse(0, 0, &bytes[..length]) {
                let _ = (index.eh_frame(), index.function_start(5));
            }
        }
        assert!(EhFrameHdr::parse(0, 0, &[2; 40]).is_none());
    }

    #[test]
    fn what_leads_before_the_unwind_information_is_none() {
        let mut bytes = header(&[-0x300, -0x200, 0x10]);
        let last = bytes.len() - 4;
        for (entry, function) in [(0x104_i32, Some((0x1010, 0x1104))), (0x103, None)] {
            bytes[last..].copy_from_slice(&entry.to_le_bytes());
            let index = EhFrameHdr::parse(0x1000, 0, &bytes).expect("the usual encodings");
            assert_eq!(index.function(0x1010), function, "{entry:#x}");
        }
    }

    #[test]
    fn the_row_is_that_of_the_unwinder_whatever_the_order() {
        use gimli::{BaseAddresses, EndianSlice, LittleEndian, Pointer};

        let (at, base) = (0x40_1000, 0x40_0000);
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 40) as i32
        };
        for round in 0..1000 {
            let starts: Vec<_> = (0..round % 20).map(|_| random() % 0x3000 - 0x1800).collect();
            let mut bytes = header(&starts);
            for (number, row) in bytes[TABLE..].chunks_exact_mut(ROW).enumerate() {
                row[4..].copy_from_slice(&(0x104 + number as i32).to_le_bytes());
            }
            // Now and then more rows than there are.
            bytes[8] += u8::from(round % 7 == 0) * 9;
            let bases = BaseAddresses::default().set_eh_frame_hdr(at - base).set_eh_frame(0x1104);
            let theirs = gimli::EhFrameHdr::from(EndianSlice::new(&bytes, LittleEndian));
            let theirs = theirs.parse(&bases, 8).expect("a header");
            let address = at.wrapping_add_signed((random() % 0x2000 - 0x800).into());
            let ours = EhFrameHdr::parse(at, base, &bytes).expect("the usual encodings");
            let ours = ours.function(address).map(|(_, entry)| entry - base);
            let theirs = theirs.table().and_then(|table| table.lookup(address - base, &bases).ok());
            if let Some(ours) = ours {
                assert_eq!(Some(Pointer::Direct(ours)), theirs, "{starts:?}");
            }
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
