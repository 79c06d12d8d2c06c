//! Computation that takes too long for one poll.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;

use argon2::Argon2;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Json, Router};
use rayon::prelude::*;
use serde_json::Value;
use sha2::Digest;

use crate::case::{Case, told};
use crate::stage::{OVER, Relaxed, Stage, is_over, wait_until_over};

const MOVE: &str = "spawn_blocking";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "argon2-login",
        "olivertgwalton/riven-rs#11, OpenVTC/openvtc#95",
        &[told(
            "POST /login",
            "cpu",
            "cases::compute::hash_password",
            "hash in tokio::task::spawn_blocking",
        )],
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
        &[told(
            "POST /documents",
            "cpu",
            "cases::compute::parse",
            "large documents in tokio::task::spawn_blocking",
        )],
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
    Case::new(
        "regex-backtracks",
        "trishume/syntect#34",
        &[told("GET /highlight", "cpu", "cases::compute::highlight", "bound its input")],
        |stage| stage.get_once("/highlight", highlight),
    ),
    Case::new(
        "regex-compiled-for-each-line",
        "confidential-containers/guest-components#1559",
        &[told("GET /filter", "cpu", "cases::compute::filter", "compile the expression once")],
        |stage| stage.get_once("/filter", filter),
    ),
    Case::new(
        "gzip-in-handler",
        "axiomhq/axiom-rs#9, linera-io/linera-protocol#2471, pleaseai/shunt#256",
        &[told("GET /archive", "cpu", "cases::compute::pack", "pack and unpack in")],
        |stage| stage.get_once("/archive", pack),
    ),
    Case::new(
        "key-derived-by-rounds",
        "OpenVTC/openvtc#95, yetanotherco/aligned_layer#696",
        &[told("GET /unlock", "cpu", "cases::compute::derive_key", MOVE)],
        |stage| stage.get_once("/unlock", derive_key),
    ),
    Case::new(
        "signatures-verified",
        "MystenLabs/sui#27333, iotaledger/iota#12903",
        &[told("GET /block", "cpu", "cases::compute::verify", MOVE)],
        |stage| stage.get_once("/block", || assert!(verify(&[3, 5, 7]))),
    ),
    Case::new(
        "image-resized",
        "matrix-org/matrix-rust-sdk#1204, AsterCommunity/AsterDrive#3",
        &[told("GET /thumbnail", "cpu", "cases::compute::shrink", MOVE)],
        |stage| stage.get_once("/thumbnail", || drop(shrink(&vec![7; 4000 * 3000], 4000))),
    ),
    Case::new(
        "large-template",
        "aio-libs/aiohttp-jinja2#156",
        &[told("GET /sitemap.xml", "cpu", "cases::compute::render", MOVE)],
        |stage| stage.get_once("/sitemap.xml", render),
    ),
    Case::new(
        "sorted-in-handler",
        "cowprotocol/services#2046",
        &[told("GET /orders", "cpu", "cases::compute::sort", MOVE)],
        |stage| stage.get_once("/orders", sort),
    ),
    Case::new(
        "metrics-rendered",
        "vectordotdev/vector#4691",
        &[told("GET /metrics", "cpu", "cases::compute::write_metrics", MOVE)],
        |stage| stage.get_once("/metrics", write_metrics),
    ),
    Case::new(
        "large-cache-dropped",
        "aptos-labs/aptos-core#10950, broxus/tycho#484, paradigmxyz/reth#22080",
        &[told("GET /prune", "cpu", "cases::compute::prune", MOVE)],
        |stage| {
            let cache = (0..5_000_000_u64).map(|key| (key, Box::new(key))).collect();
            stage.get_once("/prune", || prune(cache));
        },
    ),
    Case::new(
        "rayon-in-handler",
        "movement-network/aptos-core#422, ProvableHQ/snarkOS#3063",
        &[told("GET /commitments", "lock", "cases::compute::commit", "rayon::spawn")
            .held_by("other_thread", "stage::wait_until_over")],
        |stage| stage.get_once("/commitments", commit),
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
    here!(()); while !OVER.load(Relaxed) { counted = black_box(counted) + 1 }
    counted.to_string()
}

/// Some 12 MB for each million.
pub(super) fn numbers(count: usize) -> Vec<u8> {
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
    let workers: &'static Value =
        Box::leak(Box::new(serde_json::from_slice(&numbers(4_000_000)).expect("it is JSON")));
    let handler = move || async move { Json(workers) };
    stage.get("/workers", Router::new().route("/workers", get(handler)));
}

#[inline(never)]
#[rustfmt::skip]
fn highlight() {
    let expression = fancy_regex::Regex::new(r"^(\w+\s?)*(?=;)$").expect("an expression");
    let line = "a ".repeat(24) + "!";
    here!(()); while !is_over() { let _ = black_box(expression.is_match(&line)); }
}

#[inline(never)]
#[rustfmt::skip]
fn filter() {
    let pattern = black_box(r"(?i)^[\w\d]{1,60}@[\w.]{1,60}\.\p{Greek}{2,20}$");
    here!(()); while !is_over() { drop(black_box(regex::Regex::new(pattern).expect("an expression"))) }
}

#[inline(never)]
#[rustfmt::skip]
fn pack() {
    let (text, level) = (b"a word and another ".repeat(50_000), flate2::Compression::best());
    let mut packed = flate2::write::GzEncoder::new(std::io::sink(), level);
    here!(()); while !is_over() { packed.write_all(&text).expect("memory") }
    drop(packed.finish());
}

#[inline(never)]
#[rustfmt::skip]
fn derive_key() {
    let mut key = sha2::Sha256::digest(b"a word");
    here!(()); while !is_over() { for _ in 0..1000 { key = sha2::Sha256::digest(key) } }
    black_box(key);
}

#[inline(never)]
#[rustfmt::skip]
fn verify(keys: &[u64]) -> bool {
    let (mut power, mut round) = (1_u64, 0);
    here!(()); while !OVER.load(Relaxed) { power = power * keys[round % keys.len()] % 1_000_003; round += 1 }
    black_box(power) < 1_000_003
}

#[inline(never)]
#[rustfmt::skip]
fn shrink(pixels: &[u8], width: usize) -> Vec<u32> {
    let mut small = vec![0_u32; pixels.len() / 16];
    here!(()); while !OVER.load(Relaxed) { for (at, pixel) in pixels.iter().enumerate() { small[at / width / 4 * (width / 4) + at % width / 4] ^= u32::from(*pixel) } }
    small
}

#[inline(never)]
#[rustfmt::skip]
fn render() {
    let text = "{% for n in range(20000) %}<url>{{ n * 7 }}</url>{% endfor %}";
    let templates = minijinja::Environment::new();
    here!(()); while !is_over() { black_box(templates.render_str(text, ()).expect("a template")); }
}

#[inline(never)]
#[rustfmt::skip]
fn sort() {
    let orders: Vec<(u64, String)> = (0..100_000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9) % 1009, n.to_string())).collect();
    here!(()); while !is_over() { let mut orders = orders.clone(); orders.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1))); black_box(orders); }
}

#[inline(never)]
#[rustfmt::skip]
fn write_metrics() {
    let mut text = String::new();
    here!(()); while !is_over() { text.clear(); for n in 0..10_000 { writeln!(text, "requests_total{{shard=\"{n}\"}} {}", n * 7).expect("memory") } }
}

#[inline(never)]
fn prune(cache: HashMap<u64, Box<u64>>) {
    let entries = cache.len();
    here!(drop(cache));
    black_box(entries);
}

#[inline(never)]
#[rustfmt::skip]
fn commit() {
    let sum: usize = here!((0..4_usize).into_par_iter().map(|n| { wait_until_over(); n }).sum());
    assert_eq!(sum, 6);
}
