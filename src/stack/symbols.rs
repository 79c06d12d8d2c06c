//! Names, files and lines for addresses.
//!
//! Slow when an address is new: debug information is read and parsed, under a lock that is shared
//! with everyone who prints a backtrace by the same crate. For the reporter's thread alone.

use std::collections::HashMap;
use std::sync::Arc;

use super::raw::{CodeAddress, RawStack, Way};
use crate::stall::{Frame, Stack};
use crate::sync::{AtomicU64, Ordering};

/// Addresses that are remembered; when there are more, all are forgotten.
const MOST_REMEMBERED: usize = 4096;

/// Looks up addresses, and remembers what was found.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// By the address and the listing of its module.
    known: HashMap<(u64, u64), Arc<[Frame]>>,
}

/// The last listing that `backtrace` has seen, which the whole process shares.
static SEEN: AtomicU64 = AtomicU64::new(0);

impl Symbols {
    /// The stack with names; functions that were inlined have frames of their own.
    pub(crate) fn symbolize(&mut self, stack: &RawStack) -> Stack {
        let mut frames = Vec::new();
        for code in &stack.frames {
            frames.extend_from_slice(&self.frames(code));
        }
        let by_signal = stack.way == Way::Signal;
        Stack { frames, partial: stack.partial, thread: stack.thread, by_signal }
    }

    fn frames(&mut self, code: &CodeAddress) -> Arc<[Frame]> {
        let listing = code.image.as_ref().map_or(0, |image| image.listing);
        if SEEN.fetch_max(listing, Ordering::Relaxed) < listing {
            // `backtrace` lists modules once, and would not know this one.
            #[cfg(feature = "capture")]
            backtrace::clear_symbol_cache();
        }
        let key = (code.lookup(), listing);
        if let Some(frames) = self.known.get(&key) {
            return Arc::clone(frames);
        }
        if self.known.len() >= MOST_REMEMBERED {
            self.known.clear();
        }
        let frames: Arc<[Frame]> = resolve(code).into();
        self.known.insert(key, Arc::clone(&frames));
        frames
    }
}

#[cfg(not(feature = "capture"))]
fn resolve(code: &CodeAddress) -> Vec<Frame> {
    vec![nameless(code)]
}

/// Innermost first; all but the last were inlined. At least one.
#[cfg(feature = "capture")]
fn resolve(code: &CodeAddress) -> Vec<Frame> {
    let mut frames = frames_at(code, code.lookup());
    let is_lost = |inner: &&mut Frame| inner.file.is_some() && inner.line.is_none();
    if let Some(inner) = frames.first_mut().filter(is_lost) {
        near(code, inner);
    }
    match frames.last_mut() {
        Some(outermost) => outermost.inlined = false,
        None => frames.push(nameless(code)),
    }
    frames
}

/// Jumps and the like may belong to no line, and then not to the file either that is said to be
/// theirs: what is next to them in the same function is taken for them.
#[cfg(feature = "capture")]
fn near(code: &CodeAddress, frame: &mut Frame) {
    const BYTES: u64 = 16;
    frame.file = None;
    let next =
        (1..=BYTES).flat_map(|away| [code.lookup().saturating_sub(away), code.lookup() + away]);
    let mut next = next.filter_map(|address| frames_at(code, address).into_iter().next());
    let same = next.find(|next| next.line.is_some() && next.function == frame.function);
    if let Some(same) = same {
        (frame.file, frame.line) = (same.file, same.line);
    }
}

#[cfg(feature = "capture")]
fn frames_at(code: &CodeAddress, address: u64) -> Vec<Frame> {
    let mut frames = Vec::new();
    // It takes every address for a return address, and looks at the byte before.
    let after = address.wrapping_add(1);
    backtrace::resolve(after as *mut std::ffi::c_void, |symbol| {
        frames.push(Frame {
            // The alternate form leaves out the hash.
            function: symbol.name().map(|name| format!("{name:#}")),
            file: symbol.filename().map(|file| file.to_string_lossy().into_owned()),
            line: symbol.lineno(),
            inlined: true,
            ..nameless(code)
        });
    });
    frames
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
    use crate::stack::raw::Image;

    fn code(address: u64, is_return: bool) -> CodeAddress {
        let image =
            Image { name: "app".into(), base: 0x1000, build_id: Some("dead01".into()), listing: 1 };
        CodeAddress { address, is_return, image: Some(Arc::new(image)) }
    }

    #[cfg(feature = "capture")]
    #[test]
    fn functions_have_their_names_without_hashes() {
        let start = resolve as *const () as u64;
        let mut symbols = Symbols::default();
        let raw = RawStack {
            thread: 1,
            way: Way::Quiet,
            partial: true,
            given: None,
            // A return address at the begin of a function belongs to the function before.
            frames: vec![code(start, false), code(start + 1, true)],
        };
        let stack = symbols.symbolize(&raw);
        assert!(stack.partial);
        let outer: Vec<_> = stack.frames.iter().filter(|frame| !frame.inlined).collect();
        assert_eq!(outer.len(), 2);
        for frame in outer {
            let function = frame.function.as_deref().expect("tests have symbols");
            assert_eq!(function, "tower_stall::stack::symbols::resolve");
            assert_eq!(frame.build_id.as_deref(), Some("dead01"));
        }
        assert_eq!(symbols.symbolize(&raw), stack, "what is remembered is the same");
    }

    #[test]
    fn an_address_without_symbol_keeps_module_and_offset() {
        let stack = RawStack {
            thread: 1,
            way: Way::Quiet,
            partial: false,
            given: None,
            frames: vec![code(0x1234, false)],
        };
        let stack = Symbols::default().symbolize(&stack);
        assert_eq!(stack.to_string(), "app+0x234 (build id dead01)\n");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut symbols = Symbols::default();
        for address in 0..MOST_REMEMBERED as u64 + 10 {
            symbols.frames(&code(0x1000 + address, false));
        }
        assert!(symbols.known.len() <= MOST_REMEMBERED);
    }
}
