//! What is known not to be right yet.

use crate::build::Build;
use crate::judge::Verdict;

/// A miss, and why it is one. Nothing wrong may stand here: no other handler, site or cause.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The name of the case.
    pub case: &'static str,
    /// The build that it is missed in.
    pub build: Build,
    /// What it is instead of right.
    pub verdict: Verdict,
    /// Whether it is right at times. A miss that is always one has to be taken off when it is right.
    pub at_times: bool,
    /// The reason.
    pub why: &'static str,
}

/// The misses. A test fails when one of them is right.
pub const KNOWN: &[Known] = &[];
