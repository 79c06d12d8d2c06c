//! Stalled time by site, which is known only some time after the stall was counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::clock::Nanos;
use crate::label::{intern, printable};
use crate::labels::OTHER;
use crate::stall::Cause;
use crate::stall::LiveStall;

/// How long after the end of a stall its site is waited for: the first takes its time.
const WAIT: Nanos = 10_000_000_000;

/// The labels of a series.
pub(super) type Labels = [&'static str; 3];

/// Stalls whose time waits for a site, and the sites that are known.
#[derive(Debug)]
pub(super) struct Sites {
    waiting: HashMap<u64, Waiting>,
    known: HashSet<Labels>,
    most: usize,
}

#[derive(Debug)]
struct Waiting {
    stall: Arc<LiveStall>,
    time: Nanos,
    ended: Option<Nanos>,
}

impl Sites {
    pub(super) fn new(most: usize) -> Self {
        Self { waiting: HashMap::new(), known: HashSet::new(), most }
    }

    /// The stall has a stack coming.
    pub(super) fn expect(&mut self, stall: &Arc<LiveStall>) {
        let waiting = Waiting { stall: Arc::clone(stall), time: 0, ended: None };
        self.waiting.insert(stall.id(), waiting);
    }

    /// It held its worker for that much further time.
    pub(super) fn stalled(&mut self, stall: &LiveStall, time: Nanos) {
        if let Some(waiting) = self.waiting.get_mut(&stall.id()) {
            waiting.time = waiting.time.saturating_add(time);
        }
    }

    pub(super) fn ended(&mut self, stall: &LiveStall, now: Nanos) {
        if let Some(waiting) = self.waiting.get_mut(&stall.id()) {
            waiting.ended = Some(now);
        }
    }

    /// Time whose site is known by now, or will not be.
    pub(super) fn settle(&mut self, now: Nanos) -> Vec<(Labels, Nanos)> {
        let mut settled = Vec::new();
        let (known, most) = (&mut self.known, self.most);
        self.waiting.retain(|_, waiting| {
            let late = waiting.ended.is_some_and(|ended| now.saturating_sub(ended) >= WAIT);
            let site = waiting.stall.site().or(late.then_some("unknown"));
            if let Some(site) = site {
                let (handler, cause) = (waiting.stall.handler(), waiting.stall.cause());
                let labels = admit(known, most, handler, site, cause);
                settled.push((labels, std::mem::take(&mut waiting.time)));
            }
            site.is_none() || waiting.ended.is_none()
        });
        settled
    }
}

/// The labels of a site: its own, or `other` past the cap.
fn admit(
    known: &mut HashSet<Labels>,
    most: usize,
    handler: &'static str,
    site: &str,
    cause: Cause,
) -> Labels {
    let site = printable(site);
    let cause = cause.as_str();
    let is_it = |labels: &&Labels| labels[0] == handler && labels[1] == site && labels[2] == cause;
    if let Some(labels) = known.iter().find(is_it) {
        return *labels;
    }
    if known.len() >= most {
        return [OTHER, OTHER, cause];
    }
    let labels = [handler, intern(&site), cause];
    known.insert(labels);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::Site;
    use crate::stall::StackResult;
    use crate::stall::tests::stall;

    fn entry(id: u64, site: Option<&str>) -> Arc<LiveStall> {
        let entry = Arc::new(LiveStall::new(stall(id)));
        if let Some(function) = site {
            let site = Site { function: function.into(), file: None, line: None };
            entry.set_stack_result(StackResult { site: Some(site), ..StackResult::default() });
        }
        entry
    }

    #[test]
    fn time_waits_for_its_site() {
        let mut sites = Sites::new(8);
        let waits = entry(1, None);
        sites.expect(&waits);
        sites.stalled(&waits, 5);
        assert_eq!(sites.settle(0), []);
        waits.set_stack_result(StackResult::default());
        assert_eq!(sites.settle(0), [(["GET /hello", "unknown", "unknown"], 5)]);
        sites.stalled(&waits, 7);
        sites.ended(&waits, 1);
        assert_eq!(sites.settle(1), [(["GET /hello", "unknown", "unknown"], 7)]);
        sites.stalled(&waits, 7);
        assert_eq!(sites.settle(WAIT), [], "it is over");
    }

    #[test]
    fn a_site_that_never_comes_is_unknown() {
        let mut sites = Sites::new(8);
        let waits = entry(1, None);
        sites.expect(&waits);
        sites.stalled(&waits, 5);
        sites.ended(&waits, 1);
        assert_eq!(sites.settle(WAIT), []);
        assert_eq!(sites.settle(WAIT + 1), [(["GET /hello", "unknown", "unknown"], 5)]);
    }

    #[test]
    fn sites_past_the_cap_are_other() {
        let mut sites = Sites::new(1);
        let mut settle = |id, site| {
            let stall = entry(id, Some(site));
            sites.expect(&stall);
            sites.stalled(&stall, id);
            sites.ended(&stall, 1);
            sites.settle(1)
        };
        assert_eq!(settle(1, "app::load"), [(["GET /hello", "app::load", "unknown"], 1)]);
        assert_eq!(settle(2, "app::save"), [([OTHER, OTHER, "unknown"], 2)]);
        assert_eq!(settle(3, "app::load"), [(["GET /hello", "app::load", "unknown"], 3)]);
    }
}
