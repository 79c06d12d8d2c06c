//! What a fault consists of, and the note of where it is.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::{MethodRouter, get};

/// A name, and what sets the scene, or why that cannot be done here.
pub(crate) type Fault = (&'static str, fn() -> Result<Scene, &'static str>);

/// A fault that waits for its request.
pub(crate) struct Scene {
    pub(crate) handler: MethodRouter,
    /// Lets go of what blocks.
    pub(crate) release: Box<dyn FnOnce()>,
    /// The handler that the stall is counted for, if not the one of the request.
    pub(crate) counted_for: Option<&'static str>,
    /// Whether a thread holds what is waited for.
    pub(crate) has_holder: bool,
    /// Puts something around the layer.
    pub(crate) around: fn(Router) -> Router,
}

impl Scene {
    /// The handler runs `commit`, which returns once `release` was called.
    pub(crate) fn new(
        commit: impl FnOnce() + Send + 'static,
        release: impl FnOnce() + 'static,
    ) -> Self {
        let commit = Arc::new(Mutex::new(Some(commit)));
        let handler = move || {
            let commit = commit.lock().expect("not poisoned").take();
            async move { commit.expect("there is one request")() }
        };
        Self::of(get(handler), release)
    }

    /// The handler returns once `release` was called.
    pub(crate) fn of(handler: MethodRouter, release: impl FnOnce() + 'static) -> Self {
        let (release, around) = (Box::new(release), std::convert::identity);
        Self { handler, release, counted_for: None, has_holder: false, around }
    }

    pub(crate) fn with_holder(self) -> Self {
        Self { has_holder: true, ..self }
    }

    /// A fault that looks at a switch now and then.
    pub(crate) fn until(fault: fn(&AtomicBool)) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&over);
        Self::new(move || fault(&over), move || switch.store(true, Relaxed))
    }
}

static NOTED: Mutex<(&str, u32)> = Mutex::new(("", 0));

/// Notes where the fault is; see `here!`.
pub(crate) fn note(file: &'static str, line: u32) {
    *NOTED.lock().expect("not poisoned") = (file, line);
}

/// Where the fault is.
pub(crate) fn noted() -> (&'static str, u32) {
    *NOTED.lock().expect("not poisoned")
}
