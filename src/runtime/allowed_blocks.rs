//! Counts the blocks that [`allow_blocking`](crate::allow_blocking) ran, by name.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::clock::LONGEST;
use crate::label::{intern, printable};
use crate::labels::{LabelTable, OTHER, PollKind};
use crate::slot::LabelId;
use crate::sync::lock;

/// Names with a series of their own. Further ones count as `other`.
const MOST_NAMES: usize = 64;

#[derive(Debug)]
pub(crate) struct AllowedBlocks {
    totals: Mutex<BTreeMap<&'static str, u64>>,
    /// The same for all names: such a block is never a stall, so its label is not shown.
    label_id: LabelId,
}

impl AllowedBlocks {
    pub(crate) fn new(labels: &LabelTable) -> Self {
        let label_id = labels.id(OTHER, LONGEST, PollKind::Allowed);
        Self { totals: Mutex::default(), label_id }
    }

    /// Counts a block. Returns the label to enter it with.
    pub(crate) fn count(&self, name: &'static str) -> LabelId {
        let mut totals = lock(&self.totals);
        let name = if totals.len() < MOST_NAMES || totals.contains_key(name) {
            intern(&printable(name))
        } else {
            OTHER
        };
        *totals.entry(name).or_default() += 1;
        self.label_id
    }

    /// Calls `each` with each name and its total since the start.
    pub(crate) fn each(&self, mut each: impl FnMut(&'static str, u64)) {
        for (name, total) in &*lock(&self.totals) {
            each(name, *total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_past_the_cap_count_as_other() {
        let blocks = AllowedBlocks::new(&LabelTable::new(1, false));
        for number in 0..MOST_NAMES + 2 {
            let name: &'static str = intern(&format!("block {number}"));
            assert_eq!(blocks.count(name), blocks.label_id);
        }
        blocks.count("block 0");
        let mut found = Vec::new();
        blocks.each(|name, total| found.push((name, total)));
        assert_eq!(found.len(), MOST_NAMES + 1);
        assert!(found.contains(&("block 0", 2)) && found.contains(&(OTHER, 2)));
    }
}
