//! Functions of a unit, and what was inlined into them.

use gimli::{AttributeValue, DebugInfoOffset, UnitOffset};

use super::file::demangle;
use super::types::{Bytes, Steps, Unit, UnitRef};
use crate::stack::raw::NoLines;

/// How many entries and ranges are read until it is asked whether to go on.
const STEP: usize = 256;
/// How far a name may be away: from the code to its function, to the declaration of that.
const MOST_HOPS: usize = 16;
/// How many functions at one address are kept: the outermost and so many that are inlined.
const MOST_INLINED: usize = 256;

/// What symbols call each closure, and each body of an async function or block, by the two ways of writing them.
const CLOSURES: [&str; 2] = ["{{closure}}", "{closure#"];
/// A poll of a pinned future by its symbol, and what it is called by itself where that is in a box.
const PINNED: &str = "<core::pin::Pin<P> as ";
const BOXED: &str = "poll<alloc::boxed::Box<";

/// One function at an address: the outermost, or one inlined into that before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    /// Whether the name has its path: line tables have the last part alone.
    pub(super) is_whole: bool,
    /// Where it was inlined.
    pub(super) call_file: Option<u64>,
    pub(super) call_line: Option<u32>,
}

/// The functions at each address, the outermost first. Reads the unit once.
pub(super) fn functions(
    unit: UnitRef<'_, '_>,
    addresses: &[u64],
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<Vec<Function>>, NoLines> {
    let mut steps = Steps::new(STEP, goes_on);
    let chains = chains(unit, addresses, &mut steps)?;
    let mut names = FunctionNames { unit, other: None, steps };
    let chain = |chain: Vec<UnitOffset>| chain.into_iter().map(|at| names.function(at)).collect();
    chains.into_iter().map(chain).collect()
}

/// The name of a function by its symbol, with what debug information calls it by itself, `short`. Of a closure that
/// says whether it is one, or the body of an async function or block; of a poll of a pinned future, that it is
/// in a box.
pub(super) fn told_apart(mut symbol: String, short: Option<&str>) -> String {
    let Some(short) = short else { return symbol };
    if short.starts_with(BOXED) && symbol.starts_with(PINNED) {
        return symbol.replacen("Pin<P>", "Pin<alloc::boxed::Box<_>>", 1);
    }
    let kind = short.split('<').next().unwrap_or_default();
    let is_kind = kind.starts_with("{async") || kind.starts_with("{closure#");
    let is_closure = |last: &str| CLOSURES.iter().any(|begin| last.starts_with(begin));
    if is_kind
        && (kind.ends_with('}') && symbol.ends_with('}'))
        && let Some((path, last)) = symbol.rsplit_once("::")
        && is_closure(last)
    {
        symbol.truncate(path.len() + "::".len());
        symbol.push_str(kind);
    }
    symbol
}

/// The entries of the functions at each address, the outermost first.
fn chains(
    unit: UnitRef<'_, '_>,
    addresses: &[u64],
    steps: &mut Steps<'_>,
) -> Result<Vec<Vec<UnitOffset>>, NoLines> {
    let mut chains = vec![Vec::new(); addresses.len()];
    let mut entries = unit.entries_raw(None)?;
    // How deep the function is that has one of the addresses and that the entry lies in.
    let mut within = None;
    while !entries.is_empty() {
        steps.take()?;
        let (at, depth) = (entries.next_offset(), entries.next_depth());
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        if within.is_some_and(|outer| depth <= outer) {
            within = None;
        }
        let is_inlined = match abbreviation.tag() {
            gimli::DW_TAG_subprogram => false,
            gimli::DW_TAG_inlined_subroutine if within.is_some() => true,
            _ => {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
        };
        let mut ranges = Ranges::default();
        for specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            ranges.read(unit, attribute.name(), attribute.value())?;
        }
        ranges.each(unit, |begin, end| {
            steps.take()?;
            for (chain, address) in chains.iter_mut().zip(addresses) {
                if begin != 0 && (begin..end).contains(address) && chain.last() != Some(&at) {
                    if !is_inlined {
                        chain.clear();
                        within = Some(depth);
                    }
                    if chain.len() < MOST_INLINED {
                        chain.push(at);
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(chains)
}

/// The code of one entry.
#[derive(Default)]
struct Ranges<'a> {
    begin: Option<u64>,
    end: Option<u64>,
    length: Option<u64>,
    list: Option<AttributeValue<Bytes<'a>>>,
}

impl<'a> Ranges<'a> {
    fn read(
        &mut self,
        unit: UnitRef<'a, '_>,
        name: gimli::DwAt,
        value: AttributeValue<Bytes<'a>>,
    ) -> gimli::Result<()> {
        match (name, value) {
            (gimli::DW_AT_low_pc, value) => self.begin = unit.attr_address(value)?,
            (gimli::DW_AT_high_pc, AttributeValue::Udata(length)) => self.length = Some(length),
            (gimli::DW_AT_high_pc, value) => self.end = unit.attr_address(value)?,
            (gimli::DW_AT_ranges, value) => self.list = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn each(
        &self,
        unit: UnitRef<'a, '_>,
        mut range: impl FnMut(u64, u64) -> Result<(), NoLines>,
    ) -> Result<(), NoLines> {
        if let Some(list) = self.list {
            let Some(mut ranges) = unit.attr_ranges(list)? else { return Ok(()) };
            while let Some(next) = ranges.next()? {
                range(next.begin, next.end)?;
            }
        } else if let Some(begin) = self.begin {
            let end = self.end.or_else(|| begin.checked_add(self.length?));
            range(begin, end.unwrap_or(begin))?;
        }
        Ok(())
    }
}

/// Reads names, those in other units too: a function may be inlined from one unit into another.
struct FunctionNames<'a, 'u, 's> {
    unit: UnitRef<'a, 'u>,
    /// The last other unit that a name was in.
    other: Option<Unit<'a>>,
    steps: Steps<'s>,
}

impl<'a> FunctionNames<'a, '_, '_> {
    fn function(&mut self, at: UnitOffset) -> Result<Function, NoLines> {
        self.steps.take()?;
        let mut function = Function::default();
        if let Ok(entry) = self.unit.entry(at) {
            let line = entry.attr_value(gimli::DW_AT_call_line).and_then(|line| line.udata_value());
            function.call_line =
                line.and_then(|line| u32::try_from(line).ok()).filter(|line| *line > 0);
            function.call_file = match entry.attr_value(gimli::DW_AT_call_file) {
                Some(AttributeValue::FileIndex(index)) => Some(index),
                value => value.and_then(|value| value.udata_value()),
            };
        }
        let at = at.to_debug_info_offset(&self.unit.header);
        if let Some((name, is_whole)) = at.and_then(|at| self.name(at)) {
            (function.name, function.is_whole) = (Some(name), is_whole);
        }
        // A search for another unit may have been ended.
        self.steps.ended()?;
        Ok(function)
    }

    /// The name of a function, and whether it has its path.
    fn name(&mut self, mut at: DebugInfoOffset) -> Option<(String, bool)> {
        let mut short = None;
        for _ in 0..MOST_HOPS {
            let dwarf = self.unit.dwarf;
            let unit = self.unit_of(at)?;
            let entry = unit.entry(at.to_unit_offset(&unit.header)?).ok()?;
            let first = |names: [_; 2]| names.into_iter().find_map(|name| entry.attr_value(name));
            let text = |value| Some(dwarf.attr_string(unit, value).ok()?.to_string_lossy());
            let linkage = first([gimli::DW_AT_linkage_name, gimli::DW_AT_MIPS_linkage_name]);
            short = short.or_else(|| text(entry.attr_value(gimli::DW_AT_name)?));
            if let Some(name) = linkage.and_then(text) {
                return Some((told_apart(demangle(&name), short.as_deref()), true));
            }
            at = match first([gimli::DW_AT_abstract_origin, gimli::DW_AT_specification]) {
                Some(AttributeValue::UnitRef(origin)) => {
                    origin.to_debug_info_offset(&unit.header)?
                }
                Some(AttributeValue::DebugInfoRef(origin)) => origin,
                _ => break,
            };
        }
        Some((demangle(&short?), false))
    }

    /// The unit that has an entry.
    fn unit_of(&mut self, at: DebugInfoOffset) -> Option<&Unit<'a>> {
        if at.to_unit_offset(&self.unit.header).is_some() {
            return Some(self.unit.unit);
        }
        let has_it = |unit: &Unit<'_>| at.to_unit_offset(&unit.header).is_some();
        if !self.other.as_ref().is_some_and(has_it) {
            let mut headers = self.unit.dwarf.units();
            let header = loop {
                self.steps.take().ok()?;
                let header = headers.next().ok()??;
                if at.to_unit_offset(&header).is_some() {
                    break header;
                }
            };
            self.other = Some(self.unit.dwarf.unit(header).ok()?);
        }
        self.other.as_ref()
    }
}
