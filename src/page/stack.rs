//! The frames of a stack that belong to the handler.

use std::sync::Arc;

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
