//! When the kubelet acts on a freeze: the table in docs/kubernetes.md is what its formulas give, and
//! the formulas are what a kubelet does.

use std::time::Duration;

use tower_stall::Builder;

const PAGE: &str = include_str!("../../docs/kubernetes.md");

/// A probe's `periodSeconds`, `timeoutSeconds` and `failureThreshold`.
#[derive(Clone, Copy, Debug)]
struct Probe {
    period: u64,
    timeout: u64,
    failures: u64,
}

/// When the kubelet acts, in seconds from the begin of a freeze that goes on.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Not before. Every freeze that is shorter is survived.
    earliest: u64,
    /// Before this. No freeze of this length is survived.
    latest: u64,
}

/// The formulas of the page.
impl Probe {
    /// The runtime that freezes answers the probe.
    fn own_runtime(self) -> Window {
        let between = self.period.max(self.timeout);
        self.window(between * (self.failures - 1) + self.timeout)
    }

    /// The admin server answers at once, and says no from `after` on.
    fn admin(self, after: u64) -> Window {
        self.window(after + self.period * (self.failures - 1))
    }

    fn window(self, earliest: u64) -> Window {
        Window { earliest, latest: earliest + self.period }
    }
}

/// Reads `10 s`.
fn seconds(cell: &str) -> u64 {
    let number = cell.strip_suffix(" s").and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{cell} is a time"))
}

#[test]
fn the_table_is_what_the_formulas_give() {
    let (_, table) = PAGE.split_once("| probe | where | P | T | F |").expect("the table");
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix('|')?.strip_suffix('|'));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split('|').map(str::trim).collect()).collect();
    assert!(rows.len() >= 6, "{rows:?}");
    for row in rows {
        let failures = row[4].parse().expect("a number");
        let probe = Probe { period: seconds(row[2]), timeout: seconds(row[3]), failures };
        let window = match (row[0], row[1]) {
            (_, "own runtime") => probe.own_runtime(),
            ("liveness", "`/livez`") => probe.admin(Builder::DEFAULT_DEAD_AFTER.as_secs()),
            ("readiness", "`/readyz`") => probe.admin(Builder::DEFAULT_UNREADY_AFTER.as_secs()),
            _ => panic!("{row:?}"),
        };
        let Window { earliest, latest } = window;
        assert_eq!(row[5], format!("{earliest} s to {latest} s"), "{row:?}");
        assert_eq!(row[6], format!("less than {earliest} s"), "{row:?}");
    }
}

#[test]
fn the_example_is_what_the_formulas_give() {
    let probe = Probe { period: 20, timeout: 5, failures: 2 };
    let (_, example) = PAGE.split_once("P 20 s, T 5 s, F 2 and `dead_after` 120 s").expect("it");
    let (example, _) = example.split_once("\n\n").expect("its end");
    for Window { earliest, latest } in [probe.own_runtime(), probe.admin(120)] {
        let window = format!("after {earliest} s to {latest} s");
        assert!(example.contains(&window), "{window}: {example}");
    }
}

#[test]
fn the_page_has_the_defaults_of_the_detector() {
    for (name, default) in [
        ("dead_after", Builder::DEFAULT_DEAD_AFTER),
        ("unready_after", Builder::DEFAULT_UNREADY_AFTER),
    ] {
        assert_eq!(default, Duration::from_secs(default.as_secs()));
        let said = format!("`{name}` {} s", default.as_secs());
        assert!(PAGE.contains(&said), "{said}");
    }
}

/// Who answers the probe.
#[derive(Clone, Copy)]
enum Answer {
    /// The runtime that freezes: when it goes on it answers what waits.
    Frozen,
    /// The admin server: it says no from that time in the freeze on, until its end.
    Admin(u64),
}

impl Probe {
    /// When a kubelet acts on a freeze from `begin` to `end`, counted from `begin`. It looks at the
    /// time in whole seconds.
    ///
    /// A transcript of its loop: probe, then take a tick, which waits if there is none.
    fn acts(self, answer: Answer, begin: u64, end: u64) -> Option<u64> {
        let (mut now, mut in_a_row) = (0, 0);
        // The last tick that was sent. The ticker was made at 0, at the first probe.
        let mut ticks = 0;
        while now <= end {
            let (failed, takes) = match answer {
                Answer::Frozen if (begin..end).contains(&now) && end - now > self.timeout => {
                    (true, self.timeout)
                }
                Answer::Frozen if (begin..end).contains(&now) => (false, end - now),
                Answer::Admin(after) => ((begin + after..end).contains(&now), 0),
                Answer::Frozen => (false, 0),
            };
            now += takes;
            in_a_row = if failed { in_a_row + 1 } else { 0 };
            if in_a_row == self.failures {
                return Some(now - begin);
            }
            let sent = now / self.period;
            if sent > ticks {
                // One waits in the channel; the others were dropped.
                ticks = sent;
            } else {
                ticks += 1;
                now = ticks * self.period;
            }
        }
        None
    }

    /// When it acts on a freeze of that length, for each phase of its ticker.
    fn phases(self, answer: Answer, length: u64) -> Vec<Option<u64>> {
        let begins = 5 * self.period..6 * self.period;
        begins.map(|begin| self.acts(answer, begin, begin + length)).collect()
    }

    /// The window is what all phases give together, and short freezes are survived.
    #[track_caller]
    fn check(self, answer: Answer, Window { earliest, latest }: Window) {
        let endless = self.phases(answer, 100_000);
        assert_eq!(endless.iter().flatten().min(), Some(&earliest), "{self:?}");
        // Begins are whole seconds, so the last one is one before the next tick.
        assert_eq!(endless.iter().flatten().max(), Some(&(latest - 1)), "{self:?}");
        let survives = |length| self.phases(answer, length).iter().all(Option::is_none);
        assert!(survives(earliest), "{self:?}");
        assert!(!survives(earliest + 1), "{self:?}");
        let acts = |length| self.phases(answer, length).iter().all(Option::is_some);
        assert!(acts(latest), "{self:?}");
        assert!(!acts(latest - 1), "{self:?}");
    }
}

/// All small probes.
fn probes() -> impl Iterator<Item = Probe> {
    (1..=7).flat_map(|period| {
        (1..=20).flat_map(move |timeout| {
            (1..=4).map(move |failures| Probe { period, timeout, failures })
        })
    })
}

#[test]
fn on_its_own_runtime_it_acts_when_a_kubelet_does() {
    for probe in probes() {
        probe.check(Answer::Frozen, probe.own_runtime());
    }
}

#[test]
fn on_the_admin_port_it_acts_when_a_kubelet_does() {
    for probe in probes() {
        for after in [0, 1, 6, 13] {
            probe.check(Answer::Admin(after), probe.admin(after));
        }
    }
}
