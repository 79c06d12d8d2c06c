//! Marks what a thread polls: labels on futures and blocks, and hooks for every task of a runtime.

mod allow;
mod hooks;
mod task_polls;
pub(crate) mod thread_slots;
mod watched;

pub use allow::allow_blocking;
pub use hooks::{RuntimeBuilderExt, RuntimeHooks};
pub(crate) use thread_slots::Mark;
pub use watched::Watched;

#[cfg(test)]
pub(crate) use allow::Allowed;
