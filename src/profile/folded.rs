//! Collapsed stacks: a line for each.

use std::collections::BTreeMap;

use super::{NO_STACK, OTHER_STACKS, title};
use crate::label::printable;
use crate::stall::{Frames, StackKey, StackSum};

/// The numbers are microseconds.
const NANOS: u64 = 1000;

pub(super) fn write(rows: &[(StackKey, StackSum)]) -> String {
    // Causes and runtimes have no place in it.
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (key, sum) in rows {
        let time = lines.entry(stack(key)).or_default();
        *time = time.saturating_add(sum.time);
    }
    let line = |(stack, time): (String, u64)| format!("{stack} {}\n", time.div_ceil(NANOS));
    lines.into_iter().map(line).collect()
}

/// The handler and the frames, outermost first.
pub(super) fn stack(key: &StackKey) -> String {
    let mut stack = plain(key.handler);
    let mut push = |name: &str| {
        stack.push(';');
        stack.push_str(&plain(name));
    };
    match &key.frames {
        Frames::Known(frames) => frames.iter().rev().for_each(|frame| push(&title(frame))),
        Frames::Missing => push(NO_STACK),
        Frames::Other => push(OTHER_STACKS),
    }
    stack
}

/// A name without the separator of frames.
fn plain(name: &str) -> String {
    printable(name).replace(';', ":")
}
