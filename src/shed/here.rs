//! The runtime of the calling thread: found once, then remembered by the thread.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::runtime::Runtime;
use crate::runtime::registry::{DetectorId, Registry};

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// What a thread knows, as long as no runtime comes or goes.
struct Here {
    detector: DetectorId,
    changes: u64,
    runtime: Option<Arc<Runtime>>,
}

/// Whether requests that come to this thread are to be turned away.
#[inline]
pub(super) fn sheds(registry: &Registry) -> bool {
    let changes = Registry::changes();
    let answer = HERE.try_with(|here| {
        let mut here = here.try_borrow_mut().ok()?;
        let known = here.as_ref();
        if known.is_none_or(|here| here.detector != registry.id || here.changes != changes) {
            *here = Some(find(registry, changes));
        }
        here.as_ref()?.runtime.as_ref().map(|runtime| runtime.status.sheds())
    });
    answer.ok().flatten().unwrap_or(false)
}

#[cold]
fn find(registry: &Registry, changes: u64) -> Here {
    let runtime = Handle::try_current().ok().and_then(|handle| registry.runtime(&handle));
    Here { detector: registry.id, changes, runtime }
}
