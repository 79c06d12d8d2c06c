//! What a stall does at a later look.
//!
//! The stack of the threshold shows one moment. A poll that lasts may be somewhere else by now: it is looked at
//! again each time that it has doubled its time, and what differs is kept beside the first.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::awaits::Awaits;
use super::cause::Cause;
use super::frames::{Site, Stack};
use super::held_by::{Degree, HeldBy};
use super::hints::{Hints, Situation};
use super::stack_result::StackResult;
use crate::clock::human;

/// What a stall does at a later look, where that is not what it did before.
///
/// Looks begin once the stall of a marked poll has lasted for 1 s, and are repeated each time that it has doubled its
/// time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaterSample {
    /// How long the stall had lasted.
    pub after: Duration,
    /// What the thread did.
    pub cause: Cause,
    /// What it waited for, where the system tells.
    pub detail: Option<String>,
    /// One line on how to fix it.
    pub fix: Cow<'static, str>,
    /// Where in your own code the thread was.
    pub site: Option<Site>,
    /// The stack of the thread.
    pub stack: Option<Arc<Stack>>,
    /// Why there is no stack, only a part of one, or one without lines; else `None`.
    pub stack_missing: Option<Cow<'static, str>>,
    /// How the poll got to what blocks; `None` without a stack, and where no frame of yours is on it.
    pub awaits: Option<Arc<Awaits>>,
    /// Who has the lock that the thread waits for; `None` where that was not looked for. Filled in later.
    pub held_by: Option<HeldBy>,
}

/// A later sample of a live stall.
#[derive(Debug)]
pub(crate) struct LiveSample {
    after: Duration,
    situation: Situation,
    detail: Option<String>,
    result: StackResult,
    pub(super) holder: LiveHolder,
}

/// Who has what a thread waits for, which is known later or never.
#[derive(Debug, Default)]
pub(super) struct LiveHolder {
    /// What was found out first, if that is not who.
    unknown: OnceLock<HeldBy>,
    known: OnceLock<HeldBy>,
}

impl LiveHolder {
    /// The first to know is right.
    pub(super) fn set(&self, held_by: HeldBy) {
        let is_known = held_by.degree != Degree::Unknown;
        drop(if is_known { &self.known } else { &self.unknown }.set(held_by));
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    pub(super) fn get(&self) -> Option<&HeldBy> {
        self.known.get().or_else(|| self.unknown.get())
    }
}

impl LiveSample {
    pub(crate) fn new(
        after: Duration,
        situation: Situation,
        detail: Option<String>,
        result: StackResult,
    ) -> Self {
        Self { after, situation, detail, result, holder: LiveHolder::default() }
    }

    #[cfg(test)]
    pub(super) fn result(self) -> StackResult {
        self.result
    }

    pub(super) fn cause(&self) -> Cause {
        self.situation.cause()
    }

    pub(super) fn site(&self) -> Option<&Site> {
        self.result.site.as_ref()
    }

    /// Whether it shows no more than that cause and site. What computes moves from line to line of one function,
    /// and may wait for a moment there.
    pub(super) fn is_like(&self, cause: Cause, site: Option<&Site>) -> bool {
        let moves = |cause| matches!(cause, Cause::Cpu | Cause::Blocked | Cause::Unknown);
        let both_move = moves(self.cause()) && moves(cause);
        let same_site = match (self.site(), site) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(new), Some(old)) if both_move => {
                (&new.function, &new.file) == (&old.function, &old.file)
            }
            (Some(new), Some(old)) => new == old,
        };
        (both_move || self.cause() == cause) && same_site
    }

    /// The sample as it stands.
    pub(super) fn sample(&self) -> LaterSample {
        let StackResult { site, hints, stack, awaits, missing, .. } = self.result.clone();
        let held_by = self.holder.get().cloned();
        LaterSample {
            after: self.after,
            cause: self.cause(),
            detail: self.detail.clone(),
            fix: fix(self.situation, hints, held_by.as_ref()).into(),
            site,
            stack,
            stack_missing: missing.map(Cow::Borrowed),
            awaits,
            held_by,
        }
    }
}

/// When, why and where: `after 1.703 s lock (futex) at src/report.rs:14 in app::report`.
impl fmt::Display for LaterSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} {}", human(self.after), self.cause)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        if let Some(site) = &self.site {
            write!(f, " at {site}")?;
        }
        Ok(())
    }
}

/// The closest fix that is known.
pub(super) fn fix(situation: Situation, hints: Hints, held_by: Option<&HeldBy>) -> &'static str {
    let by_holder = held_by.and_then(HeldBy::fix);
    by_holder.or_else(|| hints.fix(situation)).unwrap_or(situation.fix())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(function: &str, line: u32) -> Site {
        Site { function: function.into(), file: Some("src/main.rs".into()), line: Some(line) }
    }

    #[test]
    fn what_is_new_is_another_cause_or_another_site() {
        let sample = |cause, site| {
            let result = StackResult { site, ..StackResult::default() };
            LiveSample::new(Duration::ZERO, Situation::Of(cause), None, result)
        };
        let (load, store) = (site("app::load", 7), site("app::store", 20));
        let next = site("app::load", 8);
        for (cause, at, before, was_at, is_like) in [
            (Cause::Sleep, Some(&load), Cause::Sleep, Some(&load), true),
            (Cause::Sleep, Some(&next), Cause::Sleep, Some(&load), false),
            (Cause::Sleep, Some(&load), Cause::Sleep, None, false),
            (Cause::Sleep, None, Cause::Sleep, Some(&load), true),
            (Cause::Lock, None, Cause::Sleep, Some(&load), false),
            (Cause::Lock, Some(&load), Cause::Sleep, Some(&load), false),
            (Cause::Cpu, Some(&next), Cause::Cpu, Some(&load), true),
            (Cause::Cpu, Some(&next), Cause::Blocked, Some(&load), true),
            (Cause::Cpu, Some(&store), Cause::Cpu, Some(&load), false),
            (Cause::Cpu, Some(&load), Cause::Sleep, Some(&load), false),
        ] {
            let found = sample(cause, at.cloned()).is_like(before, was_at);
            assert_eq!(found, is_like, "{cause} at {at:?} after {before} at {was_at:?}");
        }
    }
}
