//! How the taking of a stack went.

/// How it went: the label `outcome` of `tower_stall_captures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StackOutcome {
    /// The whole stack.
    Ok,
    /// The inner frames of it.
    Partial,
    /// None.
    Failed,
    /// None in time.
    Timeout,
    /// Nobody was asked: there were too many questions.
    Limited,
}

impl StackOutcome {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ok, Self::Partial, Self::Failed, Self::Timeout, Self::Limited];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Limited => "limited",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_label() {
        let labels: std::collections::BTreeSet<_> =
            StackOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(labels.len(), StackOutcome::ALL.len());
    }
}
