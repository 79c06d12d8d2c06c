//! For the fuzzer: what a stranger sends, and what becomes of it as a label.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};

use super::labels::{LayerLabels, is_grpc};
use super::request::{RequestHead, trace_id};
use crate::labels::{LabelTable, find};
use crate::slot::LabelId;

/// Labels of a table before it is full.
const MOST_LABELS: usize = 64;
/// Texts of labels are never freed, so there are so many tables.
const MOST_TABLES: u32 = 1000;
/// Requests that share a table.
const REQUESTS: u32 = 256;

/// Headers, one a line: `traceparent` and all others.
///
/// # Panics
///
/// The trace id is another one than the header has.
pub fn headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let first = headers.get("traceparent").map(|value| value.as_bytes().to_vec());
    assert_eq!(trace_id(&headers), first.map_or(0, |header| slowly(&header).unwrap_or(0)));
    let _ = is_grpc(&headers);
}

/// The trace id, as the specification has it.
fn slowly(header: &[u8]) -> Option<u128> {
    // Of the head alone: a later version may go on with anything. Each byte counts as one.
    let bytes: Vec<char> = header.get(..55)?.iter().map(|byte| char::from(*byte)).collect();
    let is_dash = |at: usize| bytes[at] == '-';
    if !(is_dash(2) && is_dash(35) && is_dash(52)) || header.starts_with(b"ff") {
        return None;
    }
    let id: String = bytes[3..35].iter().collect();
    let is_hexadecimal = |digit: char| matches!(digit, '0'..='9' | 'a'..='f');
    if !id.chars().all(is_hexadecimal) {
        return None;
    }
    u128::from_str_radix(&id, 16).ok()
}

/// Methods, targets and paths of requests, one a line, as labels.
///
/// # Panics
///
/// A label has a control character, or there are more labels than the table may have.
pub fn label_texts(data: &[u8]) {
    thread_local! {
        static TABLE: RefCell<Option<LayerLabels>> = const { RefCell::new(None) };
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }
    let calls = CALLS.replace(CALLS.get().wrapping_add(1));
    let fresh = || LayerLabels::new(Arc::new(LabelTable::new(MOST_LABELS, false)), 1, 1_000_000);
    TABLE.with_borrow_mut(|labels| {
        if calls.is_multiple_of(REQUESTS) && calls / REQUESTS < MOST_TABLES {
            *labels = Some(fresh());
        }
        label(labels.get_or_insert_with(fresh), data);
    });
}

fn label(labels: &LayerLabels, data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let text = String::from_utf8_lossy(line);
        check(labels, labels.of_route(line.len() as u8 % 11, &text));
        let request = Request::builder().method(Method::POST).uri(text.as_ref()).body(());
        let Ok(request) = request else { continue };
        let (label_id, learn) = labels.of_grpc(RequestHead::new(&request));
        check(labels, label_id);
        if let Some(learn) = learn {
            let status = HeaderValue::from_bytes(line);
            let status = status.unwrap_or(HeaderValue::from_static("0"));
            let response = Response::builder().header("grpc-status", status).body(());
            drop(learn.from_head(&response.expect("a response")));
        }
    }
}

fn check(labels: &LayerLabels, label_id: LabelId) {
    let mut specs = Vec::new();
    labels.table.update(&mut specs);
    assert!(specs.len() <= 2 * MOST_LABELS);
    let spec = find(&specs, label_id).expect("it was made");
    assert!(!spec.label.contains(char::is_control), "{:?}", spec.label);
}
