//! The composition root: the builder, the start, the handle that stops it all.

mod builder;
#[cfg(all(test, feature = "admin"))]
#[path = "../../tests/support/child.rs"]
mod child;
#[allow(clippy::module_inception)]
mod detector;
#[cfg(all(feature = "admin", feature = "capture", target_os = "linux"))]
mod faults;
mod global;
mod pipeline;
mod start;
#[cfg(feature = "testing")]
mod testing;
mod threads;
mod watch_ext;
#[cfg(all(test, feature = "admin"))]
mod weight;

pub use builder::Builder;
pub use detector::StallDetector;
pub use global::{detector, layer};
pub use threads::LeftBehind;
pub use watch_ext::WatchExt;
