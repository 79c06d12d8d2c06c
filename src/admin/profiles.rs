//! `/stalls.folded`, `/debug/pprof/stalls` and `/stalls.firefox.json`: since the start, or with
//! `?seconds=` what comes in that time.

use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tower_http::timeout::TimeoutLayer;

use super::outbox::Outbox;
use super::stalls::{JSON, NO_POLICY, headers};
use crate::page::Parts;
use crate::profile::{ProfileWindow, StallProfile};
use crate::runtime::registry::Registry;

/// Longest time in seconds that a profile can be asked for.
const LONGEST: u64 = 60;
/// Limit of such an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(LONGEST + 10);
/// Profiles of a time that are taken at once.
const WINDOWS: usize = 4;

const WRONG_SECONDS: &str = "400: `seconds` must be a whole number from 1 to 60: the time that the \
    profile is about, from now on. Leave it out for all since the start\n";
const TOO_MANY: &str = "503: four profiles with `seconds` are being taken already. Ask again later, or \
    without `seconds`\n";

const TEXT: &str = "text/plain; charset=utf-8";
/// What Go's servers say.
const PPROF: &str = "application/octet-stream";

#[derive(Clone)]
struct Maker {
    registry: Arc<Registry>,
    outbox: Outbox,
    windows: Arc<Semaphore>,
}

/// A document, and its length in bytes where that is known.
type Document = (Parts, Option<u64>);

/// A form of a profile.
#[derive(Clone, Copy)]
struct Form {
    kind: &'static str,
    /// The name that a browser gives to the file, where it cannot show it.
    file: Option<&'static str>,
    write: fn(StallProfile) -> Document,
}

pub(super) fn routes(registry: Arc<Registry>, outbox: Outbox) -> Router {
    let windows = Arc::new(Semaphore::new(WINDOWS));
    let lines = |profile: StallProfile| -> Document {
        (Box::new(profile.into_folded_lines().map(Vec::from)), None)
    };
    let folded = Form { kind: TEXT, file: None, write: lines };
    let file = Some("attachment; filename=\"stalls.pb.gz\"");
    let pprof = Form { kind: PPROF, file, write: |profile| whole(profile.pprof()) };
    let file = Some("attachment; filename=\"stalls.firefox.json\"");
    let firefox = Form { kind: JSON, file, write: |profile| whole(profile.firefox().into()) };
    Router::new()
        .route("/stalls.folded", answer(folded))
        .route("/debug/pprof/stalls", answer(pprof))
        .route("/stalls.firefox.json", answer(firefox))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, LONGEST_ANSWER))
        .with_state(Maker { registry, outbox, windows })
}

fn whole(document: Vec<u8>) -> Document {
    let length = document.len() as u64;
    (Box::new(once(document)), Some(length))
}

fn answer(form: Form) -> MethodRouter<Maker> {
    get(move |State(maker): State<Maker>, uri: Uri| async move {
        match seconds(uri.query()) {
            Ok(None) => maker.since_start(form).await,
            Ok(Some(time)) => maker.window(form, time).await,
            Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
        }
    })
}

impl Maker {
    async fn since_start(self, form: Form) -> Response {
        let registry = Arc::clone(&self.registry);
        self.send(form, move || StallProfile::since_start(&registry)).await
    }

    /// Nobody else waits for it.
    async fn window(self, form: Form, time: Duration) -> Response {
        let Ok(_one_of_few) = Arc::clone(&self.windows).try_acquire_owned() else {
            return (StatusCode::SERVICE_UNAVAILABLE, TOO_MANY).into_response();
        };
        let registry = Arc::clone(&self.registry);
        let open = move || ProfileWindow::open(&registry);
        let Some(mut window) = self.outbox.make(open).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        sleep(time).await;
        self.send(form, move || window.take()).await
    }

    async fn send(
        &self,
        form: Form,
        profile: impl FnOnce() -> StallProfile + Send + 'static,
    ) -> Response {
        let Some(place) = self.outbox.place().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let Some((parts, length)) = self.outbox.make(move || (form.write)(profile())).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let body = self.outbox.send(place, parts, length);
        let file = AppendHeaders(form.file.map(|file| (header::CONTENT_DISPOSITION, file)));
        (headers(form.kind, NO_POLICY), file, body).into_response()
    }
}

/// The value of `seconds` in a query; the last one counts.
fn seconds(query: Option<&str>) -> Result<Option<Duration>, &'static str> {
    let pairs = query.unwrap_or_default().split('&');
    let value = pairs.filter_map(|pair| pair.strip_prefix("seconds=")).next_back();
    let Some(value) = value else { return Ok(None) };
    match value.parse() {
        Ok(seconds @ 1..=LONGEST) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(WRONG_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_and_few() {
        let time = |query| seconds(query).map(|time| time.map(|time| time.as_secs()));
        for none in [None, Some(""), Some("debug=1"), Some("xseconds=7")] {
            assert_eq!(time(none), Ok(None), "{none:?}");
        }
        assert_eq!(time(Some("debug=0&seconds=14")), Ok(Some(14)));
        assert_eq!(time(Some("seconds=1")), Ok(Some(1)));
        assert_eq!(time(Some("seconds=60&gc=1")), Ok(Some(60)));
        for wrong in ["0", "61", "", "1.5", "-1", "1s", "99999999999999999999"] {
            let query = format!("seconds={wrong}");
            assert_eq!(seconds(Some(&query)), Err(WRONG_SECONDS), "{wrong}");
        }
    }
}
