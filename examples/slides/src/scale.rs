//! How much shorter than in the story all times are.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::probe::Probe;

/// A factor for every time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Scale(f64);

impl Scale {
    const SMALLEST: f64 = 0.01;
    const LARGEST: f64 = 100.0;

    pub(crate) fn seconds(self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.0)
    }

    /// The probe of the story.
    pub(crate) fn probe(self) -> Probe {
        Probe {
            initial_delay: self.seconds(10.0),
            period: self.seconds(5.0),
            timeout: self.seconds(5.0),
            success_threshold: 1,
            failure_threshold: 2,
        }
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(scale) if (Self::SMALLEST..=Self::LARGEST).contains(&scale) => Ok(Self(scale)),
            _ => Err(format!("write a number from {} to {}", Self::SMALLEST, Self::LARGEST)),
        }
    }
}
