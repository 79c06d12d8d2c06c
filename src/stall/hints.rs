//! Closer fixes than that of a cause, as a stack shows them, and when each is one.

use super::cause::Cause;

/// What a thread does, as far as a fix depends on it: the cause, and for a pipe the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Situation {
    /// Anything but a pipe.
    Of(Cause),
    ReadsPipe,
    WritesPipe,
}

impl Situation {
    /// The fix where the stack shows none that is closer.
    pub(crate) const fn fix(self) -> &'static str {
        match self {
            Self::Of(cause) => cause.fix(),
            Self::ReadsPipe => {
                "read the pipe with tokio::process or tokio::net::unix::pipe, or in tokio::task::spawn_blocking(..)"
            }
            Self::WritesPipe => {
                "whoever reads the pipe is slow: write to it from a thread of its own, as tracing-appender's non_blocking does"
            }
        }
    }

    /// The cause that it is one of.
    pub(crate) const fn cause(self) -> Cause {
        match self {
            Self::Of(cause) => cause,
            Self::ReadsPipe | Self::WritesPipe => Cause::FileIo,
        }
    }

    const fn bit(self) -> u32 {
        match self {
            Self::Of(cause) => 1 << cause as u32,
            Self::ReadsPipe => 1 << Cause::ALL.len(),
            Self::WritesPipe => 2 << Cause::ALL.len(),
        }
    }
}

/// A set of situations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Situations(u32);

impl Situations {
    pub(crate) const fn of(situations: &[Situation]) -> Self {
        let mut all = Self(0);
        let mut at = 0;
        while at < situations.len() {
            all.0 |= situations[at].bit();
            at += 1;
        }
        all
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, situation: Situation) -> bool {
        self.0 & situation.bit() != 0
    }
}

/// Fixes by what blocks, those of the user's nearest callee first. Which of them is one depends on what
/// the thread does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints(Vec<(Situations, &'static str)>);

impl Hints {
    /// The first that is a fix in that situation.
    pub(crate) fn fix(&self, situation: Situation) -> Option<&'static str> {
        self.0.iter().find(|(situations, _)| situations.has(situation)).map(|(_, fix)| *fix)
    }
}

impl FromIterator<(Situations, &'static str)> for Hints {
    fn from_iter<I: IntoIterator<Item = (Situations, &'static str)>>(hints: I) -> Self {
        Self(hints.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_situation_is_another_one() {
        let all = Cause::ALL.map(Situation::Of);
        let all = all.into_iter().chain([Situation::ReadsPipe, Situation::WritesPipe]);
        for situation in all.clone() {
            let only = Situations::of(&[situation]);
            assert!(all.clone().all(|other| only.has(other) == (other == situation)));
        }
    }

    #[test]
    fn the_first_that_fits_is_the_fix() {
        let [cpu, lock] = [Situation::Of(Cause::Cpu), Situation::Of(Cause::Lock)];
        let both = Situations::of(&[cpu]).and(Situations::of(&[lock]));
        let hints: Hints =
            [(Situations::of(&[lock]), "lock"), (both, "both")].into_iter().collect();
        assert_eq!(hints.fix(cpu), Some("both"));
        assert_eq!(hints.fix(lock), Some("lock"));
        assert_eq!(hints.fix(Situation::ReadsPipe), None);
    }
}
