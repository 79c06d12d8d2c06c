//! A subscriber that remembers the detector's events.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The events so far; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<Event>>>);

/// One event with its fields as text.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) level: Level,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Event {
    /// The text of a field, empty where it is missing.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn message(&self) -> &str {
        self.field("message")
    }

    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.field(name).parse().unwrap_or_else(|_| panic!("{name} is a number: {self:?}"))
    }
}

impl Events {
    /// A dispatcher that writes here.
    pub(crate) fn dispatch(&self) -> Dispatch {
        keep_others();
        Dispatch::new(tracing_subscriber::registry().with(self.clone()))
    }

    /// Runs `inside` with this as the dispatcher in force.
    pub(crate) fn with<R>(&self, inside: impl FnOnce() -> R) -> R {
        tracing::dispatcher::with_default(&self.dispatch(), inside)
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().expect("no test panics with it").clone()
    }

    /// Those with that `event` field.
    pub(crate) fn named(&self, event: &str) -> Vec<Event> {
        self.all().into_iter().filter(|seen| seen.field("event") == event).collect()
    }

    /// Those of one handler.
    pub(crate) fn of(&self, handler: &str) -> Vec<Event> {
        self.all().into_iter().filter(|seen| seen.field("handler") == handler).collect()
    }
}

/// Has two more dispatchers. Beside one alone tracing asks the thread that meets a call site first whether
/// anybody wants it, and then nobody any more. In a test that may be the thread of another test.
pub(crate) fn keep_others() {
    static OTHERS: LazyLock<[Dispatch; 2]> =
        LazyLock::new(|| [(), ()].map(|()| Dispatch::new(tracing_subscriber::registry())));
    LazyLock::force(&OTHERS);
}

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "tower_stall" {
            return;
        }
        let mut seen = Event { level: *event.metadata().level(), fields: BTreeMap::new() };
        event.record(&mut seen);
        self.0.lock().expect("no test panics with it").push(seen);
    }
}

impl Visit for Event {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}
