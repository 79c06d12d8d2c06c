//! Short tasks on a watched runtime. Each one also shows which worker its thread runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{self, Nanos};
use crate::mark::thread_slots;
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;

/// How long a task yields until each worker has run one.
const LONGEST_MAP: Nanos = 1_000_000;
/// The same at the start, where a worker that is awake may be busy or about to run one.
const FIRST_MAP: Nanos = 20_000_000;
/// The same where a worker still sleeps.
const LONGEST_FIRST_MAP: Nanos = 50_000_000;
/// Between two looks whether they have.
const PAUSE: Duration = Duration::from_micros(100);

/// Spawns a task that shows that the runtime polls tasks. A parked worker wakes to run it, and takes
/// over the runtime's I/O and time drivers if no other worker has them.
pub(crate) fn ping(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    spawn(registry, runtime, 1, |runtime, _| {
        runtime.heartbeat.touch(clock::now());
        runtime.status.answer();
        false
    });
}

/// Spawns as many tasks as there are workers. They yield until each worker has run one, so that the idle
/// ones wake too, but for a moment only.
pub(crate) fn map_workers(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    spawn(registry, runtime, runtime.workers, |runtime, ran| {
        ran < LONGEST_MAP && runtime.unseen_workers().next().is_some()
    });
}

/// The same for a runtime that is watched from now on, with more time for idle workers to wake: a task that
/// blocks at once may be the only one that its worker ever runs.
pub(crate) fn map_idle_workers(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    spawn(registry, runtime, runtime.workers, |runtime, ran| is_worth_a_wait(runtime, ran, None));
}

/// Waits until all workers have run such a task, for a moment. Then notes which worker the calling thread
/// runs: not before, since what it did until now is no stall of the service.
pub(crate) fn wait_for_map(registry: &Registry, runtime: &Runtime) {
    let runs_here = Handle::try_current().is_ok_and(|handle| handle.id() == runtime.id);
    let own = tokio::runtime::worker_index().filter(|_| runs_here);
    let start = clock::now();
    while !runtime.single && is_worth_a_wait(runtime, clock::now() - start, own) {
        std::thread::sleep(PAUSE);
    }
    if runs_here {
        note_owner(registry, runtime);
    }
}

/// Whether a worker other than `own` may yet run such a task, after that time.
fn is_worth_a_wait(runtime: &Runtime, waited: Nanos, own: Option<usize>) -> bool {
    let is_other = |worker: usize| Some(worker) != own;
    match waited {
        ..FIRST_MAP => runtime.unseen_workers().any(is_other),
        FIRST_MAP..LONGEST_FIRST_MAP => runtime.unseen_idle_workers().any(is_other),
        LONGEST_FIRST_MAP.. => false,
    }
}

/// `goes_on` says whether to run again, after that time.
fn spawn(
    registry: &Arc<Registry>,
    runtime: &Arc<Runtime>,
    tasks: usize,
    goes_on: fn(&Runtime, Nanos) -> bool,
) {
    let Some(handle) = runtime.handle() else { return };
    for _ in 0..tasks {
        let (registry, runtime) = (Arc::downgrade(registry), Arc::downgrade(runtime));
        drop(handle.spawn(async move {
            let start = clock::now();
            while let (Some(registry), Some(runtime)) = (registry.upgrade(), runtime.upgrade()) {
                note_owner(&registry, &runtime);
                if !goes_on(&runtime, clock::now() - start) {
                    break;
                }
                drop((registry, runtime));
                tokio::task::yield_now().await;
            }
        }));
    }
}

/// Notes that the calling thread runs its worker.
pub(super) fn note_owner(registry: &Registry, runtime: &Runtime) {
    registry.note_owner(runtime, tokio::runtime::worker_index(), thread_slots::thread_number());
}
