//! The threads that have what a stall waits for.

use maud::{Markup, html};

use super::tables::{all_frames, frame, of_libraries};
use crate::label::printable;
use crate::stall::{HoldingRole, HoldingThread, Stack, Stall};

/// Each of them with its own frames and, one click away, all of them.
pub(super) fn holders(stall: &Stall) -> Markup {
    let threads = stall.last_held_by().into_iter().flat_map(|held_by| &held_by.threads);
    html! {
        @for (index, thread) in threads.enumerate() {
            div {
                h3 { @match (index, thread.role) {
                    (0, _) => "Who it waits for",
                    (_, HoldingRole::Works) => "Who else works for it",
                    _ => "Who that one waits for",
                } }
                ol class="stack chain" aria-label="Stack, outermost frame first" {
                    li class="begin" { (name(thread)) }
                    @if let Some(stack) = &thread.stack { (inward(stack)) }
                    li { @match &thread.waits_in {
                        Some(call) => { "waits in " (printable(call)) },
                        None => "computes",
                    } }
                }
                @if let Some(stack) = &thread.stack {
                    details id={ "holder-" (index) } class="more" {
                        summary { "The whole stack: " (stack.frames.len()) " frames" }
                        (all_frames(stack))
                    }
                }
            }
        }
    }
}

fn name(thread: &HoldingThread) -> String {
    match (&thread.handler, &thread.name) {
        (Some(handler), _) => printable(handler).into_owned(),
        // A thread that was given no name has that of the one that started it, as have others.
        (None, Some(name)) => format!("Thread {name:?}, {}", thread.thread),
        (None, None) => format!("Thread {}", thread.thread),
    }
}

/// The own frames of a stack from the outside inward, as in a chain of awaits.
fn inward(stack: &Stack) -> Markup {
    let inward: Vec<_> = stack.of_poll().iter().rev().collect();
    html! {
        @for frames in inward.chunk_by(|one, next| !one.own && !next.own) {
            @match frames {
                [own] if own.own => li { (frame(own)) },
                others => li class="others" { "… " (of_libraries(others.len())) },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stall::tests::stall;
    use crate::stall::{Degree, Frame, HeldBy, Holder, HoldingRole};

    #[test]
    fn each_holder_is_shown_from_the_outside_inward() {
        let frame = |function: &str| {
            let own = function.starts_with("app::");
            Arc::new(Frame { function: Some(function.to_owned()), own, ..Frame::default() })
        };
        let functions = ["nanosleep", "std::sleep", "app::<render>", "app::report", "axum::call"];
        let stack = Stack { frames: functions.map(frame).to_vec(), ..Stack::default() };
        let first = HoldingThread {
            thread: 7,
            name: Some("tokio-rt-worker".into()),
            role: HoldingRole::Holds,
            handler: Some("GET /report".into()),
            site: None,
            waits_in: Some("clock_nanosleep, 5 s".into()),
            stack: Some(Arc::new(stack)),
        };
        let second = HoldingThread {
            name: Some("auditor".into()),
            handler: None,
            waits_in: None,
            stack: None,
            ..first.clone()
        };
        let mut held_by = HeldBy::new(Holder::Deadlock, Degree::Certain);
        held_by.threads = vec![first, second];
        let shown = holders(&Stall { held_by: Some(held_by), ..stall(1) }).into_string();
        let places = [
            "Who it waits for",
            "GET /report",
            "app::report",
            "app::&lt;render&gt;",
            "… 2 frames of libraries",
            "waits in clock_nanosleep, 5 s",
            "The whole stack: 5 frames",
            "nanosleep",
            "axum::call",
            "Who that one waits for",
            "Thread &quot;auditor&quot;, 7",
            "computes",
        ];
        let mut at = 0;
        for text in places {
            at += shown[at..].find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
        }
        assert_eq!(holders(&stall(1)).into_string(), "");
    }
}
