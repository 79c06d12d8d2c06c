//! The hook that a service gives the detector.

use crate::stall::Stall;

/// Receives stalls, on the reporter's thread.
///
/// Called twice for each stall: when it is counted (`in_progress` is `true`) and when it has ended.
/// It is called once more when a stall that was blamed on the environment turns out to be the
/// handler's.
///
/// A hook may block, panic or drop the detector: the service does not notice. While a hook is stuck,
/// log lines and further calls wait in a bounded queue. What does not fit is dropped and counted in
/// `tower_stall_reports_suppressed_total`.
///
/// Implemented for closures `FnMut(&Stall)`, for `()`, which does nothing, and for boxed trait
/// objects, so that hooks can be chosen at run time:
///
/// ```
/// use tower_stall::{OnStall, Stall, StallDetector};
///
/// struct Count(u64);
///
/// impl OnStall for Count {
///     fn on_stall(&mut self, _: &Stall) {
///         self.0 += 1;
///     }
/// }
///
/// let print = |stall: &Stall| println!("{}", stall.handler);
/// let hooks: Vec<Box<dyn OnStall>> = vec![Box::new(Count(0)), Box::new(print)];
/// let builder = hooks.into_iter().fold(StallDetector::builder(), |builder, hook| builder.on_stall(hook));
/// # drop(builder);
/// ```
pub trait OnStall: Send + 'static {
    /// A stall was counted, or ended.
    fn on_stall(&mut self, stall: &Stall);
}

impl OnStall for () {
    fn on_stall(&mut self, _: &Stall) {}
}

impl<F: FnMut(&Stall) + Send + 'static> OnStall for F {
    fn on_stall(&mut self, stall: &Stall) {
        self(stall);
    }
}

// Not for each `Box<T>`: a box of a closure is a closure itself.
impl OnStall for Box<dyn OnStall> {
    fn on_stall(&mut self, stall: &Stall) {
        (**self).on_stall(stall);
    }
}

impl OnStall for Box<dyn OnStall + Sync> {
    fn on_stall(&mut self, stall: &Stall) {
        (**self).on_stall(stall);
    }
}
