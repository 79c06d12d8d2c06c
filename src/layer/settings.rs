//! The settings that the services of a layer share, and how a request gets its mark.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;

use super::in_flight::InFlight;
use super::labels::{LayerLabels, NO_METHOD, is_grpc};
use super::request::{RequestHead, trace_id};
use crate::mark::Mark;
use crate::slot::LabelId;

type HandlerName = dyn Fn(RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync;
type TraceId = dyn Fn(RequestHead<'_>) -> Option<u128> + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) labels: LayerLabels,
    /// Declared gRPC methods.
    pub(super) methods: Vec<Box<str>>,
    pub(super) handler_name: Option<Arc<HandlerName>>,
    pub(super) trace_id: Option<Arc<TraceId>>,
    pub(super) kept: Kept,
}

/// The first settings of a process that services use are never freed, so that the clones of a service,
/// of which there is one for each request, count no references. So many are kept, of some kilobytes
/// each: more than a program has layers, unless it makes one for each connection.
const MOST_KEPT: u32 = 64;

/// Whether settings are kept, once that is known.
#[derive(Default)]
pub(super) struct Kept(OnceLock<Option<&'static Settings>>);

/// Other settings are not kept yet.
impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The settings, as the services of a layer have them.
#[derive(Clone)]
pub(super) enum SharedSettings {
    Kept(&'static Settings),
    Counted(Arc<Settings>),
}

impl SharedSettings {
    pub(super) fn of(settings: &Arc<Settings>) -> Self {
        match settings.kept.0.get_or_init(|| keep(settings)) {
            Some(kept) => Self::Kept(kept),
            None => Self::Counted(Arc::clone(settings)),
        }
    }
}

/// Keeps settings for ever, if there are not too many. What the user's functions own is not kept.
fn keep(settings: &Arc<Settings>) -> Option<&'static Settings> {
    static KEPT: AtomicU32 = AtomicU32::new(0);
    let is_plain = settings.handler_name.is_none() && settings.trace_id.is_none();
    let may_keep = is_plain && KEPT.fetch_add(1, Ordering::Relaxed) < MOST_KEPT;
    may_keep.then(|| &**Box::leak(Box::new(Arc::clone(settings))))
}

impl Deref for SharedSettings {
    type Target = Settings;

    #[inline]
    fn deref(&self) -> &Settings {
        match self {
            Self::Kept(settings) => settings,
            Self::Counted(settings) => settings,
        }
    }
}

impl fmt::Debug for SharedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Settings {
    /// Marks a request, which [begins](InFlight::begin) next.
    ///
    /// Not inlined, so that `call` stays small, is inlined and builds its future in place.
    #[inline(never)]
    pub(super) fn mark(&self, head: RequestHead<'_>) -> InFlight {
        let named = self.handler_name.as_deref().and_then(|name| self.named(head, name));
        let (label_id, learn) = match named {
            Some(label_id) => (label_id, None),
            None if *head.method == Method::POST && is_grpc(head.headers) => {
                self.labels.of_grpc(head)
            }
            None => (self.labels.of_matched_path(head), None),
        };
        let trace = match self.trace_id.as_deref() {
            Some(trace_id) => traced(head, trace_id),
            None => trace_id(head.headers),
        };
        let mark = Mark { detector: self.labels.detector, label_id };
        InFlight { mark, trace: [(trace >> 64) as u64, trace as u64], learn }
    }

    #[inline(never)]
    fn named(&self, head: RequestHead<'_>, name: &HandlerName) -> Option<LabelId> {
        let name = contained(|| name(head))?;
        Some(self.labels.of_route(NO_METHOD, &name))
    }
}

#[inline(never)]
fn traced(head: RequestHead<'_>, trace_id: &TraceId) -> u128 {
    contained(|| trace_id(head)).unwrap_or(0)
}

/// Calls a user's function. A panic counts as `None` and does not reach the request.
fn contained<T>(call: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok().flatten()
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("threshold", &Duration::from_nanos(self.labels.threshold))
            .field("handler_name", &self.handler_name.is_some())
            .field("trace_id", &self.trace_id.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::StallLayer;
    use crate::runtime::registry::LIMITS;
    use crate::runtime::registry::Registry;

    #[test]
    fn no_more_than_some_settings_are_kept_and_no_functions() {
        let registry = Registry::new(LIMITS);
        let is_kept = |layer: &StallLayer| {
            matches!(SharedSettings::of(layer.settings()), SharedSettings::Kept(_))
        };
        let with_function = StallLayer::new(&registry).trace_id(|_| None);
        assert!(!is_kept(&with_function));
        let layers: Vec<_> = (0..=MOST_KEPT).map(|_| StallLayer::new(&registry)).collect();
        // Other tests of this process have layers too.
        let kept = layers.iter().filter(|layer| is_kept(layer)).count();
        assert!(kept <= MOST_KEPT as usize, "{kept} are kept");
        let (first, again) = (SharedSettings::of(layers[0].settings()), layers[0].clone());
        assert!(std::ptr::eq(&*first, &*SharedSettings::of(again.settings())));
    }
}
