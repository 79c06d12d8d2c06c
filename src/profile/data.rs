//! What a profile has: plain data of one moment.

use std::time::{Duration, SystemTime};

use crate::clock;
use crate::runtime::registry::Registry;
use crate::stall::{StackKey, StackSum, StackSums, Stall};
use crate::text;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) program: String,
    /// In a fixed order.
    pub(super) rows: Vec<(StackKey, StackSum)>,
    /// The last stalls of handlers, oldest first.
    pub(super) recent: Vec<Stall>,
    pub(super) threshold: Duration,
    pub(super) taken: SystemTime,
    pub(super) span: Duration,
}

impl Data {
    pub(super) fn new(registry: &Registry, StackSums { since, rows, .. }: StackSums) -> Self {
        let now = clock::now();
        let began = clock::wall(since);
        let mut recent = registry.store.stalls();
        let lasted =
            |stall: &Stall| stall.in_progress || stall.started_at + stall.duration >= began;
        recent.retain(|stall| !stall.cause.is_environment() && lasted(stall));
        recent.sort_by_key(|stall| (stall.started_at, stall.id));
        let mut rows: Vec<_> = rows.into_iter().filter(|(_, sum)| sum.time > 0).collect();
        rows.sort_by(|(one, _), (other, _)| one.order().cmp(&other.order()));
        Self {
            program: text::program(),
            rows,
            recent,
            threshold: Duration::from_nanos(registry.threshold),
            taken: clock::wall(now),
            span: Duration::from_nanos(now.saturating_sub(since)),
        }
    }
}
