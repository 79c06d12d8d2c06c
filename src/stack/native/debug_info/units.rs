//! Which units of debug information have the addresses in question.

use std::collections::HashSet;

use gimli::DebugInfoOffset;

use super::types::{Dwarf, Limits, Steps};
use crate::stack::raw::NoLines;

/// How many entries are read until it is asked whether to go on.
const STEP: usize = 512;

/// The units, each with the indexes of its addresses, in the order of the addresses. By the index
/// that most compilers write, and by the units themselves where they are not in it.
pub(super) fn units(
    dwarf: &Dwarf<'_>,
    addresses: &[u64],
    limits: &mut Limits<'_>,
) -> Result<Vec<(DebugInfoOffset, Vec<usize>)>, NoLines> {
    let mut search = Search::new(addresses);
    let indexed = search.by_index(dwarf, limits)?;
    if !search.is_done() {
        search.by_units(dwarf, &indexed, limits)?;
    }
    let mut units: Vec<(DebugInfoOffset, Vec<usize>)> = Vec::new();
    for (index, unit) in search.units.into_iter().enumerate() {
        let Some(unit) = unit else { continue };
        match units.iter_mut().find(|(known, _)| *known == unit) {
            Some((_, indexes)) => indexes.push(index),
            None => units.push((unit, vec![index])),
        }
    }
    Ok(units)
}

struct Search {
    /// In order, each with its index.
    addresses: Vec<(u64, usize)>,
    units: Vec<Option<DebugInfoOffset>>,
    missing: usize,
}

impl Search {
    fn new(addresses: &[u64]) -> Self {
        let mut sorted: Vec<_> = addresses.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        Self { addresses: sorted, units: vec![None; addresses.len()], missing: addresses.len() }
    }

    fn is_done(&self) -> bool {
        self.missing == 0
    }

    /// The code in `begin..end` belongs to a unit. A range that begins at zero was left out by the
    /// linker.
    fn range(&mut self, begin: u64, end: u64, unit: DebugInfoOffset) {
        if begin == 0 {
            return;
        }
        let first = self.addresses.partition_point(|(address, _)| *address < begin);
        for (_, index) in self.addresses[first..].iter().take_while(|(address, _)| *address < end) {
            let place = &mut self.units[*index];
            if place.is_none() {
                *place = Some(unit);
                self.missing -= 1;
            }
        }
    }

    /// Returns the units that have entries in the index.
    fn by_index(
        &mut self,
        dwarf: &Dwarf<'_>,
        limits: &mut Limits<'_>,
    ) -> Result<HashSet<DebugInfoOffset>, NoLines> {
        let mut indexed = HashSet::new();
        let mut headers = dwarf.debug_aranges.headers();
        let mut steps = Steps::new(STEP, limits.goes_on);
        while let Some(header) = headers.next()? {
            let unit = header.debug_info_offset();
            indexed.insert(unit);
            let mut entries = header.entries();
            while let Some(entry) = entries.next()? {
                let range = entry.range();
                self.range(range.begin, range.end, unit);
                steps.take()?;
            }
            if self.is_done() {
                break;
            }
        }
        Ok(indexed)
    }

    fn by_units(
        &mut self,
        dwarf: &Dwarf<'_>,
        indexed: &HashSet<DebugInfoOffset>,
        limits: &mut Limits<'_>,
    ) -> Result<(), NoLines> {
        let mut steps = Steps::new(STEP, limits.goes_on);
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            let Some(offset) = header.debug_info_offset() else { continue };
            if indexed.contains(&offset) {
                continue;
            }
            let unit = dwarf.unit(header)?;
            let mut ranges = dwarf.unit_ranges(&unit)?;
            while let Some(range) = ranges.next()? {
                self.range(range.begin, range.end, offset);
                steps.take()?;
            }
            if self.is_done() {
                break;
            }
            steps.ask()?;
        }
        Ok(())
    }
}
