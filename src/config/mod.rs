//! The settings, from code and from the environment, and the errors of a start.

mod environment;
mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
pub(crate) mod limits;
mod parse;
mod settings;

#[cfg(feature = "testing")]
pub(crate) use environment::variables;
pub use error::BuildError;
#[cfg(feature = "admin")]
pub(crate) use settings::Render;
pub(crate) use settings::Settings;
