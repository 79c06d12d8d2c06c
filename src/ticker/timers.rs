//! Whether a runtime has timers. Tokio shows it only by a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::runtime::Handle;

/// Makes a timer that is never polled. On a runtime without timers that panics: the panic is caught
/// here, and the panic hook of the process hears of it. So this is only for runtimes whose user has
/// named them, at the start, where a hook that ends the process is noticed.
pub(super) fn has_timers(handle: &Handle) -> bool {
    // A panic that is under way leaves no room for another one.
    !std::thread::panicking()
        && catch_unwind(AssertUnwindSafe(|| {
            let _inside = handle.enter();
            drop(tokio::time::sleep(Duration::ZERO));
        }))
        .is_ok()
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
