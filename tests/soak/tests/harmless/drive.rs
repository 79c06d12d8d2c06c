//! Calls in watched polls, and what is seen of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_stall::Stall;

use crate::call::{Call, Returned};
use crate::support::needs::skip;
use crate::support::*;

/// How often a call is made without a detector.
const REFERENCES: usize = 5;
/// Handlers of a call: one stack a second is taken of each.
const NAMES: usize = 24;
/// More than all names of all calls.
const HANDLERS: usize = 4096;

/// What became of the stalls of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls {
    pub(crate) quietly: usize,
    pub(crate) by_signal: usize,
    without: BTreeMap<Cow<'static, str>, usize>,
}

/// The same of all calls; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<BTreeMap<String, Stalls>>>);

impl Seen {
    pub(crate) fn of(&self, call: &str) -> Stalls {
        self.0.lock().expect("no panic").get(call).cloned().unwrap_or_default()
    }

    /// Stacks that were taken by a signal, of all calls.
    pub(crate) fn signals(&self) -> usize {
        self.0.lock().expect("no panic").values().map(|stalls| stalls.by_signal).sum()
    }

    fn note(&self, stall: &Stall) {
        let Some((call, _)) = stall.handler.split_once('#') else { return };
        if stall.in_progress {
            return;
        }
        let mut all = self.0.lock().expect("no panic");
        let seen = all.entry(call.to_owned()).or_default();
        match &stall.stack {
            Some(stack) if stack.by_signal => seen.by_signal += 1,
            Some(_) => seen.quietly += 1,
            None => {
                let why = stall.stack_missing.clone().unwrap_or("none".into());
                *seen.without.entry(why).or_default() += 1;
            }
        }
    }
}

/// A handler of the call.
pub(crate) fn name(call: &str, run: usize) -> String {
    format!("{call}#{}", run % NAMES)
}

/// Two workers under the shortest threshold.
pub(crate) fn rig(seen: &Seen) -> Rig {
    let seen = seen.clone();
    Rig::new(2, |builder| {
        let builder = builder.threshold(Duration::from_millis(1)).max_handlers(HANDLERS);
        let builder = builder.capture_cpu_percent(100);
        builder.on_stall(move |stall: &Stall| seen.note(stall))
    })
}

/// The call and what it returns without a detector.
pub(crate) fn with_reference(mut call: Call) -> (Call, Returned) {
    let mut all: Vec<Returned> = (0..REFERENCES).map(|_| (call.prepare)()()).collect();
    all.dedup();
    assert_eq!(all.len(), 1, "{} returns always the same: {all:#?}", call.name);
    let reference = all.remove(0);
    assert!(!reference.is_interrupted(), "{}: {reference:?}", call.name);
    (call, reference)
}

/// Whether the kernel sends the signal, when no call can be cut short. Where it does not, little can
/// be said of calls.
pub(crate) fn kernel_sends() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    let sends = (numbers.next(), numbers.next()) >= (Some(5), Some(9));
    if !sends {
        skip(&format!("the kernel is older than 5.9: {release}"));
    }
    sends
}
