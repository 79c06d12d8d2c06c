//! What the health of the process is made of, and what it comes to.

/// Whether a runtime counts for the health of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Its freezes make the process not ready, and in the end dead.
    #[default]
    Count,
    /// It may freeze for as long as it likes: a runtime for computations, for example.
    Ignore,
}

/// What makes the process not ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// The start, a drain, what [`ready_when`](crate::StallDetector::ready_when) says, and
    /// freezes.
    #[default]
    Freezes,
    /// The same without freezes: for a service whose pods would all freeze at once, so that
    /// taking them out of rotation leaves none.
    StartAndDrain,
}

impl Readiness {
    pub(crate) const ALL: [(&'static str, Self); 2] =
        [("freezes", Self::Freezes), ("start-and-drain", Self::StartAndDrain)];
}

/// How the process does: what `/livez` and `/readyz` say.
///
/// Made by [`StallDetector::health`](crate::StallDetector::health).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// Why only a restart helps; `None` while the process is alive.
    pub dead: Option<String>,
    /// What does not go well, though the process is alive: stalls in progress, freezes.
    pub degraded: Option<String>,
    /// Why the process should not get requests now; `None` when it should.
    pub unready: Option<String>,
}

impl HealthReport {
    /// What a liveness probe wants to know.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.dead.is_none()
    }

    /// What a readiness probe wants to know.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready.is_none()
    }
}
