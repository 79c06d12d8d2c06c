//! Collapsed stacks: a line for each.

use super::names::{NO_STACK, OTHER_STACKS, title};
use crate::label::printable;
use crate::stall::{Frames, StackKey, StackSum};

/// The numbers are microseconds.
const NANOS: u64 = 1000;

/// Rows of a stack with several causes or runtimes are several lines, which readers add up.
pub(super) fn line((key, sum): &(StackKey, StackSum)) -> String {
    format!("{} {}\n", stack(key), sum.time.div_ceil(NANOS))
}

/// The handler and the frames, outermost first.
fn stack(key: &StackKey) -> String {
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
