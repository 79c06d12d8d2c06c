//! What one service remembers of its requests, so that most find their label by one comparison.

use std::sync::OnceLock;

use axum::extract::MatchedPath;

use super::routes::Routes;

/// The route that a service is asked for: nearly always the same one, since axum puts the layer
/// around each method of each route. The first one is kept; others are looked up.
#[derive(Debug, Default)]
pub(super) struct Usual(OnceLock<Known>);

#[derive(Debug)]
struct Known {
    method: u8,
    /// Held, so that no other path can come to have its address.
    path: MatchedPath,
    marker: u32,
}

impl Known {
    #[inline]
    fn is(&self, method: u8, path: &MatchedPath) -> bool {
        self.method == method && std::ptr::eq(self.path.as_str(), path.as_str())
    }
}

impl Usual {
    /// The marker of a route.
    #[inline]
    pub(super) fn marker(&self, routes: &Routes, method: u8, path: &MatchedPath) -> u32 {
        match self.0.get() {
            Some(known) if known.is(method, path) => known.marker,
            _ => self.another(routes, method, path),
        }
    }

    #[cold]
    fn another(&self, routes: &Routes, method: u8, path: &MatchedPath) -> u32 {
        let marker = routes.marker(method, path.as_str());
        self.0.get_or_init(|| Known { method, path: path.clone(), marker });
        marker
    }
}
