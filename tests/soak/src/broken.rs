//! Ways to break a run by hand, to see that it fails: `STALL_SOAK_BREAK`, names divided by commas.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// What is broken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Broken {
    /// A handler that commits faults lies outside of the layer.
    layer: bool,
    /// The line of a fault is expected elsewhere.
    line: bool,
    /// A handler of which nothing is expected blocks at times.
    hello: bool,
    /// A descriptor is lost each second.
    leak: bool,
}

impl Broken {
    pub(crate) fn from_environment() -> Self {
        let mut broken = Self::default();
        let names = std::env::var("STALL_SOAK_BREAK").unwrap_or_default();
        for name in names.split(',').filter(|name| !name.is_empty()) {
            match name {
                "layer" => broken.layer = true,
                "line" => broken.line = true,
                "hello" => broken.hello = true,
                "leak" => broken.leak = true,
                other => panic!("STALL_SOAK_BREAK={other}: layer, line, hello or leak"),
            }
        }
        broken
    }

    pub(crate) fn is_any(self) -> bool {
        self.layer || self.line || self.hello || self.leak
    }

    pub(crate) fn is_outside(self, name: &str) -> bool {
        self.layer && name == "std-mutex"
    }

    /// How many lines below the right one that fault is expected.
    pub(crate) fn lines_below(self, name: &str) -> u32 {
        u32::from(self.line && name == "std-rwlock")
    }

    pub(crate) fn hello(self) -> &'static str {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        if self.hello && CALLS.fetch_add(1, Relaxed) % 200 == 100 {
            std::thread::sleep(Duration::from_millis(400));
        }
        "hello\n"
    }

    pub(crate) fn leak(self) {
        if self.leak {
            std::mem::forget(std::fs::File::open("/dev/null"));
        }
    }
}
