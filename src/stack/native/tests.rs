//! The capture of real threads: what the unwinder of the thread itself says is the truth.

mod blocked;
mod holders;
mod looks;
mod running;
mod soak;
mod support;
