//! Stalled time by stack, in the formats of other tools.
//!
//! The sums are in [`stall`](crate::stall); here they are written down. The admin server decides who may
//! see them.

mod data;
mod firefox;
mod folded;
mod names;
mod pprof;
mod stall_profile;
mod window;

pub use stall_profile::StallProfile;
pub use window::ProfileWindow;
