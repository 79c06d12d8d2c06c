//! Stalls as data: the record that users see, the live stall that still changes, and the store of all.

mod awaits;
mod cause;
mod code_path;
mod frames;
mod held_by;
mod hints;
mod later;
mod live;
mod record;
#[cfg(feature = "serde")]
mod serialize;
mod stack_detail;
mod stack_result;
#[cfg(feature = "profile")]
mod stack_sums;
mod store;
mod totals;

pub use awaits::{Await, AwaitKind, Awaits};
pub use cause::Cause;
pub(crate) use code_path::{CodePath, crate_of, fetched};
pub use frames::{Frame, Site, Stack};
pub use held_by::{Degree, HeldBy, Holder, HoldingRole, HoldingThread};
pub(crate) use hints::{Hints, Situation, Situations};
pub use later::LaterSample;
pub(crate) use later::LiveSample;
pub(crate) use live::LiveStall;
pub use record::Stall;
#[cfg(feature = "admin")]
pub(crate) use serialize::WithFrames;
pub(crate) use stack_detail::StackDetail;
pub(crate) use stack_result::{
    ENVIRONMENT, NO_DEBUG_INFO, NO_OWN_FRAME, OFF, StackNews, StackOutcome, StackResult,
};
#[cfg(feature = "profile")]
pub(crate) use stack_sums::{Frames, StackKey, StackSum, StackSums};
#[cfg(feature = "admin")]
pub(crate) use store::StoreSnapshot;
pub(crate) use store::{Overlaps, StallStore};
#[cfg(feature = "admin")]
pub(crate) use totals::{SiteKey, SiteTotals};

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::store::tests::stall;
}
