//! The frames of a stack that belong to the handler, and how the flame graph names them.

use std::sync::Arc;

use crate::label::printable;
use crate::stall::{Frame, Stack};

/// The frames of the poll itself: not those of the runtime and the services around it.
///
/// The poll begins at the first frame of this crate. Frames further out are not the handler's.
pub(super) fn inside(stack: &Stack) -> &[Arc<Frame>] {
    let is_ours = |frame: &Arc<Frame>| {
        let function = frame.function.as_deref().unwrap_or_default();
        function.starts_with("tower_stall::") || function.starts_with("<tower_stall::")
    };
    let end = stack.frames.iter().position(is_ours).unwrap_or(stack.frames.len());
    let poll = &stack.frames[..end];
    match poll.iter().rposition(|frame| frame.own) {
        Some(outermost) => &poll[..=outermost],
        None => poll,
    }
}

/// A name in the flame graph: without the separator of frames.
pub(super) fn plain(name: &str) -> String {
    printable(name).replace(';', ":")
}

/// What the flame graph is asked for to show where a function is: a regular expression, as a part of a URL.
pub(super) fn search_for(function: &str) -> String {
    let mut search = String::new();
    for byte in plain(function).bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => search.push(byte.into()),
            // A backslash makes it stand for itself.
            0..=0x7f => search += &format!("%5C%{byte:02X}"),
            _ => search += &format!("%{byte:02X}"),
        }
    }
    search
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(functions: &[&str]) -> Stack {
        let frame = |function: &&str| {
            let (function, own) = ((*function).to_owned(), function.starts_with("app::"));
            Arc::new(Frame { function: Some(function), own, ..Frame::default() })
        };
        Stack { frames: functions.iter().map(frame).collect(), ..Stack::default() }
    }

    #[test]
    fn a_search_has_no_special_characters() {
        assert_eq!(search_for("app::load"), "app%5C%3A%5C%3Aload");
        assert_eq!(search_for("<T as F>::a;b"), "%5C%3CT%5C%20as%5C%20F%5C%3E%5C%3A%5C%3Aa%5C%3Ab");
        assert_eq!(search_for("größe"), "gr%C3%B6%C3%9Fe");
    }

    #[test]
    fn a_poll_ends_at_its_outermost_frame_of_the_users_inside_ours() {
        let all = ["nanosleep", "std::sleep", "app::load", "app::hello", "axum::call"];
        let outer = ["<tower_stall::layer::Future as F>::poll", "tokio::run", "app::main"];
        let whole = stack(&[&all[..], &outer[..]].concat());
        assert_eq!(inside(&whole), &whole.frames[..4]);
        let others = stack(&["nanosleep", "axum::call", "tower_stall::Watched::poll", "app::main"]);
        assert_eq!(inside(&others), &others.frames[..2]);
        let unmarked = stack(&["nanosleep", "app::task", "tokio::run"]);
        assert_eq!(inside(&unmarked), &unmarked.frames[..2]);
        assert_eq!(inside(&Stack::default()), []);
    }
}
