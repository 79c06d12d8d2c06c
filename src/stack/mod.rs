//! Takes the stack of a thread that blocks, without a change to what it does.
//!
//! A signal would make a blocked `poll`, `nanosleep` or timed read return early, so the stack of a
//! thread that waits in the kernel is taken from outside: the kernel shows its stack pointer, its
//! stack is copied, and the copy counts if the thread has not moved meanwhile. Only a thread that
//! computes gets a signal.
//!
//! ```text
//! Stacks ── limits ─► Sampler (queue, thread) ─► native::take   did the thread stand still?
//!                        │ inbox: stacks first  ├► native::holder who has what it waits for?
//!                        │                         ├► sys         copy its stack, or signal it
//!                        │                         └► unwind      from the copy to its frames
//!                        │                              ├► bridge  over code without unwind information
//!                        │                              ├► images  modules: unwind information
//!                        │                              └► arch    registers, calls, prologues
//!                        └─► Symbolizer (queue, thread) ─► native::names   remembered names
//!                              │                             ├► pace         CPU and memory limits
//!                              │                             └► debug_info   files, lines, functions
//!                              └► told: a closure          user_frame      the user's own code
//!                                                          await_chain     who awaits whom
//!                                                          poll_frame      in a poll? ─► proof
//!                                                          poll_returns    has it returned?
//! ```
//!
//! It knows no detector: the caller passes closures that tell whether the thread is still in the same
//! poll, and that take the answer. What depends on the system is in `native`. To add an architecture,
//! add a folder to `native/arch`, a file to `src/sys/native/arch`, and its name to the condition
//! below and to the same one in `src/sys/mod.rs`.

mod await_chain;
mod holder_news;
mod inbox;
mod limits;
mod mode;
#[cfg_attr(
    not(all(
        feature = "capture",
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    )),
    path = "unsupported.rs"
)]
mod native;
mod poll_frame;
mod poll_returns;
mod proof;
mod raw;
mod sampler;
mod stacks;
mod symbolizer;
mod user_frame;

pub(crate) use holder_news::HolderNews;
pub(crate) use limits::LIMITED;
pub use mode::{Capture, ParseCaptureError, ParseSymbolsError, Symbols};
#[cfg(feature = "__bench")]
pub(crate) use native::bench;
#[cfg(fuzzing)]
pub(crate) use native::fuzz;
#[cfg(test)]
pub(crate) use proof::ReturnCount;
pub(crate) use proof::{PollProof, ProvenPoll};
pub(crate) use sampler::Sampler;
pub(crate) use stacks::{Stacks, WantedHolder, WantedStack};
pub(crate) use symbolizer::StackSettings;
pub(crate) use user_frame::OwnCode;
