//! How frames are named.

use crate::stall::Frame;

/// A frame as people write it, with the line of your own code.
pub(super) fn title(frame: &Frame) -> String {
    let Some(function) = &frame.function else { return frame.to_string() };
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) if frame.own => format!("{function} ({file}:{line})"),
        _ => function.clone(),
    }
}

/// What stands where frames are not known.
pub(super) const NO_STACK: &str = "(no stack)";
pub(super) const OTHER_STACKS: &str = "(other stacks)";
