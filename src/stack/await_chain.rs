//! The chain of awaits: the frames of one poll, from the task inward, as the functions that await one another.
//!
//! Polls are calls, so who awaits whom is on the stack, as far as it was taken and has names. A frame gives a link of
//! its own if it is the user's, or of a known combinator that the user's code polls; others are folded.

mod combinators;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::user_frame::path_of;
use crate::stall::{Await, AwaitKind, Awaits, Frame, Site, Stack, crate_of, fetched};
use combinators::{GLUE, named};

/// How many links there are at most, and how many of them are the first ones.
const MOST_LINKS: usize = 32;
const FIRST_LINKS: usize = 8;
/// How many crates a fold names.
const MOST_CRATES: usize = 4;
/// How many characters a name has.
const LONGEST_NAME: usize = 200;

/// Where polls of tasks begin. Their other modules are called by those that wait for a task.
const TASKS: [&str; 3] =
    ["tokio::runtime::task::core", "tokio::runtime::task::harness", "tokio::runtime::task::raw"];
/// Crates of the language.
const STANDARD: [&str; 3] = ["std", "core", "alloc"];

/// Why a chain may be short of functions.
const NOT_INLINED: &str = "without debug information inlined functions do not show";
const GUESSED: &str = "outer frames are guessed";
const PARTIAL: &str = "outer frames are missing";

/// The chain of a stack, or `None` where none of the user's own code shows. `has_lines`: the program has debug
/// information. Files are named without the directory.
pub(super) fn await_chain(
    stack: &Stack,
    has_lines: bool,
    directory: Option<&Path>,
) -> Option<Awaits> {
    let (end, is_begin) = begin(&stack.frames);
    let certain = stack.frames[..end].iter().position(|frame| frame.guessed);
    let inner = &stack.frames[..certain.unwrap_or(end)];
    let mut links = Links { frames: inner, directory, links: Vec::new() };
    let mut at = inner.len();
    while at > 0 {
        at = match inner[at - 1].own {
            true => links.own(at - 1),
            false => links.foreign(at),
        };
    }
    let links = bounded(links.links);
    let has_own = links.iter().any(|link| matches!(link.kind, AwaitKind::Async | AwaitKind::Call));
    let missing = match certain {
        Some(_) => Some(GUESSED),
        None if stack.partial && !is_begin => Some(PARTIAL),
        None => (!has_lines).then_some(NOT_INLINED),
    };
    has_own.then(|| Awaits { links, missing: missing.map(Into::into) })
}

/// How many frames belong to the poll, and whether its begin shows: at the task, or where a thread drives a
/// future.
fn begin(frames: &[Arc<Frame>]) -> (usize, bool) {
    let is_task = |frame: &Arc<Frame>| {
        let path = frame.code_path();
        let polls = frame.name().starts_with("poll") || frame.is_closure();
        polls && TASKS.iter().any(|module| path.is_in(module))
    };
    if let Some(task) = frames.iter().position(is_task) {
        return (task, true);
    }
    let drives = |frame: &Arc<Frame>| {
        frame.name().starts_with("block_on") && frame.code_path().is_in("tokio::runtime")
    };
    let Some(outermost) = frames.iter().rposition(drives) else { return (frames.len(), false) };
    // What lies between it and the future: closures, budgets, the standard library.
    let between = |frame: &Arc<Frame>| {
        let path = frame.code_path();
        path.is_in("tokio") || STANDARD.iter().any(|module| path.is_in(module))
    };
    let runs = frames[..outermost].iter().rposition(|frame| !between(frame)).map_or(0, |at| at + 1);
    let runtime =
        frames[runs..=outermost].iter().position(|frame| frame.code_path().is_in("tokio::runtime"));
    (runs + runtime.unwrap_or(0), true)
}

/// Links as they are found, outermost first.
struct Links<'a> {
    /// Innermost first.
    frames: &'a [Arc<Frame>],
    directory: Option<&'a Path>,
    links: Vec<Await>,
}

impl Links<'_> {
    /// Adds the link of a frame of the user's own. Returns how many frames are left.
    fn own(&mut self, at: usize) -> usize {
        let frame = &*self.frames[at];
        let (kind, function) = own_link(frame, &self.frames[at + 1..]);
        let mut site = Site { function, file: frame.file.clone(), line: frame.line };
        if let Some(directory) = self.directory {
            site.leave_out(directory);
        }
        let Site { function, file, line } = site;
        self.links.push(Await { file, line, ..Await::new(kind, function, 1) });
        at
    }

    /// Adds what stands for the frames up to the next one of the user's own. Returns how many frames are left.
    fn foreign(&mut self, end: usize) -> usize {
        let begin = self.frames[..end].iter().rposition(|frame| frame.own).map_or(0, |own| own + 1);
        let outwards = self.frames[begin..end].iter().rev().map(|frame| &**frame);
        // This crate's own frames are left out.
        let run: Vec<&Frame> =
            outwards.filter(|frame| !frame.code_path().is_in("tower_stall")).collect();
        // What the user's own code polls comes first: what is inside of other crates is not the user's.
        let glue = run.iter().take_while(|frame| GLUE.contains(&&*crate_name(frame))).count();
        let names = run[..glue].iter().map(|frame| named(frame));
        let rest = names.clone().rposition(|name| name.is_some()).map_or(0, |at| at + 1);
        let names = combinators::settled(names.flatten());
        let speaks = rest == 0 && run.iter().any(|frame| !is_standard(frame));
        self.links.extend(names.into_iter().map(|name| Await::new(AwaitKind::Combinator, name, 1)));
        let is_tip = begin == 0;
        if is_tip || glue < run.len() || speaks {
            self.fold(&run[rest..]);
        }
        begin
    }

    /// Adds one link for these frames, outermost first.
    fn fold(&mut self, frames: &[&Frame]) {
        let mut names = Vec::new();
        for frame in frames {
            let name = if is_standard(frame) { "std".into() } else { crate_name(frame) };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        // What every program stands on says nothing beside others.
        for everywhere in [&["libc", "linux-vdso"][..], GLUE, &STANDARD] {
            if names.iter().any(|name| !everywhere.contains(&&**name)) {
                names.retain(|name| !everywhere.contains(&&**name));
            }
        }
        let more = names.len() > MOST_CRATES;
        names.truncate(MOST_CRATES);
        let function = names.join(", ") + if more { ", …" } else { "" };
        if !frames.is_empty() {
            self.links.push(Await::new(AwaitKind::Library, function, frames.len()));
        }
    }
}

/// What a frame of the user's own is, and its name.
fn own_link(frame: &Frame, outer: &[Arc<Frame>]) -> (AwaitKind, String) {
    let function = frame.function.as_deref().unwrap_or_default();
    let last = frame.last_segment();
    let (kind, suffix) = if last.starts_with("{async_fn") {
        (AwaitKind::Async, "")
    } else if last.starts_with("{async_") {
        (AwaitKind::Async, "::{async block}")
    } else if last.starts_with("{closure#") && frame.file.is_some() {
        (AwaitKind::Call, "::{closure}")
    } else if frame.is_closure() {
        // By its symbol alone it may be an async body.
        let is_one = function.matches("{closure").count() == 1;
        let is_polled = outer.first().is_none_or(|outer| is_poll(outer));
        match is_one && is_polled {
            true => (AwaitKind::Async, ""),
            false => (AwaitKind::Call, "::{closure}"),
        }
    } else {
        (if is_poll(frame) { AwaitKind::Async } else { AwaitKind::Call }, "")
    };
    let mut name = path_of(frame, outer);
    match name.rsplit_once("::{") {
        // All that is known of it is its file.
        Some((file, number)) if number.contains('#') => {
            let kind = number.split('#').next().unwrap_or(number).replace('_', " ");
            name = format!("{file}::{{{kind}}}");
        }
        _ => name += suffix,
    }
    if let Some((end, _)) = name.char_indices().nth(LONGEST_NAME) {
        name.truncate(end);
        name.push('…');
    }
    (kind, name)
}

/// Whether it is the `poll` of a future or a stream, or the body of another async function.
fn is_poll(frame: &Frame) -> bool {
    let name = frame.name();
    name == "poll" || name.starts_with("poll_") || name == "try_poll" || frame.is_closure()
}

fn is_standard(frame: &Frame) -> bool {
    STANDARD.contains(&&*crate_name(frame))
}

/// The crate of a frame, or the library that it is in.
fn crate_name(frame: &Frame) -> Cow<'_, str> {
    let by_file = frame.file.as_deref().and_then(fetched).map(|fetched| fetched.name);
    let by_name = || frame.function.as_deref().and_then(crate_of).map(Cow::Borrowed);
    let by_module = || {
        let module = frame.module.as_deref()?;
        Some(Cow::Borrowed(module.split('.').next().unwrap_or(module)))
    };
    by_file.or_else(by_name).or_else(by_module).unwrap_or("unknown code".into())
}

/// Without the middle of a chain that is too long.
fn bounded(mut links: Vec<Await>) -> Vec<Await> {
    if links.len() > MOST_LINKS {
        let omitted = FIRST_LINKS..links.len() - (MOST_LINKS - FIRST_LINKS - 1);
        let frames = links[omitted.clone()].iter().map(|link| link.frames).sum();
        let text = format!("{} more links", omitted.len());
        links.splice(omitted, [Await::new(AwaitKind::Omitted, text, frames)]);
    }
    links
}

#[cfg(test)]
mod tests;
