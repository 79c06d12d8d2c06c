//! The message that a test fails with.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::clock::human;
use crate::stall::{Stack, Stall};

/// Stalls that are described in full.
const MOST: usize = 5;

pub(super) struct Found<'a> {
    pub(super) what: &'a str,
    pub(super) place: &'a Location<'a>,
    pub(super) threshold: Duration,
    /// Oldest first.
    pub(super) stalls: &'a [Stall],
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, place, threshold, stalls } = self;
        let (count, plural) = (stalls.len(), if stalls.len() == 1 { "" } else { "s" });
        writeln!(f, "{what} at {place}: {count} stall{plural} of {} or more", human(*threshold))?;
        for stall in stalls.iter().take(MOST) {
            tell(f, stall)?;
        }
        match count.saturating_sub(MOST) {
            0 => Ok(()),
            more => writeln!(f, "\nand {more} more"),
        }
    }
}

/// A stall in one line, without its place.
pub(super) struct Sentence<'a>(pub(super) &'a Stall);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stall { handler, runtime, cause, .. } = self.0;
        let verb = if self.0.in_progress { "has blocked" } else { "blocked" };
        write!(f, "{handler} {verb} ")?;
        match self.0.worker {
            Some(worker) => write!(f, "worker {worker} of runtime {runtime:?}")?,
            None => write!(f, "a thread of runtime {runtime:?} that is no worker")?,
        }
        write!(f, " for {}: {cause}", human(self.0.duration))?;
        match &self.0.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

fn tell(f: &mut fmt::Formatter<'_>, stall: &Stall) -> fmt::Result {
    write!(f, "\n{}", Sentence(stall))?;
    match &stall.site {
        Some(site) => writeln!(f, "\n  at {site}")?,
        None => writeln!(f)?,
    }
    writeln!(f, "  fix: {}", stall.fix)?;
    if let Some(stack) = &stall.stack {
        tell_stack(f, stack)?;
    }
    match &stall.stack_missing {
        Some(why) if stall.stack.is_some() => writeln!(f, "  the stack is not whole: {why}"),
        Some(why) => writeln!(f, "  no stack: {why}"),
        None => Ok(()),
    }
}

/// The frames as far as the first of the user's own, then those of the user's own alone.
fn tell_stack(f: &mut fmt::Formatter<'_>, stack: &Stack) -> fmt::Result {
    writeln!(f, "  stack:")?;
    let first = stack.frames.iter().position(|frame| frame.own);
    let inner = first.map_or(stack.frames.len(), |first| first + 1);
    let mut skipped = 0;
    for (at, frame) in stack.frames.iter().enumerate() {
        if at >= inner && !frame.own {
            skipped += 1;
            continue;
        }
        tell_skipped(f, skipped)?;
        skipped = 0;
        writeln!(f, "    {frame}")?;
    }
    tell_skipped(f, skipped)
}

fn tell_skipped(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    match count {
        0 => Ok(()),
        1 => writeln!(f, "    … 1 frame of others"),
        count => writeln!(f, "    … {count} frames of others"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::stall::{Cause, Frame, Site};

    fn frame(function: &str, line: u32) -> Frame {
        let file = Some("src/app.rs".into());
        Frame {
            own: function.starts_with("app::"),
            function: Some(function.to_owned()),
            file,
            line: Some(line),
            ..Frame::default()
        }
    }

    pub(in crate::testing) fn stall() -> Stall {
        let frames = [
            frame("std::thread::sleep", 1),
            frame("app::handler", 31),
            frame("tokio::runtime::run", 2),
            frame("core::ops::call", 3),
            frame("app::main", 7),
            frame("std::rt::start", 4),
        ];
        Stall {
            id: 1,
            runtime: "main".into(),
            worker: Some(2),
            handler: "GET /hello".into(),
            cause: Cause::Sleep,
            detail: Some("nanosleep, 5 s".into()),
            fix: Cause::Sleep.fix().into(),
            started_at: SystemTime::UNIX_EPOCH,
            duration: Duration::from_millis(104),
            in_progress: false,
            workers: 4,
            workers_stalled: 1,
            site: Some(Site {
                function: "app::handler".into(),
                file: Some("src/app.rs".into()),
                line: Some(31),
            }),
            stack: Some(Arc::new(Stack {
                frames: frames.map(Arc::new).into(),
                ..Stack::default()
            })),
            site_missing: None,
            last_seen: None,
            held_by: None,
            later: Vec::new(),
            stack_missing: None,
            awaits: None,
            is_complete: false,
            requests_in_flight: 1,
            requests_in_flight_at_end: None,
            delayed_requests: 0,
            trace_id: None,
        }
    }

    fn text(stalls: &[Stall]) -> String {
        let place = Location::caller();
        let threshold = Duration::from_millis(100);
        let text = Found { what: "NoStalls", place, threshold, stalls }.to_string();
        text.replace(&place.to_string(), "PLACE")
    }

    #[test]
    fn a_stall_is_told_with_the_frames_that_help() {
        assert_eq!(
            text(&[stall()]),
            r#"NoStalls at PLACE: 1 stall of 100 ms or more

GET /hello blocked worker 2 of runtime "main" for 104 ms: sleep (nanosleep, 5 s)
  at src/app.rs:31 in app::handler
  fix: use tokio::time::sleep(..).await
  stack:
    std::thread::sleep at src/app.rs:1
    app::handler at src/app.rs:31
    … 2 frames of others
    app::main at src/app.rs:7
    … 1 frame of others
"#
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let stall = Stall {
            worker: None,
            detail: None,
            site: None,
            stack: None,
            stack_missing: Some("the poll has ended".into()),
            in_progress: true,
            ..stall()
        };
        assert_eq!(
            text(&[stall]),
            r#"NoStalls at PLACE: 1 stall of 100 ms or more

GET /hello has blocked a thread of runtime "main" that is no worker for 104 ms: sleep
  fix: use tokio::time::sleep(..).await
  no stack: the poll has ended
"#
        );
    }

    #[test]
    fn many_are_counted() {
        let text = text(&vec![stall(); 8]);
        assert!(text.starts_with("NoStalls at PLACE: 8 stalls of"), "{text}");
        assert_eq!(text.matches("GET /hello blocked").count(), 5, "{text}");
        assert!(text.ends_with("\nand 3 more\n"), "{text}");
    }
}
