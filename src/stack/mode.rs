//! The setting that says how stacks are taken.

use std::fmt;
use std::str::FromStr;

/// Whether and how the stack of a blocked thread is taken.
///
/// A thread that waits in the kernel is never disturbed: its stack is read from outside. A thread
/// that computes is stopped for some ten microseconds by a signal (SIGURG). The kernel sends it when
/// the thread returns to its own code, so it interrupts no system call. Where the kernel is older
/// than 5.9 or refuses the timer, this process sends the signal to a thread that was just seen to
/// use the CPU. If the thread begins to wait in the few microseconds before the signal arrives, a
/// system call that returns early for signals does so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capture {
    /// From outside if the thread waits, by a signal if it computes.
    #[default]
    Auto,
    /// Only from outside: no handler is installed, no signal is sent, and a thread that computes has
    /// no stack.
    NoSignal,
    /// No stacks.
    Off,
}

impl Capture {
    /// The value in `TOWER_STALL_CAPTURE`: `auto`, `no-signal` or `off`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::NoSignal => "no-signal",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of `auto`, `no-signal`, `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of auto, no-signal, off")]
pub struct ParseCaptureError(());

impl FromStr for Capture {
    type Err = ParseCaptureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Auto, Self::NoSignal, Self::Off];
        all.into_iter().find(|mode| mode.as_str() == text).ok_or(ParseCaptureError(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for mode in [Capture::Auto, Capture::NoSignal, Capture::Off] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for text in ["", "Auto", "no_signal", "on"] {
            let error = text.parse::<Capture>().expect_err(text).to_string();
            assert_eq!(error, "not one of auto, no-signal, off");
        }
    }
}
