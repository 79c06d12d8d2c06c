//! `/livez` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::health::{HealthReport, HealthState};

/// Time limit of all checks of the user together.
const LONGEST_CHECK: Duration = Duration::from_secs(1);

/// As text, or as JSON if the query has `format=json`.
fn answer(code: StatusCode, report: &HealthReport, query: Option<&str>) -> Response {
    let json = query.is_some_and(|query| query.split('&').any(|pair| pair == "format=json"));
    let (kind, text) = match json {
        true => ("application/json", serde_json::json!(report).to_string()),
        false => ("text/plain; charset=utf-8", report.to_string()),
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    (code, headers, text + "\n").into_response()
}

pub(super) fn routes(health: Arc<HealthState>) -> Router {
    let state = Arc::clone(&health);
    let livez = async move |RawQuery(query): RawQuery| {
        let report = state.liveness();
        answer(code(report.is_live()), &report, query.as_deref())
    };
    // Checks that hang block one thread, not one for each probe.
    let turn = Arc::new(Semaphore::new(1));
    let readyz = async move |RawQuery(query): RawQuery| {
        let unready = unready(Arc::clone(&health), Arc::clone(&turn)).await;
        let report = HealthReport { unready, ..HealthReport::default() };
        answer(code(report.is_ready()), &report, query.as_deref())
    };
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

fn code(is_good: bool) -> StatusCode {
    if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Why the process is not ready. Runs checks of the user on a blocking thread, with a time limit.
async fn unready(state: Arc<HealthState>, turn: Arc<Semaphore>) -> Option<String> {
    if !state.has_checks() {
        return state.report().unready;
    }
    let checked = async {
        let turn = turn.acquire_owned().await.ok()?;
        let run = move || {
            let report = state.report();
            drop(turn);
            report
        };
        spawn_blocking(run).await.ok()
    };
    match timeout(LONGEST_CHECK, checked).await {
        Ok(Some(report)) => report.unready,
        _ => Some("ready_when has not answered within 1 s".to_owned()),
    }
}
