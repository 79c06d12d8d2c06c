//! The public types of health.

use std::fmt;

/// Whether a runtime counts for the health of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Its freezes make the process not ready, and later dead.
    #[default]
    Count,
    /// Its freezes have no effect: for a runtime that runs computations, for example.
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

/// The health of the process: what `/livez` and `/readyz` say.
///
/// Made by [`StallDetector::health`](crate::StallDetector::health).
///
/// Shown as these routes show it, with the worst first: `dead: …`, `not ready: …`, `degraded: …` or
/// `ok`. With the feature `serde` it is serialized as they answer `?format=json`:
/// `{"status": "degraded", "reason": "…", "faults": [], "notices": []}`, where the reason of `ok` is null. To clients that
/// may not see the pages ([`pages_public`](crate::Builder::pages_public)) they do not tell the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// Why only a restart helps; `None` while the process is alive.
    pub dead: Option<String>,
    /// Stalls in progress and freezes that do not need a restart; `None` while there are none.
    pub degraded: Option<String>,
    /// Why the process should not get requests now; `None` when it should.
    pub unready: Option<String>,
    /// What has become of threads of the detector that are stuck or lost, or have panicked. It does not
    /// change whether the process is live or ready: what is not known is taken for good.
    pub faults: Vec<String>,
    /// What keeps log and stacks from being whole in this program, and what to do about it: a filter that
    /// drops our warnings, a build without debug information. Empty where all is as it should be.
    pub notices: Vec<String>,
}

impl HealthReport {
    /// Whether a liveness probe succeeds.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.dead.is_none()
    }

    /// Whether a readiness probe succeeds.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready.is_none()
    }

    /// The worst status that applies, without its reason.
    #[cfg(feature = "admin")]
    pub(crate) fn status(&self) -> &'static str {
        self.worst().0
    }

    /// The worst status that applies, and its reason.
    fn worst(&self) -> (&'static str, Option<&str>) {
        let found =
            [("dead", &self.dead), ("not ready", &self.unready), ("degraded", &self.degraded)];
        let found = found.into_iter().find_map(|(status, why)| Some((status, why.as_deref()?)));
        found.map_or(("ok", None), |(status, why)| (status, Some(why)))
    }
}

impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.worst() {
            (status, Some(reason)) => write!(f, "{status}: {reason}"),
            (status, None) => f.write_str(status),
        }
    }
}

#[cfg(feature = "serde")]
impl serde_core::Serialize for HealthReport {
    fn serialize<S: serde_core::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde_core::ser::SerializeStruct;

        let (status, reason) = self.worst();
        let mut fields = to.serialize_struct("HealthReport", 4)?;
        fields.serialize_field("status", status)?;
        fields.serialize_field("reason", &reason)?;
        fields.serialize_field("faults", &self.faults)?;
        fields.serialize_field("notices", &self.notices)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_shown() {
        let why = |reason: &str| Some(reason.to_owned());
        let mut report = HealthReport::default();
        assert_eq!(report.to_string(), "ok");
        report.degraded = why("a stall");
        assert_eq!(report.to_string(), "degraded: a stall");
        report.unready = why("draining");
        assert_eq!(report.to_string(), "not ready: draining");
        report.dead = why("frozen");
        assert_eq!(report.to_string(), "dead: frozen");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn programs_get_status_and_reason() {
        let json = |report: &HealthReport| serde_json::to_value(report).expect("plain data");
        let mut report = HealthReport::default();
        assert_eq!(
            json(&report),
            serde_json::json!({ "status": "ok", "reason": null, "faults": [], "notices": [] })
        );
        report.unready = Some("draining".to_owned());
        report.faults.push("stall-capture has ended".to_owned());
        let unready = serde_json::json!({
            "status": "not ready", "reason": "draining", "faults": ["stall-capture has ended"],
            "notices": [],
        });
        assert_eq!(json(&report), unready);
    }
}
