//! Ways to break a run by hand, to see that it fails: `STALL_SOAK_BREAK`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Nothing,
    /// A handler that commits faults lies outside of the layer.
    Layer,
    /// The line of a fault is expected elsewhere.
    Line,
    /// A handler of which nothing is expected blocks at times.
    Hello,
    /// A descriptor is lost each second.
    Leak,
}

impl Broken {
    pub(crate) fn from_environment() -> Self {
        match std::env::var("STALL_SOAK_BREAK").as_deref() {
            Err(_) => Self::Nothing,
            Ok("layer") => Self::Layer,
            Ok("line") => Self::Line,
            Ok("hello") => Self::Hello,
            Ok("leak") => Self::Leak,
            Ok(other) => panic!("STALL_SOAK_BREAK={other}: layer, line, hello or leak"),
        }
    }

    pub(crate) fn is_outside(self, name: &str) -> bool {
        self == Self::Layer && name == "std-mutex"
    }

    /// How many lines below the right one that fault is expected.
    pub(crate) fn lines_below(self, name: &str) -> u32 {
        u32::from(self == Self::Line && name == "std-mutex")
    }

    pub(crate) fn hello(self) -> &'static str {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        if self == Self::Hello && CALLS.fetch_add(1, Relaxed) % 300 == 100 {
            std::thread::sleep(Duration::from_millis(400));
        }
        "hello\n"
    }

    pub(crate) fn leak(self) {
        if self == Self::Leak {
            std::mem::forget(std::fs::File::open("/dev/null"));
        }
    }
}
