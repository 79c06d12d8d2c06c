//! The settings that say how stacks are taken and what they show.

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

/// What the frames of a stack show.
///
/// Files, lines and inlined functions come from debug information, functions from the symbol table.
/// What is shown costs CPU time and memory when an address is new: see `docs/capture.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Symbols {
    /// Lines, or functions alone while little memory is left in the control group.
    #[default]
    Auto,
    /// Lines, whatever memory they take. Debug information that is compressed in its file takes its
    /// whole size.
    Lines,
    /// Functions alone.
    Functions,
    /// Addresses alone, for `addr2line` and the file of the build: no site is known.
    Addresses,
}

/// The words of a setting, as its variable has them.
macro_rules! words {
    ($setting:ident, $variable:literal, $error:ident, $list:literal: $($value:ident $word:literal)*) => {
        impl $setting {
            #[doc = concat!("The value in `", $variable, "`: one of ", $list, ".")]
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $word),* }
            }
        }

        impl fmt::Display for $setting {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[doc = concat!("The text is none of ", $list, ".")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[error("not one of {}", $list)]
        pub struct $error(());

        impl FromStr for $setting {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let all = [$(Self::$value),*];
                all.into_iter().find(|value| value.as_str() == text).ok_or($error(()))
            }
        }
    };
}

words! {
    Capture, "TOWER_STALL_CAPTURE", ParseCaptureError, "auto, no-signal, off":
    Auto "auto" NoSignal "no-signal" Off "off"
}

words! {
    Symbols, "TOWER_STALL_SYMBOLS", ParseSymbolsError, "auto, lines, functions, addresses":
    Auto "auto" Lines "lines" Functions "functions" Addresses "addresses"
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
        for mode in [Symbols::Auto, Symbols::Lines, Symbols::Functions, Symbols::Addresses] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let error = "full".parse::<Symbols>().expect_err("no such value").to_string();
        assert_eq!(error, "not one of auto, lines, functions, addresses");
    }
}
