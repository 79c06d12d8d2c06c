//! Hooks of Tokio's runtime builder.

use std::fmt;

use tokio::runtime::Builder;

use super::task_polls;
use crate::sync::{AtomicU32, Ordering};

type Hook = Box<dyn Fn() + Send + Sync>;
#[cfg(tokio_unstable)]
type PollHook = Box<dyn Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync>;

/// The hooks by which a runtime reports to its detectors, with hooks of your own.
///
/// Tokio's builder keeps one hook of each kind. One that you set on the builder before
/// [`stall_hooks`](RuntimeBuilderExt::stall_hooks) is replaced, one that you set after it replaces
/// ours. Set yours here: both are called.
///
/// What is reported, for a few nanoseconds each time:
///
/// - Everywhere: which thread runs which worker, as soon as the worker wakes or goes to sleep.
///   Without hooks that is learnt from ticks and marked polls.
/// - Under `--cfg tokio_unstable`: every poll of every spawned task. A task that blocks and has no
///   other name is a stall of the handler `task spawned at src/jobs.rs:88`. The root future of
///   `block_on` and the tasks of a `LocalSet` are no tasks of the runtime: Tokio has no hook for
///   them.
///
/// Your hook before a poll runs before the poll is timed, and the one after it when the time is over:
/// neither counts as part of the poll.
#[derive(Default)]
#[must_use = "hooks do nothing until they are given to a runtime's builder"]
pub struct RuntimeHooks {
    thread_start: Option<Hook>,
    thread_park: Option<Hook>,
    thread_unpark: Option<Hook>,
    #[cfg(tokio_unstable)]
    before_poll: Option<PollHook>,
    #[cfg(tokio_unstable)]
    after_poll: Option<PollHook>,
}

impl RuntimeHooks {
    /// No hooks of your own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets your hook for Tokio's [`on_thread_start`](Builder::on_thread_start).
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_start = Some(Box::new(hook));
        self
    }

    /// Sets your hook for Tokio's [`on_thread_park`](Builder::on_thread_park).
    pub fn on_thread_park(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_park = Some(Box::new(hook));
        self
    }

    /// Sets your hook for Tokio's [`on_thread_unpark`](Builder::on_thread_unpark).
    pub fn on_thread_unpark(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_unpark = Some(Box::new(hook));
        self
    }

    /// Sets your hook for Tokio's `on_before_task_poll`.
    #[cfg(tokio_unstable)]
    pub fn on_before_task_poll(
        mut self,
        hook: impl Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.before_poll = Some(Box::new(hook));
        self
    }

    /// Sets your hook for Tokio's `on_after_task_poll`.
    #[cfg(tokio_unstable)]
    pub fn on_after_task_poll(
        mut self,
        hook: impl Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.after_poll = Some(Box::new(hook));
        self
    }
}

impl fmt::Debug for RuntimeHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeHooks").finish_non_exhaustive()
    }
}

/// Adds the detector's hooks to a runtime's builder.
pub trait RuntimeBuilderExt {
    /// Makes the runtime report its workers and, under `--cfg tokio_unstable`, its polls to the
    /// detectors that watch it.
    ///
    /// Replaces the hooks that the builder has; [`RuntimeHooks`] takes yours. A detector may start
    /// before or after the runtime.
    ///
    /// ```
    /// use tower_stall::{RuntimeBuilderExt, RuntimeHooks, StallDetector};
    ///
    /// let runtime = tokio::runtime::Builder::new_multi_thread()
    ///     .enable_all()
    ///     .stall_hooks(RuntimeHooks::new().on_thread_park(|| { /* your own */ }))
    ///     .build()?;
    /// let stall = runtime.block_on(async { StallDetector::builder().start() })?;
    /// # drop(stall);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn stall_hooks(&mut self, hooks: RuntimeHooks) -> &mut Self;
}

impl RuntimeBuilderExt for Builder {
    fn stall_hooks(&mut self, hooks: RuntimeHooks) -> &mut Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let thread = |hook: Option<Hook>| {
            move || {
                task_polls::note_thread(number);
                if let Some(hook) = &hook {
                    hook();
                }
            }
        };
        self.on_thread_start(thread(hooks.thread_start))
            .on_thread_park(thread(hooks.thread_park))
            .on_thread_unpark(thread(hooks.thread_unpark));
        #[cfg(tokio_unstable)]
        {
            let (before, after) = (hooks.before_poll, hooks.after_poll);
            self.on_before_task_poll(move |task| {
                if let Some(hook) = &before {
                    hook(task);
                }
                task_polls::begin(number, task.spawned_at());
            });
            self.on_after_task_poll(move |task| {
                task_polls::end();
                if let Some(hook) = &after {
                    hook(task);
                }
            });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RuntimeBuilderExt, RuntimeHooks};
    use crate::clock;
    use crate::runtime::registry::LIMITS;
    use crate::runtime::registry::Registry;

    #[test]
    fn workers_are_known_without_a_poll_that_is_marked() {
        for hooks in [false, true] {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2).enable_all();
            if hooks {
                builder.stall_hooks(RuntimeHooks::new());
            }
            let runtime = builder.build().expect("a runtime");
            let registry = Registry::new(LIMITS);
            let watched = registry.add_runtime("hooked", runtime.handle()).expect("it watches");
            let known = || (0..2).all(|worker| watched.owner(worker).is_some());
            let limit = Duration::from_millis(if hooks { 20_000 } else { 200 });
            let over = clock::now() + clock::nanos(limit);
            while !known() && clock::now() < over {
                let sleep = || async { tokio::time::sleep(Duration::from_millis(1)).await };
                let task = || runtime.spawn(sleep());
                let tasks: Vec<_> = (0..4).map(|_| task()).collect();
                for task in tasks {
                    runtime.block_on(task).expect("no panic");
                }
            }
            assert_eq!(known(), hooks);
            // They are let go of with the runtime's threads.
            drop(runtime);
            drop(registry);
        }
    }
}
