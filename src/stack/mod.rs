//! The stack of a thread that is stuck, taken without a change to what it does.
//!
//! A signal would make a blocked `poll`, `nanosleep` or timed read return early, so a thread that
//! waits in the kernel is looked at from outside: the kernel tells its stack pointer, its stack is
//! copied, and the copy counts if nothing shows that the thread has moved meanwhile. Only a thread
//! that computes gets a signal.
//!
//! ```text
//! Stacks ── limits ─► Sampler (queue, thread) ─► native::take   does the thread stand still?
//!                        │                         ├► sys         copy its stack, or signal it
//!                        │                         └► unwind      from the copy to its frames
//!                        │                              ├► images  modules: unwind information
//!                        │                              └► arch    registers, calls, prologues
//!                        └─► Symbolizer (queue, thread) ─► symbols      names
//!                              └► told: a closure          user_frame   the user's own code
//!                                                          poll_frame   in a poll? ─► proof
//! ```
//!
//! It knows no detector: whether the thread is still in the same poll is a question it is given, and
//! whom to tell a closure. What knows the system lies in `native`. A further architecture is a folder
//! in `native/arch`, one in `src/sys/native/arch`, and its name in the condition below, which
//! `src/sys/mod.rs` has too.

mod limits;
mod mode;
#[cfg_attr(
    not(all(feature = "capture", target_os = "linux", target_arch = "x86_64")),
    path = "unsupported.rs"
)]
mod native;
mod poll_frame;
mod proof;
mod raw;
mod sampler;
mod stacks;
mod symbolizer;
mod user_frame;

pub use mode::{Capture, ParseCaptureError};
#[cfg(feature = "__bench")]
pub(crate) use native::bench;
#[cfg(test)]
pub(crate) use proof::ReturnCount;
pub(crate) use proof::{PollProof, ProvenPoll};
pub(crate) use sampler::Sampler;
pub(crate) use stacks::{Stacks, WantedStack};
#[cfg(feature = "testing")]
pub(crate) use user_frame::is_own_frame;
