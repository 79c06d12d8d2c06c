//! Whether a runtime has timers. Tokio shows it only by a panic.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::sync::lock;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Makes a timer that is never polled, which panics on a runtime without timers. The panic is caught
/// here, and the panic hook of the process is not called for it.
///
/// Must not be called in a program built with `panic = "abort"`.
pub(super) fn has_timers(handle: &Handle) -> bool {
    if std::thread::panicking() {
        // The hook cannot be changed now.
        return false;
    }
    let _one = lock(&ONE_AT_A_TIME);
    let asking = std::thread::current().id();
    let before = Arc::new(take_hook());
    set_hook(Box::new({
        let before = Arc::clone(&before);
        move |panic| {
            if std::thread::current().id() != asking {
                before(panic);
            }
        }
    }));
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let _inside = handle.enter();
        drop(tokio::time::sleep(Duration::ZERO));
    }));
    drop(take_hook());
    set_hook(match Arc::try_unwrap(before) {
        Ok(before) => before,
        Err(shared) => Box::new(move |panic| shared(panic)),
    });
    answer.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_seen_and_their_lack_too() {
        for timers in [true, false] {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            if timers {
                builder.enable_time();
            }
            let runtime = builder.build().expect("a runtime");
            assert_eq!(has_timers(runtime.handle()), timers);
        }
    }
}
