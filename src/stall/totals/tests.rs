//! Unit tests of the sums.

use super::*;
use crate::stall::tests::stall;

const MS: Nanos = 1_000_000;

fn site(function: &str) -> Site {
    Site { function: function.into(), file: None, line: None }
}

/// A stall that has ended, with a site or before it is known.
fn ended(id: u64, ms: u64, function: Option<&str>) -> Arc<LiveStall> {
    let entry = Arc::new(LiveStall::new(stall(id)));
    if let Some(function) = function {
        entry
            .set_stack_result(StackResult { site: Some(site(function)), ..StackResult::default() });
    }
    entry.end(ms * MS, 0);
    entry
}

fn row(totals: &StallTotals, site: Option<Site>) -> Option<SiteTotals> {
    totals.snapshot().0.into_iter().find(|(key, _)| key.site == site).map(|(_, tally)| tally)
}

#[test]
fn stalls_of_one_site_are_one_row() {
    let mut totals = StallTotals::default();
    for (id, ms) in [(1, 300), (2, 200)] {
        totals.add(&ended(id, ms, Some("app::load")));
    }
    let lasts = Arc::new(LiveStall::new(stall(3)));
    lasts.set_stack_result(StackResult { site: Some(site("app::load")), ..StackResult::default() });
    lasts.delay(7);
    totals.add(&lasts);
    for _ in 0..2 {
        let row = row(&totals, Some(site("app::load"))).expect("there is one");
        assert_eq!((row.stalls, row.in_progress, row.last), (3, 1, 3));
        assert_eq!((row.time.as_millis(), row.longest.as_millis()), (600, 300));
        assert_eq!(row.delayed_requests, 7);
        assert_eq!(totals.snapshot().1.len(), 1);
        totals.update(1, drop);
    }
    assert_eq!(totals.unsettled.len(), 1, "the others are summed up");
}

#[test]
fn a_site_is_waited_for_a_while_after_the_end() {
    let mut totals = StallTotals::default();
    let late = ended(1, 200, None);
    totals.add(&late);
    totals.update(1, drop);
    late.set_stack_result(StackResult { site: Some(site("app::load")), ..StackResult::default() });
    totals.update(2, drop);
    assert!(row(&totals, Some(site("app::load"))).is_some() && totals.unsettled.is_empty());
    totals.add(&ended(2, 200, None));
    totals.update(3, drop);
    assert_eq!(totals.unsettled.len(), 1);
    totals.update(3 + WAIT, drop);
    assert!(totals.unsettled.is_empty());
    assert_eq!(row(&totals, None).expect("without a site").stalls, 1);
}

#[test]
fn what_the_environment_had_stays_there() {
    let mut totals = StallTotals::default();
    let excused = Stall { cause: Cause::Starved, handler: "environment".into(), ..stall(1) };
    totals.add(&Arc::new(LiveStall::new(excused)));
    let real = Arc::new(LiveStall::new(stall(1)));
    totals.add(&real);
    real.end(250 * MS, 0);
    totals.update(1, drop);
    totals.update(1 + WAIT, drop);
    let row = |(key, row): &(SiteKey, SiteTotals)| {
        assert_eq!(row.longest, row.time);
        (key.handler, row.time.as_millis(), row.in_progress)
    };
    let mut rows: Vec<_> = totals.snapshot().0.iter().map(row).collect();
    rows.sort_unstable();
    assert_eq!(rows, [("GET /hello", 150, 0), ("environment", 100, 0)]);
}

#[test]
fn both_bounds_hold_and_no_stall_is_lost() {
    let mut totals = StallTotals::default();
    let all = MOST_SHOWN + 9;
    for id in 0..all {
        totals.add(&ended(id as u64 + 1, 200, Some(&format!("app::site_{id}"))));
    }
    totals.update(1, drop);
    let rows = totals.snapshot().0;
    assert_eq!(rows.len(), MOST_SHOWN + 1);
    assert_eq!(rows.iter().map(|(_, row)| row.stalls).sum::<u64>(), all as u64);
    let starved = Stall { cause: Cause::Starved, handler: "environment".into(), ..stall(1000) };
    let mut with_environment = totals.sites.clone();
    sum(&mut with_environment, None, &starved, 0);
    let rows = most_time(with_environment.into_iter().collect());
    assert!(rows.iter().any(|(key, _)| key.handler == "environment"), "with less time");
    for id in 0..MOST_WAITING + 5 {
        totals.add(&ended((all + id) as u64 + 1, 200, None));
    }
    totals.update(2, drop);
    assert_eq!(totals.unsettled.len(), MOST_WAITING);
    let stalls: u64 = totals.snapshot().0.iter().map(|(_, row)| row.stalls).sum();
    assert_eq!(stalls as usize, all + MOST_WAITING + 5);
}
