//! Stalls as data: the record that users see, the live one that still moves, and the store of all.

mod cause;
mod record;
mod store;
mod totals;

pub use cause::Cause;
pub use record::{Frame, Site, Stack, Stall};
#[cfg(feature = "admin")]
pub(crate) use store::StoreSnapshot;
pub(crate) use store::{LiveStall, StackResult, StallStore};
#[cfg(any(feature = "admin", test))]
pub(crate) use totals::{SiteKey, SiteTotals};

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::store::tests::stall;
}
