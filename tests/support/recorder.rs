//! A recorder for the process, and what no page of it may have. `tests/interop` includes this file.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeSet;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

/// A recorder as the documentation of both crates has it, with the buckets of our histograms.
pub(crate) fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in tower_stall::HISTOGRAM_BUCKETS {
        builder = builder
            .set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
            .expect("there are buckets");
    }
    builder.build_recorder()
}

/// No series and no description stands there twice.
#[track_caller]
pub(crate) fn nothing_twice(page: &str) {
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        let (what, _) = line.rsplit_once(' ').expect("a value or a kind");
        assert!(seen.insert(what), "{what} is there twice");
    }
}
