//! Names full of markup, quotes and control bytes are shown, and do nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use axum::body::Body;
use tower::ServiceExt;

use super::{document, page};
use crate::support::events::Events;
use crate::support::{LIMIT, Rig, fetch, is_own, wait_until};

const NASTY: &str = "<script>alert(1)</script>\"'&<!-- ]]> \\ \n\r\t\u{1b}[31m\u{0}\u{7f}\u{9b}";

/// A pipe with a nasty name; reading from it waits.
struct Pipe(PathBuf);

impl Pipe {
    fn new() -> Self {
        let name = format!("<script>alert(2)<\"'&\n\u{1b}{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo is there");
        assert!(made.success());
        Self(path)
    }

    /// For both directions, so that it opens at once.
    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.0).expect("it is there")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// What may be in any text for people: no control character but the end of a line.
#[track_caller]
fn is_plain(what: &str, text: &str) {
    let control = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{what}: {text}");
}

/// No markup of others in it.
#[track_caller]
fn is_harmless(what: &str, text: &str) {
    is_plain(what, text);
    for markup in ["<script>alert", "alert(1)</", "\"'&<", "<!-- ]]>"] {
        assert!(!text.contains(markup), "{markup} in {what}: {text}");
    }
    assert!(text.contains("&lt;script&gt;alert(1)"), "it is shown in {what}: {text}");
}

#[test]
fn nasty_names_are_shown_and_do_nothing() {
    let events = Events::default();
    let rig = events.with(|| Rig::new(2, |builder| builder));
    let admin = rig.stall.admin_addr().expect("an admin server");
    let pipe = Pipe::new();
    let (mut reader, mut writer) = (pipe.open(), pipe.open());
    let stall = Arc::clone(&rig.stall);
    // Lets it go on once it is seen.
    let release = std::thread::spawn(move || {
        let seen = |detail: &str| detail.contains("alert(2)");
        wait_until(LIMIT, || {
            let stalls = stall.stalls().into_iter().filter(is_own);
            stalls.filter_map(|stall| stall.detail).any(|detail| seen(&detail))
        });
        writer.write_all(b"x").expect("somebody reads");
    });
    let block = move || drop(reader.read_exact(&mut [0]));
    let handler = rig.stall.layer().handler_name(|_| Some(NASTY.into()));
    let block = Arc::new(std::sync::Mutex::new(Some(block)));
    let answer = move || {
        let block = block.lock().expect("unpoisoned").take();
        async move {
            if let Some(mut block) = block {
                block();
            }
        }
    };
    let app = axum::Router::new().route("/{*path}", axum::routing::get(answer)).layer(handler);
    let request = http::Request::get("/%3Cscript%3Ealert(3)%3C/script%3E?%3Cscript%3Ealert(4)")
        .header("traceparent", "00-<script>alert(5)</script>-\"'&-01")
        .header("user-agent", "<script>alert(6)</script>");
    let request = request.body(Body::empty()).expect("a request");
    rig.run(async move { drop(app.oneshot(request).await) });
    release.join().expect("the stall was seen");

    let stalls = rig.stall.stalls();
    let stall = stalls.iter().find(|stall| is_own(stall)).expect("it was seen");
    assert!(stall.handler.contains("<script>"), "a label may have it: {:?}", stall.handler);
    assert!(stall.detail.as_deref().is_some_and(|detail| detail.contains("<script>")), "{stall:?}");
    wait_until(LIMIT, || rig.stall.stalls().iter().all(|stall| !stall.in_progress));

    let shown = page(admin);
    is_harmless("the page", &shown);
    assert!(shown.contains("&lt;script&gt;alert(2)"), "{shown}");
    assert_eq!(shown.matches("<script>").count(), 1, "its own: {shown}");
    is_harmless("the page of the stall", &fetch(admin, &format!("/stalls/{}", stall.id)).1);
    let report = fetch(admin, &format!("/stalls/{}.md", stall.id)).1;
    is_plain("the report", &report);
    let outside: String = report.split('`').step_by(2).collect();
    assert!(report.contains("alert(1)") && !outside.contains("alert"), "as code: {report}");
    is_harmless("the flame graph", &fetch(admin, "/flamegraph.svg").1);

    let text = fetch(admin, "/stalls.json").1;
    is_plain("the document", &text);
    let document = document(admin);
    let recent = document["recent"].as_array().expect("a list");
    let ours = recent.iter().find(|row| row["id"] == stall.id).expect("it is there");
    assert_eq!(ours["handler"], *stall.handler);
    assert_eq!(ours["detail"].as_str(), stall.detail.as_deref());

    let metrics = rig.metrics();
    is_plain("the metrics", &metrics);
    for line in metrics.lines().filter(|line| line.contains("alert(1)")) {
        assert!(line.contains("\\\"'&<!--"), "a quote is escaped: {line}");
        assert!(line.starts_with("tokio_") && line.contains("} "), "one line, whole: {line}");
    }
    // The first line waits for the stack.
    wait_until(LIMIT, || events.all().iter().any(|line| line.message().contains("alert(1)")));
    let lines = events.all();
    for line in lines {
        let control = line.message().chars().find(|c| c.is_control());
        assert_eq!(control, None, "{line:?}");
    }
}
