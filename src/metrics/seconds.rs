//! The counters of seconds on `/metrics`, exact: counters of the `metrics` facade are integers, and so are
//! those of the recorder that renders the rest of the page.
//!
//! The watchdog's thread adds to an atomic for each series, and tells the page once of a new one. It takes
//! no lock that a scrape holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};

use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{
    write_help_line, write_metric_line, write_type_line,
};

use super::sink::SeriesKey;
use crate::clock::{Nanos, seconds};

/// A series and its total in nanoseconds, which suffice for centuries.
type Series = (SeriesKey, Arc<AtomicU64>);

/// What adds to the counters.
#[derive(Debug)]
pub(super) struct SecondsWriter {
    totals: HashMap<SeriesKey, Arc<AtomicU64>>,
    new: Sender<Series>,
}

/// What renders them. It holds as many series as the labels' limits allow, see `docs/fleet.md`.
#[derive(Debug)]
pub(crate) struct SecondsPage {
    new: Receiver<Series>,
    /// In the order of the table, then of the labels.
    totals: BTreeMap<SeriesKey, Arc<AtomicU64>>,
}

pub(super) fn seconds_of_our_own() -> (SecondsWriter, SecondsPage) {
    let (tell, new) = channel();
    let writer = SecondsWriter { totals: HashMap::new(), new: tell };
    (writer, SecondsPage { new, totals: BTreeMap::new() })
}

impl SecondsWriter {
    /// Adds to a counter; adding 0 creates the series.
    pub(super) fn add(&mut self, key: SeriesKey, time: Nanos) {
        let Self { totals, new } = self;
        let total = totals.entry(key).or_insert_with(|| {
            let total = Arc::default();
            // Without a page there is nobody to tell.
            drop(new.send((key, Arc::clone(&total))));
            total
        });
        total.fetch_add(time, Relaxed);
    }
}

impl SecondsPage {
    /// Adds the families to a page in Prometheus' text format.
    pub(crate) fn render(&mut self, page: &mut String) {
        self.totals.extend(self.new.try_iter());
        let mut last = None;
        for (key, total) in &self.totals {
            let info = key.info();
            if last != Some(info.name) {
                if last.is_some() {
                    page.push('\n');
                }
                write_help_line(page, info.name, None, None, info.help);
                write_type_line(page, info.name, None, None, "counter");
                last = Some(info.name);
            }
            // As the recorder writes labels, so that the series of one stall agree in them.
            let labels = LabelSet::from_key_and_global(&key.to_metrics(), &Default::default());
            let value = seconds(total.load(Relaxed));
            write_metric_line::<&str, _>(page, info.name, None, &labels, None, value, None);
        }
        if last.is_some() {
            page.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::table::Metric;

    const MS: Nanos = 1_000_000;

    fn page(seconds: &mut SecondsPage) -> String {
        let mut page = String::new();
        seconds.render(&mut page);
        page
    }

    #[test]
    fn families_come_in_order_each_with_its_help_and_type() {
        let (mut writer, mut seconds) = seconds_of_our_own();
        assert_eq!(page(&mut seconds), "");
        writer.add(SeriesKey::new(Metric::LateSeconds, []), 0);
        writer.add(SeriesKey::new(Metric::FrozenSeconds, ["main", "sleep"]), 150 * MS);
        writer.add(SeriesKey::new(Metric::FrozenSeconds, ["main", "cpu"]), 2_000 * MS + 1);
        writer.add(SeriesKey::new(Metric::FrozenSeconds, ["main", "sleep"]), 100 * MS);
        let (frozen, late) = (Metric::FrozenSeconds.info().help, Metric::LateSeconds.info().help);
        let expected = format!(
            "# HELP tokio_frozen_seconds_total {frozen}\n\
             # TYPE tokio_frozen_seconds_total counter\n\
             tokio_frozen_seconds_total{{runtime=\"main\",cause=\"cpu\"}} 2.000000001\n\
             tokio_frozen_seconds_total{{runtime=\"main\",cause=\"sleep\"}} 0.25\n\
             \n\
             # HELP tower_stall_watchdog_late_seconds_total {late}\n\
             # TYPE tower_stall_watchdog_late_seconds_total counter\n\
             tower_stall_watchdog_late_seconds_total 0\n\
             \n"
        );
        assert_eq!(page(&mut seconds), expected);
        assert_eq!(page(&mut seconds), expected, "a scrape takes nothing away");
    }

    #[test]
    fn what_has_a_meaning_in_the_format_is_escaped() {
        let (mut writer, mut seconds) = seconds_of_our_own();
        for handler in ["say \"x\"", "a\\b", "two\nlines", "{a=\"b\"} 7"] {
            writer.add(SeriesKey::new(Metric::HandlerBusySeconds, [handler]), MS);
        }
        let page = page(&mut seconds);
        let lines: Vec<_> = page.lines().filter(|line| line.starts_with("tokio_")).collect();
        let of =
            |handler| format!("tokio_handler_busy_seconds_total{{handler=\"{handler}\"}} 0.001");
        let expected = [r"a\\b", r#"say \"x\""#, r"two\nlines", r#"{a=\"b\"} 7"#].map(of);
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_series_that_is_new_after_a_scrape_is_on_the_next_page() {
        let (mut writer, mut seconds) = seconds_of_our_own();
        let mut last = 0.0;
        for round in 1..=3 {
            for handler in ["GET /a", "GET /b", "GET /c"].iter().take(round) {
                writer.add(SeriesKey::new(Metric::HandlerBusySeconds, [handler]), 1_500 * MS);
            }
            let page = page(&mut seconds);
            let values = page.lines().filter(|line| line.starts_with("tokio_"));
            let values = values.map(|line| line.rsplit_once(' ').expect("a value").1);
            let sum: f64 = values.map(|value| value.parse::<f64>().expect("a number")).sum();
            assert_eq!(sum - last, 1.5 * round as f64);
            last = sum;
        }
    }

    #[test]
    fn without_a_page_nothing_is_harmed() {
        let (mut writer, seconds) = seconds_of_our_own();
        drop(seconds);
        writer.add(SeriesKey::new(Metric::LateSeconds, []), MS);
        writer.add(SeriesKey::new(Metric::LateSeconds, []), MS);
    }
}
