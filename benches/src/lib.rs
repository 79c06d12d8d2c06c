//! Interleaved measurement: contenders take turns, round after round, so that what else the
//! machine does meets all of them; each round gives one difference or ratio, and the median of
//! those is told with its 95 % interval.

mod cores;
mod estimate;
mod load;
mod machine;
mod rounds;
mod watchdog;

pub use cores::{cores, move_to_core, stay_on_core, stay_on_one_core};
pub use estimate::Estimate;
pub use load::{LATE, Load, TURN, cpu_of};
pub use machine::{print_head, process_cpu, wake_ups, watched_runtime};
pub use rounds::{Rounds, Target, per_operation};
pub use watchdog::{WatchdogThread, WatchdogTimes};
