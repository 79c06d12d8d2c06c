//! What the benches of the repository measure with.

#[path = "../../src/cores.rs"]
mod cores;
#[path = "../../src/estimate.rs"]
mod estimate;
#[path = "../../src/load.rs"]
mod load;
#[path = "../../src/rounds.rs"]
mod rounds;

pub use cores::{cores, stay_on_core, stay_on_one_core};
pub use estimate::Estimate;
pub use load::{LATE, Load, TURN, cpu_of};
pub use rounds::{Rounds, Target, per_operation};
