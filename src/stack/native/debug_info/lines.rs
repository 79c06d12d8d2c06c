//! Files and lines of a unit.

use gimli::LineProgramHeader;

use super::types::{Bytes, Steps, UnitRef};
use crate::stack::raw::NoLines;

/// How many rows are read until it is asked whether to go on.
const STEP: usize = 1024;
/// Jumps and the like may belong to no line. Code that is so near to them may tell the line, if it
/// is of the same function.
const NEAR: u64 = 16;
/// How many such rows are kept. Compilers write a few; each is looked up like an address.
const MOST_NEAR: usize = 64;
/// The longest path of a file, that of Linux.
const LONGEST_PATH: usize = 4096;

/// A row of the line table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) address: u64,
    pub(super) file: u64,
    pub(super) line: Option<u32>,
}

/// What the line table has for an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// The row of the address itself.
    pub(super) row: Option<Row>,
    /// Rows near it that have a line, where it has none; the nearest first.
    pub(super) near: Vec<Row>,
}

/// Reads the table of a unit once.
pub(super) fn lines(
    unit: UnitRef<'_, '_>,
    addresses: &[u64],
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<Lines>, NoLines> {
    let mut found = vec![Lines::default(); addresses.len()];
    let Some(program) = unit.line_program.clone() else { return Ok(found) };
    let mut rows = program.rows();
    let mut before: Option<Row> = None;
    let mut steps = Steps::new(STEP, goes_on);
    while let Some((_, row)) = rows.next_row()? {
        let next = Row {
            address: row.address(),
            file: row.file_index(),
            line: row.line().and_then(|line| u32::try_from(line.get()).ok()),
        };
        let ends = row.end_sequence();
        // A sequence at zero was left out by the linker.
        if let Some(row) = before.filter(|row| row.address < next.address) {
            for (found, address) in found.iter_mut().zip(addresses) {
                found.meet(*address, row, next.address);
            }
        }
        before = (!ends && next.address > 0).then_some(next);
        steps.take()?;
    }
    for (found, address) in found.iter_mut().zip(addresses) {
        if found.row.is_some_and(|row| row.line.is_some()) {
            found.near.clear();
        }
        found.near.sort_by_key(|row| row.address.abs_diff(*address));
    }
    Ok(found)
}

impl Lines {
    /// A row that holds up to `end`.
    fn meet(&mut self, address: u64, row: Row, end: u64) {
        if (row.address..end).contains(&address) {
            self.row = Some(row);
        } else if row.line.is_some()
            && self.near.len() < MOST_NEAR
            && row.address <= address.saturating_add(NEAR)
            && end.saturating_add(NEAR) > address
        {
            // Its last byte is the nearest where it comes before.
            let nearest = if end <= address { end - 1 } else { row.address };
            self.near.push(Row { address: nearest, ..row });
        }
    }
}

/// The path of a file of the unit: from its folder and that of the compilation, if it is not a
/// whole path by itself.
pub(super) fn file(unit: UnitRef<'_, '_>, index: u64) -> Option<String> {
    let header: &LineProgramHeader<_> = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let text = |bytes: Bytes<'_>| bytes.to_string_lossy().into_owned();
    let mut path = unit.comp_dir.map(text).unwrap_or_default();
    // Folder 0 is that of the compilation.
    if file.directory_index() != 0
        && let Some(folder) = file.directory(header)
    {
        push(&mut path, &text(unit.attr_string(folder).ok()?));
    }
    push(&mut path, &text(unit.attr_string(file.path_name()).ok()?));
    (path.len() <= LONGEST_PATH).then_some(path)
}

fn push(path: &mut String, part: &str) {
    if part.starts_with('/') || path.is_empty() {
        path.clear();
    } else if !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_near_an_address_are_bounded_also_at_the_end_of_memory() {
        let mut found = Lines::default();
        let row = Row { address: u64::MAX - 3, file: 1, line: Some(7) };
        for _ in 0..1000 {
            found.meet(u64::MAX - 1, row, u64::MAX - 1);
        }
        assert_eq!((found.row, found.near.len()), (None, MOST_NEAR));
    }
}
