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

use crate::health::HealthState;

/// For the checks of the user, in all.
const LONGEST_CHECK: Duration = Duration::from_secs(1);

/// What a probe is told.
struct Answer {
    code: StatusCode,
    status: &'static str,
    reason: Option<String>,
}

impl Answer {
    fn new(code: StatusCode, status: &'static str, reason: Option<String>) -> Self {
        Self { code, status, reason }
    }

    fn not_ready(reason: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not ready", Some(reason))
    }

    /// For people, or for programs that ask for it.
    fn show(self, query: Option<&str>) -> Response {
        let Self { code, status, reason } = self;
        let json = query.is_some_and(|query| query.split('&').any(|pair| pair == "format=json"));
        let (kind, text) = if json {
            let body = serde_json::json!({ "status": status, "reason": reason });
            ("application/json", format!("{body}\n"))
        } else {
            let text = match reason {
                Some(reason) => format!("{status}: {reason}\n"),
                None => format!("{status}\n"),
            };
            ("text/plain; charset=utf-8", text)
        };
        let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
        (code, headers, text).into_response()
    }
}

pub(super) fn routes(health: Arc<HealthState>) -> Router {
    let state = Arc::clone(&health);
    let livez =
        move |RawQuery(query): RawQuery| async move { livez(&state).show(query.as_deref()) };
    // Checks that hang have one thread, not one for each probe.
    let turn = Arc::new(Semaphore::new(1));
    let readyz = move |RawQuery(query): RawQuery| async move {
        readyz(health, turn).await.show(query.as_deref())
    };
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

fn livez(state: &HealthState) -> Answer {
    let report = state.life();
    match (report.dead, report.degraded) {
        (Some(dead), _) => Answer::new(StatusCode::SERVICE_UNAVAILABLE, "dead", Some(dead)),
        (None, Some(degraded)) => Answer::new(StatusCode::OK, "degraded", Some(degraded)),
        (None, None) => Answer::new(StatusCode::OK, "ok", None),
    }
}

async fn readyz(state: Arc<HealthState>, turn: Arc<Semaphore>) -> Answer {
    let report = if state.has_checks() {
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
            Ok(Some(report)) => report,
            _ => return Answer::not_ready("ready_when has not answered within 1 s".to_owned()),
        }
    } else {
        state.report()
    };
    match report.unready {
        Some(reason) => Answer::not_ready(reason),
        None => Answer::new(StatusCode::OK, "ok", None),
    }
}
