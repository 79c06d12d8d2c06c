//! What each figure was when it was last measured, and so how much it may take.

use std::fmt;

/// A count may exceed the measured one by so much. Two runs of one build differ by less than 0.1 %; the
/// rest is for what the compiler makes of changes elsewhere.
const MORE: f64 = 1.03;
/// A figure below this share of the measured one leaves too much room: its bound is to be lowered.
const LESS: f64 = 0.9;

/// Another compiler makes other code: what fails after a change of this alone is measured anew.
pub(crate) const MEASURED_WITH: &str = "rustc 1.95.0, valgrind-3.19.0, x86_64";

/// In instructions for each poll, request or scan, over the floor.
pub(crate) const FIGURES: [Figure; 7] = [
    figure("a marked poll", "marked poll", Some("bare poll"), 32.0),
    figure("a marked poll inside another", "nested poll", Some("bare poll"), 31.0),
    figure("a request", "request", Some("request, floor"), 664.0),
    figure("a request with a traceparent", "traced request", Some("traced request, floor"), 851.9),
    figure("a scan of 4 workers that have polled", "scan, 4 polled", None, 3_635.9),
    figure("a scan of 4,096 threads that have not", "scan, 4096 idle", None, 67_556.7),
    figure("a scan of 4,096 threads that have polled", "scan, 4096 polled", None, 1_464_306.9),
];

/// One thing that is counted.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) case: &'static str,
    /// The same without what is measured.
    pub(crate) floor: Option<&'static str>,
    measured: f64,
}

/// What to say of a count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Pass,
    TooMany,
    /// Good news, but the bound no longer holds anything.
    Lower,
}

const fn figure(
    what: &'static str,
    case: &'static str,
    floor: Option<&'static str>,
    measured: f64,
) -> Figure {
    Figure { what, case, floor, measured }
}

impl Figure {
    pub(crate) fn at_most(&self) -> f64 {
        // A few instructions are a change too, where they are all there is.
        (self.measured * MORE).max(self.measured + 0.5)
    }

    pub(crate) fn judge(&self, over: f64) -> Verdict {
        if over > self.at_most() {
            Verdict::TooMany
        } else if over < self.measured * LESS {
            Verdict::Lower
        } else {
            Verdict::Pass
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::TooMany => "FAIL: more than the bound",
            Self::Lower => "FAIL: far below the bound: write the new figure into bounds.rs",
        })
    }
}
