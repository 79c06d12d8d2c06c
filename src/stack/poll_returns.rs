//! Counts the returns of polls, from the moment that a stack is taken: the poll may be over before the
//! stack has its names.

use std::sync::{Mutex, OnceLock};

use super::native;
use super::poll_frame::runs_polls;
use super::proof::ReturnCount;
use super::raw::{Image, RawStack};
use crate::procfs::thread::calls_are_filtered;
use crate::stall::Frame;
use crate::sync::lock;
use crate::sys::{Returns, returns_are_counted};

/// How many places that polls return to are remembered. A scheduler has one or two.
const MOST_KNOWN: usize = 16;

/// Knows where polls return to, and counts that. Shared by the threads that take and name stacks.
#[derive(Debug, Default)]
pub(super) struct PollReturns {
    /// Whether breakpoints work, once that is known.
    work: OnceLock<bool>,
    known: Mutex<Vec<Place>>,
}

/// A place that polls of a kind of runtime return to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    address: u64,
    /// Of its module.
    listing: u64,
    single: bool,
}

impl PollReturns {
    /// Counts how many times the thread comes by the address from now on; `None` if the system does not
    /// allow it.
    pub(super) fn count(&self, thread: u32, address: u64) -> Option<ReturnCount> {
        // Usual filters leave the call out, and some end the process for it.
        let work = !calls_are_filtered() && *self.work.get_or_init(returns_are_counted);
        let returns = work.then(|| Returns::count(thread, address).ok()).flatten()?;
        Some(ReturnCount::new(move || returns.so_far()))
    }

    /// The polls of such a runtime return to that address of the stack, as its names have shown.
    pub(super) fn learn(&self, stack: &RawStack, address: u64, single: bool) {
        let place = places(stack, single).find(|place| place.address == address);
        let mut known = lock(&self.known);
        if let Some(place) = place
            && known.len() < MOST_KNOWN
            && !known.contains(&place)
        {
            known.push(place);
        }
    }

    /// The address that the poll returns to, if there is one on the stack. A guess, which the names of the
    /// stack confirm or not: by what was learned, and by the symbols of the program, which are read within
    /// milliseconds.
    pub(super) fn guess(&self, stack: &RawStack, single: bool) -> Option<u64> {
        let known = lock(&self.known);
        let learned = places(stack, single).find(|place| known.contains(place));
        drop(known);
        learned.map(|place| place.address).or_else(|| by_symbols(stack, single))
    }
}

fn places(stack: &RawStack, single: bool) -> impl Iterator<Item = Place> {
    stack.frames.iter().filter_map(move |code| {
        let listing = code.image.as_ref()?.listing;
        Some(Place { address: code.address, listing, single })
    })
}

/// The innermost frame of a function that runs polls.
fn by_symbols(stack: &RawStack, single: bool) -> Option<u64> {
    let of_program = |image: &Image| image.is_program;
    let code = stack.frames.iter();
    let code = code.filter(|code| code.image.as_deref().is_some_and(of_program));
    let code: Vec<_> = code.collect();
    let image = code.first()?.image.as_deref()?;
    let addresses: Vec<u64> =
        code.iter().map(|code| code.lookup().wrapping_sub(image.base)).collect();
    let functions = native::functions_at(image, &addresses);
    let runs = functions.into_iter().position(|function| {
        let frame = Frame { function, ..Frame::default() };
        runs_polls(&frame, single)
    });
    Some(code[runs?].address)
}
