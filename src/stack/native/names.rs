//! Names, files and lines for addresses, and what of them is remembered.

use std::collections::HashMap;
use std::sync::Arc;

use super::debug_info::{self, Limits, Location};
use super::pace::Pace;
use crate::stack::mode::Symbols;
use crate::stack::raw::{CodeAddress, Image, NoLines, RawStack, Way};
use crate::stall::{Frame, Stack};
use crate::sync::AtomicBool;

/// Addresses that are remembered; when there are more, all are forgotten.
const MOST_REMEMBERED: usize = 1024;

/// Looks up addresses, and remembers what was found.
#[derive(Debug)]
pub(in crate::stack) struct Names {
    wanted: Symbols,
    pace: Pace,
    known: Known,
}

#[derive(Debug, Default)]
struct Known(HashMap<Key, Arc<[Frame]>>);

/// An address, and the listing of its module: another one may have its place later.
type Key = (u64, u64);

/// The addresses of a stack that are from the same module.
struct OfModule<'a> {
    image: &'a Image,
    code: Vec<&'a CodeAddress>,
}

impl Names {
    /// `stops` is set when the detector stops: from then on names are found without rests.
    pub(in crate::stack) fn new(wanted: Symbols, stops: Arc<AtomicBool>) -> Self {
        Self { wanted, pace: Pace::new(stops), known: Known::default() }
    }

    /// The stack with names; functions that were inlined have frames of their own. `named` is
    /// called whenever more frames have their names, with all from the innermost on that do.
    ///
    /// Also returns why lines are missing.
    pub(in crate::stack) fn symbolize(
        &mut self,
        stack: &RawStack,
        named: impl FnMut(&[Frame]),
    ) -> (Stack, Option<NoLines>) {
        let memory = self.pace.begin();
        let (memory, no_lines) = match self.wanted {
            Symbols::Auto => (memory, NoLines::TooLarge),
            Symbols::Lines => (Some(u64::MAX), NoLines::TooLarge),
            Symbols::Functions | Symbols::Addresses => (None, NoLines::NotWanted),
        };
        let pace = &mut self.pace;
        let mut goes_on = || {
            pace.keep();
            true
        };
        let mut limits =
            Limits { lines: memory.is_some(), memory: memory.unwrap_or(0), goes_on: &mut goes_on };
        let no_lines = memory.is_none().then_some(no_lines);
        if self.wanted == Symbols::Addresses {
            return (self.known.stack(stack), no_lines);
        }
        let why = self.known.symbolize(stack, &mut limits, named);
        let named = self.known.stack(stack);
        if no_lines == Some(NoLines::TooLarge)
            || matches!(why, Some(NoLines::TooLarge | NoLines::Ended))
        {
            // Another time there may be more.
            stack.frames.iter().for_each(|code| drop(self.known.0.remove(&key(code))));
        }
        (named, no_lines.or(why))
    }
}

impl Known {
    /// Looks up what is not known yet. Returns why the program's lines are missing.
    fn symbolize(
        &mut self,
        stack: &RawStack,
        limits: &mut Limits<'_>,
        mut named: impl FnMut(&[Frame]),
    ) -> Option<NoLines> {
        if self.0.len() + stack.frames.len() > MOST_REMEMBERED {
            self.0.clear();
        }
        let mut no_lines = None;
        for OfModule { image, code } in self.unknown(stack) {
            let in_file: Vec<u64> = code.iter().map(|code| code.lookup() - image.base).collect();
            let mut found = |index: usize, locations: Vec<Location>| {
                self.0.insert(key(code[index]), frames(code[index], locations));
                let done = stack.frames.iter().map_while(|code| self.0.get(&key(code)));
                let done: Vec<_> = done.flat_map(|frames| frames.iter().cloned()).collect();
                named(&done);
            };
            let lines = debug_info::locations(image, &in_file, limits, &mut found);
            // Nothing is to be expected of a library of the system.
            no_lines = no_lines.or(lines.err().filter(|_| image.is_program));
        }
        no_lines
    }

    /// The stack, with what is known of its frames.
    fn stack(&self, raw: &RawStack) -> Stack {
        let named = raw.frames.iter().map(|code| match self.0.get(&key(code)) {
            Some(frames) => Arc::clone(frames),
            None => frames(code, Vec::new()),
        });
        let frames = named.flat_map(|frames| frames.to_vec()).collect();
        let by_signal = raw.way == Way::Signal;
        Stack { frames, partial: raw.partial, thread: raw.thread, by_signal }
    }

    /// What is to be looked up, in the order of the frames.
    fn unknown<'a>(&self, stack: &'a RawStack) -> Vec<OfModule<'a>> {
        let mut modules: Vec<OfModule<'_>> = Vec::new();
        for code in stack.frames.iter().filter(|code| !self.0.contains_key(&key(code))) {
            let Some(image) = code.image.as_deref() else { continue };
            match modules.iter_mut().find(|known| known.image == image) {
                Some(known) => known.code.push(code),
                None => modules.push(OfModule { image, code: vec![code] }),
            }
        }
        modules
    }
}

fn key(code: &CodeAddress) -> Key {
    (code.lookup(), code.image.as_ref().map_or(0, |image| image.listing))
}

/// Innermost first; all but the last were inlined. At least one.
fn frames(code: &CodeAddress, locations: Vec<Location>) -> Arc<[Frame]> {
    let outermost = locations.len().saturating_sub(1);
    let frame = |(index, location): (usize, Location)| {
        let Location { function, file, line } = location;
        Frame { function, file, line, inlined: index < outermost, ..nameless(code) }
    };
    if locations.is_empty() {
        return [nameless(code)].into();
    }
    locations.into_iter().enumerate().map(frame).collect()
}

fn nameless(code: &CodeAddress) -> Frame {
    let image = code.image.as_deref();
    Frame {
        function: None,
        file: None,
        line: None,
        address: code.address,
        module: image.map(|image| image.name.clone()),
        offset: code.offset(),
        build_id: image.and_then(|image| image.build_id.clone()),
        inlined: false,
        own: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(addresses: impl Iterator<Item = u64>) -> RawStack {
        let image = Arc::new(Image {
            name: "app".into(),
            path: "/does/not/exist".into(),
            base: 0x1000,
            build_id: Some("dead01".into()),
            is_program: true,
            listing: 1,
        });
        let code =
            |address| CodeAddress { address, is_return: false, image: Some(Arc::clone(&image)) };
        let frames = addresses.map(code).collect();
        RawStack { thread: 1, way: Way::Quiet, partial: false, given: None, frames }
    }

    #[test]
    fn an_address_without_symbol_keeps_module_and_offset() {
        let mut symbols = Names::new(Symbols::Auto, Arc::default());
        let (stack, why) = symbols.symbolize(&stack([0x1234].into_iter()), |_| {});
        assert_eq!(stack.to_string(), "app+0x234 (build id dead01)\n");
        assert_eq!(why, Some(NoLines::NoFile));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Known::default();
        let image = stack(std::iter::once(0x1000)).frames.remove(0).image;
        for address in 0..MOST_REMEMBERED as u64 {
            let code = CodeAddress { address, is_return: false, image: image.clone() };
            known.0.insert(key(&code), frames(&code, Vec::new()));
        }
        let mut limits = Limits { lines: true, memory: 0, goes_on: &mut || true };
        known.symbolize(&stack(0x1000..0x1008), &mut limits, |_| {});
        assert!(known.0.len() <= 8);
    }
}
