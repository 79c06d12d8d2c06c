//! Computation that takes too long for one poll.

use std::hint::black_box;

use argon2::Argon2;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use crate::case::{Case, told};
use crate::stage::{Stage, is_over};

const MOVE: &str = "spawn_blocking";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "argon2-login",
        "olivertgwalton/riven-rs#11, OpenVTC/openvtc#95",
        &[told("POST /login", "cpu", "cases::compute::hash_password", "hash in tokio::task::spawn_blocking")],
        |stage| {
            let login = || async { hash_password() };
            let address = stage.serve(Router::new().route("/login", post(login)));
            stage.post(address, "/login", Vec::new());
        },
    ),
    Case::new(
        "count-in-handler",
        "tokio-rs/axum#2187",
        &[told("GET /blocking", "cpu", "cases::compute::count", MOVE)],
        |stage| stage.get("/blocking", Router::new().route("/blocking", get(|| async { count() }))),
    ),
    Case::new(
        "json-parsed-in-handler",
        "seanmonstar/reqwest#450",
        &[told("POST /documents", "cpu", "cases::compute::parse", "large documents in tokio::task::spawn_blocking")],
        json_parsed_in_handler,
    ),
    Case::new(
        "json-extractor",
        "MystenLabs/sui#10438, paritytech/jsonrpsee#486",
        &[told("POST /import", "cpu", "", "spawn_blocking")],
        json_extractor,
    ),
    Case::new(
        "json-response",
        "msupply-foundation/open-msupply#11932, smg-project/smg#1576",
        &[told("GET /workers", "cpu", "", "spawn_blocking")],
        json_response,
    ),
];

#[inline(never)]
#[rustfmt::skip]
fn hash_password() {
    let (argon2, mut key) = (Argon2::default(), [0; 32]);
    here!(()); while !is_over() { argon2.hash_password_into(b"a word", b"some salt", &mut key).expect("in range") }
}

#[inline(never)]
#[rustfmt::skip]
fn count() -> String {
    let mut counted = 1_u64;
    here!(()); while !is_over() { counted = black_box(counted) + 1 }
    counted.to_string()
}

/// Some 12 MB for each million.
fn numbers(count: usize) -> Vec<u8> {
    let mut text = b"[".to_vec();
    for number in 0..count {
        text.extend(format!("{{\"n\":{number}}},").bytes());
    }
    text.extend(b"0]");
    text
}

fn json_parsed_in_handler(stage: &Stage) {
    let handler = |body: axum::body::Bytes| async move { parse(&body) };
    let limit = DefaultBodyLimit::disable();
    let address = stage.serve(Router::new().route("/documents", post(handler)).layer(limit));
    stage.post(address, "/documents", numbers(200_000));
}

#[inline(never)]
#[rustfmt::skip]
fn parse(body: &[u8]) -> String {
    here!(()); while !is_over() { black_box(serde_json::from_slice::<Value>(body).expect("it is JSON")); }
    "parsed".to_owned()
}

/// All of the work is axum's and serde's, before the handler is called.
fn json_extractor(stage: &Stage) {
    let handler = |Json(_): Json<Value>| async move { "imported" };
    let limit = DefaultBodyLimit::disable();
    let address = stage.serve(Router::new().route("/import", post(handler)).layer(limit));
    stage.post(address, "/import", numbers(1_500_000));
}

/// And here after the handler has returned.
fn json_response(stage: &Stage) {
    let workers: &'static Value = Box::leak(Box::new(
        serde_json::from_slice(&numbers(4_000_000)).expect("it is JSON"),
    ));
    let handler = move || async move { Json(workers) };
    stage.get("/workers", Router::new().route("/workers", get(handler)));
}
