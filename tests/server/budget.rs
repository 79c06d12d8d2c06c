//! The series budget of docs/fleet.md: its formula against pages that the example and a detector
//! emit, its tables against the formula.

use std::collections::{BTreeMap, BTreeSet};

use super::child::{LIMIT, Server, wait_for};
use crate::support::{Rig, runtime, samples, wait_until};

const FLEET: &str = include_str!("../../docs/fleet.md");
/// Series that Prometheus itself makes for each target.
const OF_THE_TARGET: usize = 5;
const PODS: usize = 300 * 20;
const SCRAPE_SECONDS: usize = 15;

/// What the number of series depends on.
#[derive(Debug)]
struct Counts {
    runtimes: usize,
    busy: usize,
    pairs: usize,
    stalling: usize,
    sites: usize,
    allowed: usize,
}

impl Counts {
    /// What a page of metrics says.
    fn of(page: &str) -> Self {
        let of = |name: &str| samples(page).filter(|sample| sample.name == name).count();
        Self {
            runtimes: of("tokio_workers"),
            busy: of("tokio_handler_busy_seconds_total"),
            pairs: of("tokio_stalls_total"),
            stalling: of("tokio_stall_delayed_requests_total"),
            sites: of("tokio_stall_site_seconds_total"),
            allowed: of("tower_stall_allowed_total"),
        }
    }

    /// The formula, with the factors of the docs.
    fn series(&self) -> usize {
        let rows = rows("| series | for each | how many |");
        let factors: Vec<usize> = rows.iter().map(|row| number(&row[2])).collect();
        let counts =
            [1, self.runtimes, self.busy, self.pairs, self.stalling, self.sites, self.allowed];
        assert_eq!(factors.len(), counts.len());
        counts.iter().zip(factors).map(|(count, factor)| count * factor).sum()
    }
}

/// The cells of the table that begins so.
fn rows(head: &str) -> Vec<Vec<String>> {
    let (_, table) = FLEET.split_once(head).expect("the table");
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix('|')?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Reads `396,000`.
fn number(cell: &str) -> usize {
    cell.replace(',', "").parse().unwrap_or_else(|_| panic!("{cell} is a number"))
}

#[track_caller]
fn check(page: &str) -> Counts {
    let counts = Counts::of(page);
    let names: BTreeSet<_> = samples(page).map(|sample| sample.name).collect();
    assert_eq!(samples(page).count(), counts.series(), "{counts:?} {names:?}");
    counts
}

#[test]
fn the_example_emits_what_the_formula_says() {
    let server = Server::start(&["--workers", "2"]);
    wait_for(LIMIT, || server.metric("tokio_event_loop_heartbeat_age_seconds", &[]));
    assert_eq!(check(&server.metrics()).runtimes, 1);
    let page = wait_for(2 * LIMIT, || {
        // Again where the machine is so busy that a stack was not taken in time.
        for path in ["/blocking?ms=1100", "/lock?ms=1100", "/tcp?ms=1100"] {
            assert_eq!(server.get(path).0, 200);
        }
        let page = server.metrics();
        let sites = samples(&page).filter(|sample| sample.name.starts_with("tokio_stall_site"));
        (sites.count() >= 3).then_some(page)
    });
    let counts = check(&page);
    assert!(counts.pairs >= 3 && counts.stalling >= 3, "{counts:?}");
}

#[test]
fn a_further_runtime_adds_what_the_formula_says() {
    let rig = Rig::new(1, |builder| builder);
    let further = runtime(1);
    rig.stall.watch("background", further.handle());
    rig.block_twice();
    tower_stall::allow_blocking("meant", || ());
    wait_until(LIMIT, || {
        let page = rig.metrics();
        let beats = samples(&page).filter(|it| it.name == "tokio_event_loop_heartbeat_age_seconds");
        // The sites come after their stalls.
        beats.count() == 2 && Counts::of(&page).sites >= 2
    });
    assert_eq!(check(&rig.metrics()).runtimes, 2);
}

#[test]
fn the_tables_of_the_docs_are_computed() {
    let mut pods = BTreeMap::new();
    for row in rows("| a pod with one runtime |") {
        let [busy, pairs, stalling, sites, series] = [1, 2, 3, 4, 5].map(|cell| number(&row[cell]));
        let counts = Counts { runtimes: 1, busy, pairs, stalling, sites, allowed: 0 };
        assert_eq!(series, counts.series(), "{row:?}");
        pods.insert(row[0].clone(), series);
    }
    assert!(pods.len() >= 4, "{pods:?}");
    let fleet = rows("| all pods are |");
    assert_eq!(fleet.len(), pods.len());
    for row in fleet {
        let series = (pods[&row[0]] + OF_THE_TARGET) * PODS;
        assert_eq!(
            (number(&row[1]), number(&row[2])),
            (series, series / SCRAPE_SECONDS),
            "{row:?}"
        );
    }
}
