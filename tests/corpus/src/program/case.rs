//! What a case consists of.

use serde_json::{Value, json};

use crate::stage::Stage;

/// A situation, and what its user is to be told.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The public reports that it follows.
    pub(crate) source: &'static str,
    pub(crate) runtime: Flavor,
    /// One for each record; none where nothing stalls.
    pub(crate) told: &'static [Told],
    /// Sets the scene and begins. It is called outside of the runtime.
    pub(crate) run: fn(&Stage),
    /// Whether this machine has what the case needs.
    pub(crate) possible: fn() -> Result<(), &'static str>,
}

/// The runtime of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// So many workers.
    Workers(usize),
    CurrentThread,
}

/// A record.
#[derive(Debug)]
pub(crate) struct Told {
    handler: &'static str,
    /// Of several, divided by `|`, each is right.
    cause: &'static str,
    /// The function of the site without the name of the crate; empty if none of the user's own is on the
    /// stack.
    function: &'static str,
    /// What the fix has in it. Of several, divided by `|`, each is right.
    fix: &'static str,
    /// Who holds the lock, of several, divided by `|`, each is right; and the function of the first thread without
    /// the name of the crate, if there is one.
    pub(crate) held_by: Option<(&'static str, &'static str)>,
}

impl Told {
    pub(crate) const fn held_by(self, holder: &'static str, function: &'static str) -> Self {
        Self { held_by: Some((holder, function)), ..self }
    }
}

/// See [`Told`].
pub(crate) const fn told(
    handler: &'static str,
    cause: &'static str,
    function: &'static str,
    fix: &'static str,
) -> Told {
    Told { handler, cause, function, fix, held_by: None }
}

impl Case {
    pub(crate) const fn new(
        name: &'static str,
        source: &'static str,
        told: &'static [Told],
        run: fn(&Stage),
    ) -> Self {
        Self { name, source, runtime: Flavor::Workers(2), told, run, possible: || Ok(()) }
    }

    pub(crate) const fn on(self, runtime: Flavor) -> Self {
        Self { runtime, ..self }
    }

    pub(crate) const fn if_possible(self, possible: fn() -> Result<(), &'static str>) -> Self {
        Self { possible, ..self }
    }

    pub(crate) fn describe(&self) -> Value {
        let told = |told: &Told| {
            json!({
                "handler": told.handler,
                "cause": told.cause,
                "function": told.function,
                "fix": told.fix,
                "held_by": told.held_by,
            })
        };
        let told: Vec<_> = self.told.iter().map(told).collect();
        json!({ "name": self.name, "source": self.source, "told": told })
    }
}
