//! What the service's threads write and the watchdog reads: slots, labels, runtimes, records.
//!
//! A thread that polls a marked future owns a [`Slot`](slot::Slot) for each detector it meets
//! and writes nothing else on the way. [`Hub`](hub::Hub) is the shared state of one detector.

pub(crate) mod hub;
pub(crate) mod ledger;
pub(crate) mod local;
pub(crate) mod markers;
pub(crate) mod pulse;
pub(crate) mod ring;
pub(crate) mod runtime;
pub(crate) mod scans;
pub(crate) mod slot;
pub(crate) mod trend;
pub(crate) mod vitals;
