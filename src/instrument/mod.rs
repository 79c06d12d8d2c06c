//! Markers for code that no tower layer sees: futures, blocks, and every task of a runtime.

mod allow;
mod hooks;
mod polls;
mod watched;

pub use allow::allow_blocking;
pub use hooks::{RuntimeBuilderExt, RuntimeHooks};
pub(crate) use watched::Mark;
pub use watched::Watched;
