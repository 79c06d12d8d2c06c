//! Markers for code that no tower layer sees: futures and blocks.

mod allow;
mod watched;

pub use allow::allow_blocking;
pub(crate) use watched::Mark;
pub use watched::Watched;
