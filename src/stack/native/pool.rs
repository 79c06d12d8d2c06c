//! The threads that work for one that waits for a pool of rayon.
//!
//! What it waits for is worked out by some of them. Which of them do so, and whether they belong to that
//! pool, is not known: so it is likely, no more.

use super::holder::{Look, MOST_LINKS, MOST_THREADS, may_be_stopped, others_than};
use super::still::Still;
use super::take::Taker;
use super::wanted::works_in_pool;
use crate::stack::raw::{Interrupted, RawHolder, Way};
use crate::stall::HoldingRole;

const ROLE: HoldingRole = HoldingRole::Works;

impl Taker {
    /// The threads of pools that have work to do, those first that compute. And how many could not be looked at.
    pub(super) fn pool(
        &mut self,
        waiter: u32,
        look: &mut Look<'_>,
    ) -> Result<(Vec<RawHolder>, usize), Interrupted> {
        let (mut waiting, mut moving, mut left_out) = (Vec::new(), Vec::new(), 0);
        for (count, thread) in others_than(waiter).enumerate() {
            if count >= MOST_THREADS || !look.has_time()? {
                left_out += 1;
                continue;
            }
            let Some(other) = Still::look(thread) else {
                moving.push(thread);
                continue;
            };
            let walk = self.walk(&other.copy);
            if works_in_pool((&self.images, &mut self.functions), &walk) {
                let of = (&other.copy, &walk);
                waiting.push(self.describe(of, Way::Quiet, ROLE, other.waits_in()));
            }
        }
        left_out += moving.len();
        let mut found = Vec::new();
        for thread in may_be_stopped(&moving, waiter) {
            let Some((copy, walk)) = self.stopped(thread, look)? else { continue };
            left_out -= 1;
            if works_in_pool((&self.images, &mut self.functions), &walk) {
                found.push(self.describe((&copy, &walk), Way::Signal, ROLE, None));
            }
        }
        found.append(&mut waiting);
        found.truncate(MOST_LINKS);
        Ok((found, left_out))
    }
}
