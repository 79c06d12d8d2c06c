//! The routes of a layer by the address of their path, so that most requests find their label by
//! one comparison.

use std::sync::OnceLock;

use axum::extract::MatchedPath;

use super::route_cache::MIX;
use super::routes::Routes;

/// A power of two, some times the number of a service's busy routes.
const PLACES: usize = 128;

/// The first routes that came, one for each place. An axum router hands out the same text for a
/// route each time, unless it is nested: what is not found here has its label by its text.
#[derive(Debug)]
pub(super) struct Usual([OnceLock<KnownPath>; PLACES]);

#[derive(Debug)]
struct KnownPath {
    method: u8,
    /// Held, so that no other path can come to have its address.
    path: MatchedPath,
    label_id: u32,
}

impl Default for Usual {
    fn default() -> Self {
        Self([const { OnceLock::new() }; PLACES])
    }
}

/// Of none: other settings have other labels.
impl Clone for Usual {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Usual {
    /// The label of a route.
    #[inline]
    pub(super) fn label_id(&self, routes: &Routes, method: u8, path: &MatchedPath) -> u32 {
        match self.0[place(method, path)].get() {
            Some(known) if known.is(method, path) => known.label_id,
            _ => self.unusual(routes, method, path),
        }
    }

    #[inline(never)]
    fn unusual(&self, routes: &Routes, method: u8, path: &MatchedPath) -> u32 {
        let label_id = routes.label_id(method, path.as_str());
        self.0[place(method, path)].get_or_init(|| KnownPath {
            method,
            path: path.clone(),
            label_id,
        });
        label_id
    }
}

impl KnownPath {
    #[inline]
    fn is(&self, method: u8, path: &MatchedPath) -> bool {
        self.method == method && std::ptr::eq(self.path.as_str(), path.as_str())
    }
}

#[inline]
fn place(method: u8, path: &MatchedPath) -> usize {
    let address = path.as_str().as_ptr().addr() as u64;
    ((address ^ u64::from(method)).wrapping_mul(MIX) >> 32) as usize % PLACES
}
