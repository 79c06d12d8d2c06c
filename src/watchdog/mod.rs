//! The watchdog: a thread that reads slots and counters, and reports what it finds as a list of
//! [`Event`]s.
//!
//! ```text
//! run ──► scan ──► read:   watched_slot  watched_worker  watched_runtime  (slots, counters, /proc)
//!  │        │              evidence  environment
//!  │        ├────► decide: rules                                        (plain data and the time)
//!  │        └────► file:   open_stall ──► the store of stalls, the status of runtimes
//!  └── events ──► the consumer, which knows metrics, log and ticks
//! ```
//!
//! The watchdog knows no metrics, no log and no admin server. The consumer gets the events after the
//! scan: by then a stall is in the store and in the status of its runtime.
//!
//! The watchdog never waits. It takes no lock that is held while foreign code runs, and only tries
//! those that a reader may hold. A scan that finds nothing allocates nothing.

#[cfg(feature = "__bench")]
pub(crate) mod bench;
mod environment;
mod events;
mod evidence;
mod open_stall;
mod rules;
mod run;
mod scan;
mod settings;
mod watched_runtime;
mod watched_slot;
mod watched_worker;

pub(crate) use events::{Event, Events, StalledThread};
pub(crate) use rules::health::Patience;
pub(crate) use run::run;
pub(crate) use settings::WatchdogSettings;
