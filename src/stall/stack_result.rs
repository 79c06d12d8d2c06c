//! The result of a request for a stack.

use std::sync::Arc;

use super::awaits::Awaits;
use super::frames::{Site, Stack};
use super::hints::Hints;

/// Declares the outcomes once: name, label and meaning.
macro_rules! outcomes {
    ($($outcome:ident $label:literal $doc:literal)*) => {
        /// The label `outcome` of `tower_stall_captures_total`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum StackOutcome { $(#[doc = $doc] $outcome),* }

        impl StackOutcome {
            /// Every outcome, in the order of their numbers.
            pub(crate) const ALL: [Self; Self::COUNT] = [$(Self::$outcome),*];
            /// How many there are.
            pub(crate) const COUNT: usize = [$($label),*].len();

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$outcome => $label),* }
            }
        }
    };
}

outcomes! {
    Ok "ok" "The whole stack."
    Partial "partial" "The inner frames of it."
    Failed "failed" "No stack."
    Timeout "timeout" "No stack in time."
    Limited "limited" "No stack was asked for: there were too many requests."
}

/// Why a stall that the environment caused has no stack.
pub(crate) const ENVIRONMENT: &str = "the environment caused the stall: no stack is taken";
/// Why a stall has no stack if the detector takes none.
pub(crate) const OFF: &str = "stacks are off";
/// Why a stall has no stack if nothing better is known.
pub(super) const NO_REASON: &str = "the stack could not be taken";
/// Why a stack has no lines.
pub(crate) const NO_DEBUG_INFO: &str =
    r#"no lines: the program has no debug information: add debug = "limited" to the profile"#;
/// Why a stack names no site.
pub(crate) const NO_OWN_FRAME: &str = "no frame of your own code is on the stack";

/// The result of a request for a stack.
#[derive(Clone, Debug, Default)]
pub(crate) struct StackResult {
    pub(crate) site: Option<Site>,
    /// Why the stack names no site.
    pub(crate) no_site: Option<&'static str>,
    /// Closer fixes than that of the cause, if the stack shows some.
    pub(crate) hints: Hints,
    /// The call it was in, and its arguments as text, to follow its name.
    pub(crate) given: Option<(&'static str, String)>,
    pub(crate) stack: Option<Arc<Stack>>,
    /// The chain of awaits that it shows.
    pub(crate) awaits: Option<Arc<Awaits>>,
    /// Why it is missing, only a part, or without lines.
    pub(crate) missing: Option<&'static str>,
    /// Whether there is no stack yet, but the next attempt may have one.
    pub(crate) may_come: bool,
    /// Where the last stall of the same handler and cause was, if this one has no stack for want of
    /// CPU time.
    pub(crate) last_seen: Option<Site>,
}

/// What becomes of a stack, in this order.
#[derive(Debug)]
pub(crate) enum StackNews {
    /// It was taken, or not. It has no names yet.
    Sampled(StackOutcome),
    /// The site is known, and closer fixes if there are some; further frames have no names yet.
    Located(Site, Hints),
    /// All is known. Comes last, and always.
    Named(StackResult),
}

impl StackResult {
    /// No stack, and why.
    pub(crate) fn missing(why: &'static str) -> Self {
        Self { missing: Some(why), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_label() {
        let labels: std::collections::BTreeSet<_> =
            StackOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(labels.len(), StackOutcome::COUNT);
    }
}
