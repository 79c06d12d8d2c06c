//! `/livez` and `/readyz`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::watch::{Receiver, channel};
use tokio::time::timeout;

use super::guard::is_local_client;
use super::helpers;
use crate::health::{HealthReport, HealthState};
use crate::sync::lock;

/// Time limit of all checks of the user together.
const LONGEST_CHECK: Duration = Duration::from_secs(1);

pub(super) fn routes(health: Arc<HealthState>, public: bool) -> Router {
    let state = Arc::clone(&health);
    let livez = async move |request: Request| {
        let report = state.liveness();
        answer(code(report.is_live()), &report, &request, public)
    };
    let checks = Arc::new(Checks { state: health, run: Mutex::default() });
    let readyz = async move |request: Request| {
        let unready = checks.unready().await;
        let report = HealthReport { unready, ..HealthReport::default() };
        let report = checks.state.with_own_state(report);
        answer(code(report.is_ready()), &report, &request, public)
    };
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

fn code(is_good: bool) -> StatusCode {
    if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// As text, or as JSON if the query has `format=json`. The reason, which names code, files and
/// addresses, only to clients that see the pages.
fn answer(code: StatusCode, report: &HealthReport, request: &Request, public: bool) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let is_json = query.split('&').any(|pair| pair == "format=json");
    let text = match (is_json, public || is_local_client(request)) {
        (true, true) => json!(report).to_string(),
        (true, false) => {
            let mut report = json!(report);
            report["reason"] = Value::Null;
            report.to_string()
        }
        (false, true) => report.to_string(),
        (false, false) => report.status().to_owned(),
    };
    let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    (code, headers, text + "\n").into_response()
}

/// Runs the checks of the user: once at a time, for all who ask meanwhile.
struct Checks {
    state: Arc<HealthState>,
    /// Where the result of the last run comes, or has come.
    run: Mutex<Option<Receiver<Option<HealthReport>>>>,
}

impl Checks {
    /// Why the process is not ready. Checks run on a helper, with a time limit.
    async fn unready(&self) -> Option<String> {
        if !self.state.has_checks() {
            return self.state.report().unready;
        }
        let mut run = self.joined_run();
        match timeout(LONGEST_CHECK, run.wait_for(Option::is_some)).await {
            Ok(Ok(report)) => report.as_ref().and_then(|report| report.unready.clone()),
            _ => Some("ready_when has not answered within 1 s".to_owned()),
        }
    }

    /// The run in progress, or a new one.
    fn joined_run(&self) -> Receiver<Option<HealthReport>> {
        let mut run = lock(&self.run);
        // Of a run that ended in a panic only the sender is gone.
        if let Some(run) = &*run
            && run.borrow().is_none()
            && run.has_changed().is_ok()
        {
            return run.clone();
        }
        let (sender, receiver) = channel(None);
        let state = Arc::clone(&self.state);
        drop(helpers::run(move || sender.send_replace(Some(state.report()))));
        *run = Some(receiver.clone());
        receiver
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::mpsc;

    use super::*;
    use crate::health::Readiness;
    use crate::runtime::registry::LIMITS;
    use crate::runtime::registry::Registry;

    fn checks() -> Arc<Checks> {
        let state = Arc::new(HealthState::new(Registry::new(LIMITS), Readiness::default()));
        Arc::new(Checks { state, run: Mutex::default() })
    }

    #[tokio::test]
    async fn one_run_answers_all_who_ask_meanwhile_and_the_next_asks_again() {
        const PROBES: usize = 20;
        let checks = checks();
        let runs = Arc::new(AtomicUsize::new(0));
        let (end, ended) = mpsc::channel();
        let ended = Mutex::new(ended);
        let counted = Arc::clone(&runs);
        checks.state.ready_when(move || {
            counted.fetch_add(1, SeqCst);
            lock(&ended).recv().expect("the test ends it")
        });
        for is_ready in [true, false, true] {
            let mut waiting: Vec<_> = (0..PROBES).map(|_| checks.joined_run()).collect();
            end.send(is_ready).expect("it runs");
            for run in &mut waiting {
                let report = run.wait_for(Option::is_some).await.expect("an answer");
                assert_eq!(report.as_ref().map(HealthReport::is_ready), Some(is_ready));
            }
        }
        assert_eq!(runs.load(SeqCst), 3);
    }
}
