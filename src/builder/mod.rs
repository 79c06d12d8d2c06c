//! The composition root: settings, the start, the handle that stops it all.

#[allow(clippy::module_inception)]
mod builder;
mod environment;
mod handle;
mod launch;
mod settings;
mod watch_ext;
mod wiring;

pub use builder::Builder;
pub use handle::StallDetector;
pub(crate) use launch::{hub, launch};
pub(crate) use settings::Settings;
pub use watch_ext::WatchExt;
