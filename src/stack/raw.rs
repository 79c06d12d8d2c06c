//! A stack whose frames have no names yet: the answer of the sampler.

use std::path::PathBuf;
use std::sync::Arc;

use crate::stall::{Degree, Holder, HoldingRole, NO_DEBUG_INFO, StackOutcome};

/// The answer to a [`StackRequest`](super::inbox::StackRequest).
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) outcome: StackOutcome,
    /// Why the stack or a part of it is missing; empty if it is whole.
    pub(crate) reason: &'static str,
    pub(crate) stack: Option<RawStack>,
}

/// A stack without names.
#[allow(dead_code, reason = "made only where stacks are taken")]
#[derive(Clone, Debug)]
pub(crate) struct RawStack {
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    pub(crate) way: Way,
    /// Whether outer frames are missing.
    pub(crate) partial: bool,
    /// The system call it is in, and what follows its name: what its pointer arguments say.
    pub(crate) given: Option<(&'static str, String)>,
    /// Innermost first.
    pub(crate) frames: Vec<CodeAddress>,
}

/// Who has what a thread waits for. Their frames have no names yet.
#[allow(dead_code, reason = "made only where stacks are taken")]
#[derive(Clone, Debug)]
pub(crate) struct RawHolding {
    pub(crate) holder: Holder,
    pub(crate) degree: Degree,
    pub(crate) threads: Vec<RawHolder>,
    pub(crate) threads_left_out: usize,
}

/// A thread that another one waits for.
#[allow(dead_code, reason = "made only where stacks are taken")]
#[derive(Clone, Debug)]
pub(crate) struct RawHolder {
    pub(crate) stack: RawStack,
    pub(crate) name: Option<String>,
    pub(crate) role: HoldingRole,
    /// The system call that it waits in.
    pub(crate) waits_in: Option<String>,
    /// What it polls.
    pub(crate) handler: Option<&'static str>,
}

/// A look at all threads has ended before its answer, as something else is more urgent.
#[allow(dead_code, reason = "made only where stacks are taken")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupted;

#[allow(dead_code, reason = "called only where stacks are taken")]
impl RawHolding {
    pub(crate) fn new(holder: Holder, degree: Degree) -> Self {
        Self { holder, degree, threads: Vec::new(), threads_left_out: 0 }
    }
}

/// How the stack was taken.
#[allow(dead_code, reason = "made only where stacks are taken")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// From outside, while the thread waited.
    Quiet,
    /// By a signal handler on the thread, while it computed.
    Signal,
}

impl Captured {
    #[allow(dead_code, reason = "called only where stacks are taken")]
    pub(crate) fn stack(stack: RawStack) -> Self {
        let (outcome, reason) = if stack.partial {
            (StackOutcome::Partial, "outer frames are missing")
        } else {
            (StackOutcome::Ok, "")
        };
        Self { outcome, reason, stack: Some(stack) }
    }

    pub(crate) fn without(outcome: StackOutcome, reason: &'static str) -> Self {
        Self { outcome, reason, stack: None }
    }

    pub(crate) fn failed(reason: &'static str) -> Self {
        Self::without(StackOutcome::Failed, reason)
    }
}

impl From<&'static str> for Captured {
    fn from(reason: &'static str) -> Self {
        Self::failed(reason)
    }
}

/// A module, as loaded when the stack was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The name of its file, without the folder.
    pub(crate) name: Arc<str>,
    /// Where its file is read.
    pub(crate) path: PathBuf,
    /// The address it was loaded at, relative to the addresses in its file.
    pub(crate) base: u64,
    /// In hexadecimal.
    pub(crate) build_id: Option<Arc<str>>,
    /// Whether it is the program itself and no library.
    pub(crate) is_program: bool,
    /// Larger for a module that was loaded later.
    pub(crate) listing: u64,
}

/// The code that a frame is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeAddress {
    pub(crate) address: u64,
    /// Whether `address` is a return address: the code after a call, and not the call itself.
    pub(crate) is_return: bool,
    pub(crate) image: Option<Arc<Image>>,
    /// Whether it was found by a look at the stack, not by unwind information.
    pub(crate) is_guessed: bool,
}

#[allow(dead_code, reason = "made only where stacks are taken")]
impl CodeAddress {
    /// The address to look up: inside the call, which may be the last instruction of its function.
    pub(crate) fn lookup(&self) -> u64 {
        self.address - u64::from(self.is_return)
    }

    /// The address in the file of the module.
    pub(crate) fn offset(&self) -> u64 {
        self.address.wrapping_sub(self.image.as_ref().map_or(0, |image| image.base))
    }
}

/// Why a stack has no lines.
#[allow(dead_code, reason = "made only where stacks are taken")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoLines {
    /// The file of the module cannot be read, or is another one by now.
    NoFile,
    /// It has no debug information, and there is no separate file with it.
    NoDebugInfo,
    /// There is not enough memory for it.
    TooLarge,
    /// It is broken, or compressed in a way that is not known here.
    Unreadable,
    /// The lookup took too long and was ended.
    Ended,
    /// By a setting.
    NotWanted,
}

impl NoLines {
    /// In words; `docs/capture.md` says what to do.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoFile => "no lines: the file of the program is gone",
            Self::NoDebugInfo => NO_DEBUG_INFO,
            Self::TooLarge => "no lines: too little memory is left",
            Self::Unreadable => "no lines: the debug information cannot be read",
            Self::Ended => "no lines: they take too long to find",
            Self::NotWanted => "no lines: they are left out by a setting",
        }
    }
}
