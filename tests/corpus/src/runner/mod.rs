//! Builds the corpus as its users would, runs its cases, and judges what the detector has said.

mod build;
mod case;
mod judge;
mod known;
mod run;
mod table;

pub use build::{Build, Program};
pub use case::{Case, Told};
pub use judge::{Judgement, Verdict};
pub use known::{KNOWN, Known};
pub use run::{Outcome, judge_printed, run, run_all};
pub use table::Results;
