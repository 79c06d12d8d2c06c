//! The stack of a thread that is stuck, taken without a change to what it does.
//!
//! A signal would make a blocked `poll`, `nanosleep` or timed read return early, so a thread that
//! waits in the kernel is looked at from outside: the kernel tells its stack pointer, its stack is
//! copied, and the copy counts if nothing shows that the thread has moved meanwhile. Only a thread
//! that computes gets a signal.
//!
//! ```text
//! Sampler (queue, thread) ─► take ─► task, state   where is the thread, does it stand still?
//!                                  ─► sys           copy its stack, or send it a signal
//!                                  ─► unwind        from the copy to its frames
//!                                       └► images   modules: unwind information, code
//! and on another thread:   symbols ─► site          names; the first frame of the user's own
//! ```
//!
//! It knows no detector: whether the thread is still in the same poll is a question it is given.

#[cfg(all(feature = "__bench", feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod bench;
mod image;
mod mode;
mod poll_frame;
mod proof;
mod sampler;
mod symbolizer;
mod user_frame;

#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod calls;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod headers;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod images;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod pointer_args;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod prologue;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod state;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod take;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod task;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod unwind;

#[cfg(not(all(feature = "capture", target_os = "linux", target_arch = "x86_64")))]
#[path = "take_unsupported.rs"]
mod take;

#[cfg(all(
    feature = "__bench",
    feature = "capture",
    target_os = "linux",
    target_arch = "x86_64"
))]
pub use bench::{BenchCaptures, BenchParts, BenchStack};
pub use mode::{Capture, ParseCaptureError};
pub(crate) use poll_frame::poll_returns_to;
pub(crate) use proof::{PollProof, ProvenPoll};
pub(crate) use sampler::{Captured, Sampler, StackOutcome, StackRequest};
#[cfg(all(test, feature = "capture", target_os = "linux", target_arch = "x86_64"))]
use sampler::{DEADLINE, RawStack, Way};
pub(crate) use symbolizer::Symbols;
#[cfg(feature = "testing")]
pub(crate) use user_frame::is_own_frame;
pub(crate) use user_frame::{mark_own, site};

#[cfg(all(test, feature = "capture", target_os = "linux", target_arch = "x86_64"))]
mod tests;
