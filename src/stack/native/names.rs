//! Names, files and lines for addresses, and what of them is remembered.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::debug_info::{self, Limits, Location, Program};
use super::images;
use super::pace::Pace;
use crate::stack::mode::Symbols;
use crate::stack::raw::{CodeAddress, Image, NoLines, RawStack, Way};
use crate::stack::user_frame::OwnCode;
use crate::stall::{Frame, Stack, StackDetail};
use crate::sync::AtomicBool;

/// Addresses that are remembered. When there are more, those are forgotten whose frames no stack holds
/// any longer: what is held costs no more if it is remembered, and is shared by the next stack.
const MOST_REMEMBERED: usize = 1024;

/// Looks up addresses, and remembers what was found.
#[derive(Debug)]
pub(in crate::stack) struct Names {
    wanted: Symbols,
    pace: Pace,
    known: Known,
}

#[derive(Debug, Default)]
struct Known {
    frames: HashMap<Key, Box<[Arc<Frame>]>>,
    own: OwnCode,
    /// Why those of the program have no lines.
    no_lines: Option<NoLines>,
}

/// An address, and the listing of its module: another one may have its place later.
/// And whether it was guessed, which is a matter of the stack.
type Key = (u64, u64, bool);

/// The addresses of a stack that are from the same module.
struct OfModule<'a> {
    image: &'a Image,
    code: Vec<&'a CodeAddress>,
}

impl Names {
    /// `own` need not know the program's crate. `stops` is set when the detector stops: from
    /// then on names are found without rests.
    pub(in crate::stack) fn new(wanted: Symbols, own: OwnCode, stops: Arc<AtomicBool>) -> Self {
        let known = Known { own, ..Known::default() };
        Self { wanted, pace: Pace::new(stops), known }
    }

    /// What frames show in this build, as far as that can be told before the first one.
    pub(in crate::stack) fn detail(&mut self) -> StackDetail {
        let Self { wanted, known, .. } = self;
        let Some(program) = this_program() else {
            return StackDetail::Offsets(NoLines::NoFile.as_str());
        };
        known.own.program.clone_from(&program.name);
        let no_lines = match wanted {
            Symbols::Functions | Symbols::Addresses => Some(NoLines::NotWanted),
            Symbols::Auto | Symbols::Lines => program.no_lines,
        };
        let has_names = program.has_symbols && *wanted != Symbols::Addresses;
        match no_lines {
            None => StackDetail::Lines,
            Some(why) if has_names => StackDetail::Functions(why.as_str()),
            Some(why) => StackDetail::Offsets(why.as_str()),
        }
    }

    /// The stack with names; functions that were inlined have frames of their own. `named` is
    /// called whenever more frames have their names, with all from the innermost on that do, until
    /// it returns `true`.
    ///
    /// Also returns why lines are missing.
    pub(in crate::stack) fn symbolize(
        &mut self,
        stack: &RawStack,
        mut named: impl FnMut(&[Arc<Frame>]) -> bool,
    ) -> (Stack, Option<NoLines>) {
        let Self { wanted, pace, known } = self;
        if *wanted == Symbols::Addresses {
            return (known.stack(stack), Some(NoLines::NotWanted));
        }
        let unknown = known.unknown(stack);
        if unknown.is_empty() {
            return (known.stack(stack), known.no_lines);
        }
        let left = pace.begin();
        let memory = match wanted {
            Symbols::Auto => left.ok_or(NoLines::TooLarge),
            Symbols::Lines => Ok(u64::MAX),
            Symbols::Functions | Symbols::Addresses => Err(NoLines::NotWanted),
        };
        let mut goes_on = || pace.keep();
        let (lines, bytes) = (memory.is_ok(), memory.unwrap_or(0));
        let mut limits = Limits { lines, memory: bytes, goes_on: &mut goes_on };
        let found = known.look_up(stack, &unknown, &mut limits, &mut named);
        let no_lines = memory.err().or(found.err());
        let named = known.stack(stack);
        if no_lines == Some(NoLines::TooLarge) {
            // Another time there may be more.
            let new = unknown.iter().flat_map(|module| &module.code);
            new.for_each(|code| drop(known.frames.remove(&key(code))));
        } else {
            known.no_lines = no_lines;
        }
        (named, no_lines)
    }
}

impl Known {
    /// Looks up what is not known yet.
    ///
    /// # Errors
    ///
    /// Why frames of the program have no lines. Nothing is to be expected of a library of the system.
    fn look_up(
        &mut self,
        stack: &RawStack,
        unknown: &[OfModule<'_>],
        limits: &mut Limits<'_>,
        named: &mut dyn FnMut(&[Arc<Frame>]) -> bool,
    ) -> Result<(), NoLines> {
        if self.frames.len() + stack.frames.len() > MOST_REMEMBERED {
            let is_needed = |known: &Key| stack.frames.iter().any(|code| key(code) == *known);
            let is_held =
                |frames: &[Arc<Frame>]| frames.iter().any(|one| Arc::strong_count(one) > 1);
            self.frames.retain(|known, frames| is_held(frames) || is_needed(known));
        }
        let mut result = self.no_lines.map_or(Ok(()), Err);
        let mut is_done = false;
        for OfModule { image, code } in unknown {
            let in_file: Vec<u64> =
                code.iter().map(|code| code.lookup().wrapping_sub(image.base)).collect();
            let mut found = |index: usize, locations: Vec<Location>| {
                let frames = frames(code[index], locations, &self.own);
                self.frames.insert(key(code[index]), frames);
                if !is_done {
                    let done = stack.frames.iter().map_while(|code| self.frames.get(&key(code)));
                    let done: Vec<_> = done.flat_map(|frames| frames.iter().cloned()).collect();
                    is_done = named(&done);
                }
            };
            let lines = debug_info::locations(image, &in_file, limits, &mut found);
            if image.is_program {
                result = lines;
            }
        }
        result
    }

    /// The stack, with what is known of its frames.
    fn stack(&self, raw: &RawStack) -> Stack {
        let mut frames = Vec::with_capacity(raw.frames.len());
        for code in &raw.frames {
            match self.frames.get(&key(code)) {
                Some(known) => frames.extend(known.iter().cloned()),
                None => frames.push(Arc::new(nameless(code))),
            }
        }
        frames.shrink_to_fit();
        let by_signal = raw.way == Way::Signal;
        Stack { frames, partial: raw.partial, thread: raw.thread, by_signal }
    }

    /// What is to be looked up, in the order of the frames.
    fn unknown<'a>(&self, stack: &'a RawStack) -> Vec<OfModule<'a>> {
        let mut modules: Vec<OfModule<'_>> = Vec::new();
        for code in stack.frames.iter().filter(|code| !self.frames.contains_key(&key(code))) {
            let Some(image) = code.image.as_deref() else { continue };
            match modules.iter_mut().find(|known| known.image == image) {
                Some(known) => known.code.push(code),
                None => modules.push(OfModule { image, code: vec![code] }),
            }
        }
        modules
    }
}

/// What this program's file tells of it, read once.
fn this_program() -> Option<&'static Program> {
    static PROGRAM: OnceLock<Option<Program>> = OnceLock::new();
    PROGRAM.get_or_init(|| Some(Program::read(&images::program()?))).as_ref()
}

fn key(code: &CodeAddress) -> Key {
    let listing = code.image.as_ref().map_or(0, |image| image.listing);
    (code.lookup(), listing, code.is_guessed)
}

/// Innermost first; all but the last were inlined. At least one.
fn frames(code: &CodeAddress, locations: Vec<Location>, own: &OwnCode) -> Box<[Arc<Frame>]> {
    let outermost = locations.len().saturating_sub(1);
    let frame = |(index, location): (usize, Location)| {
        let Location { function, file, line } = location;
        let inlined = index < outermost;
        let mut frame = Frame { function, file, line, inlined, ..nameless(code) };
        frame.own = own.has(&frame);
        Arc::new(frame)
    };
    if locations.is_empty() {
        return [Arc::new(nameless(code))].into();
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
        guessed: code.is_guessed,
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
        let code = |address| CodeAddress {
            address,
            is_return: false,
            image: Some(Arc::clone(&image)),
            is_guessed: false,
        };
        let frames = addresses.map(code).collect();
        RawStack { thread: 1, way: Way::Quiet, partial: false, given: None, frames }
    }

    #[test]
    fn an_address_without_symbol_keeps_module_and_offset() {
        let mut names = Names::new(Symbols::Auto, OwnCode::default(), Arc::default());
        let raw = stack([0x1234].into_iter());
        for _ in 0..2 {
            let (stack, why) = names.symbolize(&raw, |_| false);
            assert_eq!(stack.to_string(), "app+0x234 (build id dead01)\n");
            assert_eq!(why, Some(NoLines::NoFile), "each time");
        }
    }

    #[test]
    fn what_is_remembered_has_its_reason_too() {
        let mut names = Names::new(Symbols::Auto, OwnCode::default(), Arc::default());
        let raw = stack(0x1000..0x1008);
        for code in &raw.frames {
            names.known.frames.insert(key(code), frames(code, Vec::new(), &OwnCode::default()));
        }
        names.known.no_lines = Some(NoLines::NoDebugInfo);
        let (_, why) = names.symbolize(&raw, |_| panic!("nothing is looked up"));
        assert_eq!(why, Some(NoLines::NoDebugInfo));
    }

    #[test]
    fn stacks_share_their_frames_and_what_one_holds_is_not_forgotten() {
        let mut known = Known::default();
        let raw = stack(0x1000..0x1008);
        for code in &raw.frames {
            known.frames.insert(key(code), frames(code, Vec::new(), &OwnCode::default()));
        }
        let (one, two) = (known.stack(&raw), known.stack(&raw));
        let mut both = one.frames.iter().zip(&two.frames);
        assert!(both.all(|(one, two)| Arc::ptr_eq(one, two)));
        let mut limits = Limits { lines: true, memory: 0, goes_on: &mut || true };
        let more = stack(0x2000..0x2000 + MOST_REMEMBERED as u64);
        let mut look_up_more = |known: &mut Known| {
            assert!(known.look_up(&more, &[], &mut limits, &mut |_| false).is_ok());
        };
        look_up_more(&mut known);
        assert_eq!(known.frames.len(), raw.frames.len());
        assert!(Arc::ptr_eq(&known.stack(&raw).frames[0], &one.frames[0]));
        drop((one, two));
        look_up_more(&mut known);
        assert_eq!(known.frames.len(), 0);
    }

    #[test]
    fn frames_are_marked_as_the_users_own_or_not() {
        let own = |owns: &[&str]| {
            let at = Location { function: Some("app::load".into()), ..Location::default() };
            let own = OwnCode::new(Vec::new(), owns.iter().copied().map(String::from).collect());
            frames(&stack(0x1000..0x1001).frames[0], vec![at], &own)[0].own
        };
        assert!(own(&["app"]) && !own(&[]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Known::default();
        let kept = stack(0x1000..0x1008);
        let image = kept.frames[0].image.clone();
        for address in 0..MOST_REMEMBERED as u64 {
            let image = image.clone();
            let code = CodeAddress { address, is_return: false, image, is_guessed: false };
            known.frames.insert(key(&code), frames(&code, Vec::new(), &OwnCode::default()));
        }
        known
            .frames
            .insert(key(&kept.frames[0]), frames(&kept.frames[0], Vec::new(), &OwnCode::default()));
        let mut limits = Limits { lines: true, memory: 0, goes_on: &mut || true };
        let unknown = known.unknown(&kept);
        assert!(known.look_up(&kept, &unknown, &mut limits, &mut |_| false).is_err());
        assert_eq!(known.frames.len(), 1, "what the stack needs stays");
    }
}
