//! The runtime of the calling thread, cached by the thread.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::runtime::Runtime;
use crate::runtime::registry::{DetectorId, NO_DETECTOR, Registry};

thread_local! {
    static HERE: RefCell<Here> =
        const { RefCell::new(Here { detector: NO_DETECTOR, changes: 0, runtime: None }) };
}

/// What a thread has cached; valid until a runtime comes or goes.
struct Here {
    detector: DetectorId,
    changes: u64,
    runtime: Option<Arc<Runtime>>,
}

/// Whether requests that come to this thread are to be turned away.
#[inline]
pub(crate) fn sheds(registry: &Registry) -> bool {
    let changes = Registry::changes();
    let sheds = HERE.try_with(|here| {
        let Ok(mut here) = here.try_borrow_mut() else { return false };
        if (here.detector, here.changes) != (registry.id, changes) {
            *here = find(registry, changes);
        }
        here.runtime.as_ref().is_some_and(|runtime| runtime.status.sheds())
    });
    sheds.unwrap_or(false)
}

#[cold]
fn find(registry: &Registry, changes: u64) -> Here {
    let runtime = Handle::try_current().ok().and_then(|handle| registry.runtime(&handle));
    Here { detector: registry.id, changes, runtime }
}
