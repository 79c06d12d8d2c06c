//! The settings, from code and from the environment, and what can be wrong with them.

mod environment;
mod error;
pub(crate) mod limits;
mod parse;
mod settings;

pub(crate) use environment::variables;
pub use error::BuildError;
pub(crate) use settings::{Render, Settings};
