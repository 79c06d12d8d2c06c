//! The page of stalls over plain HTTP; `tests/browser` looks at it with a browser.

mod escape;
mod shown;
mod speed;
mod who;

use std::net::SocketAddr;

use crate::support::fetch;
use serde_json::Value;

/// The document for programs.
#[track_caller]
fn document(admin: SocketAddr) -> Value {
    let (status, text) = fetch(admin, "/stalls.json");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

/// The page for people.
#[track_caller]
fn page(admin: SocketAddr) -> String {
    let (status, text) = fetch(admin, "/stalls");
    assert_eq!(status, 200, "{text}");
    text
}
