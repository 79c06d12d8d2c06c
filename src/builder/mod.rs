//! The composition root: settings, the start, the handle that stops it all.

#[cfg(feature = "__bench")]
mod bench;
#[allow(clippy::module_inception)]
mod builder;
mod environment;
mod handle;
mod launch;
mod settings;
#[cfg(feature = "testing")]
mod testing;
mod watch_ext;
mod wiring;

#[cfg(feature = "__bench")]
pub use bench::bench_lateness;
pub use builder::Builder;
pub use handle::StallDetector;
pub(crate) use launch::{hub, launch};
pub use settings::Rescue;
pub(crate) use settings::Settings;
pub use watch_ext::WatchExt;
