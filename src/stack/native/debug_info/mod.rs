//! What the files of a program tell about its code: functions, files and lines.
//!
//! A lookup maps a module's file, finds the units of debug information that have the addresses in
//! question, reads each of these units once from begin to end, and keeps only what it looks for. So
//! it needs little memory, however large the program is, and gives all of it back. Indexes as they
//! are made by `addr2line` or `blazesym` are faster for many addresses, and take memory by the size
//! of the program.

mod file;
mod functions;
#[cfg(fuzzing)]
pub(super) mod fuzz;
mod lines;
mod program;
mod split;
mod types;
mod units;

use std::ops::Range;

use gimli::{EndianSlice, LittleEndian};

use self::file::ObjectFile;
use self::functions::Function;
use self::lines::{Lines, Row};
use self::types::UnitRef;
pub(in crate::stack::native) use self::types::{Limits, Location};
use self::units::units;
use crate::stack::raw::{Image, NoLines};
use crate::stall::CodePath;

/// Finds out where code is from, by addresses as the file of the module counts them. `found` is
/// called once with the index of each address and its locations, the innermost inlined function
/// first: in the order of the addresses, except that those in one unit of debug information come
/// together. There are none for an address that nothing is known of.
///
/// # Errors
///
/// Why there are functions alone, or nothing.
pub(in crate::stack::native) fn locations(
    image: &Image,
    addresses: &[u64],
    limits: &mut Limits<'_>,
    found: &mut dyn FnMut(usize, Vec<Location>),
) -> Result<(), NoLines> {
    let mut file = ObjectFile::open(image)?;
    let mut is_found = vec![false; addresses.len()];
    let mut lines = Ok(());
    if limits.lines {
        lines = file.find_debug_info(image);
        if lines.is_ok() {
            // What is compressed costs time and memory each time: too much for a system library.
            let memory = if image.is_program { limits.memory } else { 0 };
            let mut goes_on = || (limits.goes_on)();
            let limits = &mut Limits { lines: true, memory, goes_on: &mut goes_on };
            lines = with_lines(&file, addresses, limits, &mut |index, locations| {
                is_found[index] = true;
                found(index, locations);
            });
        }
    }
    let symbols = if is_found.contains(&false) { file.functions(addresses) } else { Vec::new() };
    for (index, function) in symbols.into_iter().enumerate().filter(|(index, _)| !is_found[*index])
    {
        let location = |function| Location { function: Some(function), ..Location::default() };
        found(index, function.map(location).into_iter().collect());
    }
    lines
}

/// What the file of a program tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stack::native) struct Program {
    /// The crate that has its `main`.
    pub(in crate::stack::native) name: Option<String>,
    pub(in crate::stack::native) has_symbols: bool,
    /// Why there are no lines.
    pub(in crate::stack::native) no_lines: Option<NoLines>,
}

impl Program {
    /// Reads little of the file. What debug information is compressed counts as there.
    pub(in crate::stack::native) fn read(image: &Image) -> Self {
        let mut program = Self { name: None, has_symbols: false, no_lines: None };
        program.no_lines = program.read_file(image).err();
        program
    }

    fn read_file(&mut self, image: &Image) -> Result<(), NoLines> {
        let mut file = ObjectFile::open(image)?;
        self.name = file.program_crate();
        self.has_symbols = file.has_symbols();
        file.find_debug_info(image)?;
        let sections = match file.sections(&mut 0) {
            Err(NoLines::TooLarge) => return Ok(()),
            sections => sections?,
        };
        let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
        // The linker puts the program's own units first. Where they have none, the standard library's
        // may be there.
        let first = dwarf.units().next()?.ok_or(NoLines::NoDebugInfo)?;
        let unit = dwarf.unit(first)?;
        let name = unit.name.and_then(|name| std::str::from_utf8(name.slice()).ok());
        let is_of_std = name.is_some_and(|name| CodePath::in_std(name).is_some());
        if is_of_std { Err(NoLines::NoDebugInfo) } else { Ok(()) }
    }
}

/// The addresses of the function at an address, as the symbols of the module's file tell.
pub(in crate::stack::native) fn function_range(image: &Image, address: u64) -> Option<Range<u64>> {
    ObjectFile::open(image).ok()?.function_range(address)
}

/// The functions at addresses, as the symbols of the module's file tell. Those that were inlined do not show.
pub(in crate::stack) fn functions_at(image: &Image, addresses: &[u64]) -> Vec<Option<String>> {
    ObjectFile::open(image).map_or_else(|_| Vec::new(), |file| file.functions(addresses))
}

fn with_lines(
    file: &ObjectFile,
    addresses: &[u64],
    limits: &mut Limits<'_>,
    found: &mut dyn FnMut(usize, Vec<Location>),
) -> Result<(), NoLines> {
    let sections = file.sections(&mut limits.memory)?;
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    let mut symbols = None;
    for (offset, indexes) in units(&dwarf, addresses, limits)? {
        let of_unit: Vec<u64> = indexes.iter().map(|index| addresses[*index]).collect();
        let unit = dwarf.unit(dwarf.unit_header(offset)?)?;
        let rows = lines::lines(unit.unit_ref(&dwarf), &of_unit, limits.goes_on)?;
        let Limits { memory, goes_on, .. } = limits;
        let read = |functions: UnitRef<'_, '_>| {
            let lines = unit.unit_ref(&dwarf);
            UnitLocations { lines, functions, rows: &rows }.read(&of_unit, *goes_on)
        };
        let chains = split::with_functions(file, &dwarf, &unit, memory, read)?;
        for (index, (mut locations, is_whole)) in indexes.into_iter().zip(chains) {
            // Line tables have the last part of a path alone, where a symbol has all of it.
            if let Some(outermost) = locations.last_mut().filter(|_| !is_whole) {
                let symbols = symbols.get_or_insert_with(|| file.functions(addresses));
                let own = outermost.function.take();
                let symbol = symbols[index].clone();
                outermost.function =
                    symbol.map(|symbol| functions::told_apart(symbol, own.as_deref())).or(own);
            }
            found(index, locations);
        }
    }
    Ok(())
}

/// A unit of which some addresses are looked up.
struct UnitLocations<'l, 'f, 'u> {
    lines: UnitRef<'l, 'u>,
    /// The same unit, except where debug information is split.
    functions: UnitRef<'f, 'u>,
    rows: &'u [Lines],
}

impl UnitLocations<'_, '_, '_> {
    /// The locations of each address, innermost first, and whether the outermost function has its
    /// whole path.
    fn read(
        &self,
        addresses: &[u64],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<(Vec<Location>, bool)>, NoLines> {
        let near = self.rows.iter().flat_map(|lines| &lines.near).map(|row| row.address);
        let all: Vec<u64> = addresses.iter().copied().chain(near).collect();
        let mut chains = functions::functions(self.functions, &all, goes_on)?;
        let mut of_near = chains.split_off(addresses.len()).into_iter();
        let locations = chains.iter().zip(self.rows).map(|(chain, lines)| {
            let innermost = chain.last().and_then(|function| function.name.as_ref());
            let near = lines.near.iter().zip(of_near.by_ref());
            let is_same = |function: Option<&Function>| {
                function.and_then(|function| function.name.as_ref()) == innermost
            };
            let mut near = near.filter(|(_, chain)| is_same(chain.last())).map(|(row, _)| *row);
            let nearest = near.next();
            near.for_each(drop);
            let row = lines.row.filter(|row| row.line.is_some()).or(nearest);
            (self.locations(chain, row), chain.first().is_some_and(|outermost| outermost.is_whole))
        });
        Ok(locations.collect())
    }

    fn locations(&self, chain: &[Function], row: Option<Row>) -> Vec<Location> {
        let mut file = row.and_then(|row| lines::file(self.lines, row.file));
        let mut line = row.and_then(|row| row.line);
        if chain.is_empty() {
            return vec![Location { function: None, file, line }];
        }
        // A unit of functions may have a list of files of its own.
        let has_files = self.functions.line_program.is_some();
        let outwards = chain.iter().rev().map(|function| {
            let call = function.call_file.and_then(|index| match has_files {
                true => lines::file(self.functions, index),
                false => lines::file(self.lines, index),
            });
            let file = std::mem::replace(&mut file, call);
            let line = std::mem::replace(&mut line, function.call_line);
            Location { function: function.name.clone(), file, line }
        });
        outwards.collect()
    }
}

#[cfg(test)]
mod tests;
