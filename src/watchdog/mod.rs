//! The watchdog: a thread that reads the slots and counters, and tells what it found as a list of
//! [`Event`]s.
//!
//! ```text
//! run ──► scan ──► read:  watched_slot  watched_runtime  unattributed   (slots, counters, /proc)
//!  │        │             evidence  environment
//!  │        ├────► decide: rules                                        (plain data and the time)
//!  │        └────► file:  open_stall ──► the store of stalls, the status of runtimes
//!  └── events ──► a consumer, who knows metrics, log and ticks
//! ```
//!
//! The watchdog knows no metrics, no log and no admin server. The consumer gets the events after the
//! scan, so that who hears of a stall finds it in the store and in the status of its runtime.
//!
//! It never waits for anybody: it takes no lock that is held while code of others runs, and those
//! that a reader may hold it only tries. A scan that finds nothing allocates nothing.

mod environment;
mod events;
mod evidence;
mod open_stall;
mod rules;
mod run;
mod scan;
mod settings;
mod unattributed;
mod watched_runtime;
mod watched_slot;

pub(crate) use events::{Event, Events, StalledThread};
pub(crate) use rules::health::Patience;
pub(crate) use run::run;
pub(crate) use settings::WatchdogSettings;
