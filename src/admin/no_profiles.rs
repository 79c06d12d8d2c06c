//! What is in the place of profiles in a build without them.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::outbox::Outbox;
use crate::runtime::registry::Registry;

const NO_PROFILES: &str = "404: built without profiles. Switch on the crate's feature `profile`: \
    tower-stall = { .., features = [\"profile\"] }\n";

pub(super) fn routes(_: Arc<Registry>, _: Outbox) -> Router {
    let paths = ["/stalls.folded", "/debug/pprof/stalls", "/stalls.firefox.json"];
    let answer = async || (StatusCode::NOT_FOUND, NO_PROFILES);
    paths.into_iter().fold(Router::new(), |routes, path| routes.route(path, get(answer)))
}
