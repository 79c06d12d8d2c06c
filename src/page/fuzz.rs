//! For the fuzzer: texts of programs and requests on the page.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Page, Parts};
use crate::clock;
use crate::runtime::registry::{LIMITS, Registry};
use crate::stall::{Cause, Frame, LiveStall, Site, Stack, StackResult, Stall};

/// Texts of a stall, one a line: handler, detail, function, file, and functions of further frames.
///
/// # Panics
///
/// A text has become a part of the page's markup, or the JSON is none or has another text.
pub fn page(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.split('\n').collect();
    let line = |at: usize| lines.get(at).copied().unwrap_or_default();
    let (handler, detail, function, file) = (line(0), line(1), line(2), line(3));
    let frame = |function: &str| {
        Arc::new(Frame {
            function: Some(function.to_owned()),
            file: Some(file.to_owned()),
            line: Some(data.len() as u32),
            module: Some(function.into()),
            own: true,
            ..Frame::default()
        })
    };
    let frames = lines.iter().skip(2).take(64).map(|function| frame(function)).collect();
    let registry = Registry::new(LIMITS);
    let live = LiveStall::new(stall(handler, Cause::ALL[data.len() % Cause::ALL.len()]));
    live.set_detail(Some(detail.to_owned()));
    let site = Site { function: function.into(), file: Some(file.into()), line: Some(1) };
    let stack = Arc::new(Stack { frames, ..Stack::default() });
    live.set_stack_result(StackResult {
        site: Some(site),
        stack: Some(stack),
        ..StackResult::default()
    });
    live.last(300_000_000);
    let in_progress = data.len().is_multiple_of(2);
    if !in_progress {
        live.end(300_000_000, 0);
    }
    registry.store.take_over(&mut vec![Arc::new(live)]);
    let page = Page::new(registry);

    let json: Value = serde_json::from_str(&all(page.json())).expect("JSON");
    let list = if in_progress { "in_progress" } else { "recent" };
    assert_eq!(json[list][0]["handler"], handler, "{json}");
    if let Some(first) = lines.get(2) {
        assert_eq!(json["frames"][0]["function"], **first, "{json}");
    }
    for html in [all(page.html()), all(page.stall(1).expect("it is kept"))] {
        is_well_formed(&html);
    }
    let report = all(page.markdown(1).expect("it is kept"));
    assert!(!report.contains(|c: char| c.is_control() && c != '\n'), "{report}");
    if let Some(graph) = page.flame_graph() {
        let graph = all(graph);
        assert!(!graph.contains(|c: char| c.is_control() && !"\n\r\t".contains(c)), "{graph}");
    }
}

fn all(parts: Parts) -> String {
    String::from_utf8(parts.flatten().collect()).expect("text")
}

/// Whether each element of the page ends where it should: nothing of a text became markup.
fn is_well_formed(html: &str) {
    const EMPTY: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{html}");
        } else if name == "style" || name == "script" {
            // Their text is not read as markup. A test says that they do not end within it.
            rest = &rest[rest.find("</").expect("its end")..];
            open.push(name);
        } else if !name.starts_with("!--") && !EMPTY.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} in {html}");
}

fn stall(handler: &str, cause: Cause) -> Stall {
    Stall {
        id: 1,
        runtime: handler.to_owned().into(),
        worker: Some(0),
        duration: Duration::from_millis(100),
        workers: 4,
        workers_stalled: 1,
        ..Stall::new(handler.to_owned().into(), cause, clock::wall(clock::now()))
    }
}
