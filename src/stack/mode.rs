//! The setting.

use std::fmt;
use std::str::FromStr;

/// Whether, and how, the stack of a thread that is stuck is taken.
///
/// A thread that waits in the kernel is never disturbed: its stack is read from outside. A thread
/// that computes has to be stopped for some ten microseconds, by a signal (SIGURG), which is sent
/// only if the kernel has just said that the thread runs, and it was seen to use the CPU since it
/// waited last. Should it begin to wait in the few microseconds before the signal arrives, then a
/// call that returns early for a signal does so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capture {
    /// From outside where the thread waits, by a signal where it computes.
    #[default]
    Auto,
    /// From outside alone: no handler is installed and no signal sent, and there is no stack of a
    /// thread that computes.
    NoSignal,
    /// No stacks.
    Off,
}

impl Capture {
    /// How it is written in `TOWER_STALL_CAPTURE`: `auto`, `no-signal`, `off`.
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
