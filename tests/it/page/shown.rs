//! What the page says before, during and after a stall.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use serde_json::Value;

use super::{document, page};
use crate::support::{LIMIT, Rig, block_until, client, fetch, wait_for, wait_until};

/// The row of the handler `import` in a list of the document.
fn ours(document: &Value, list: &str) -> Option<Value> {
    let list = document[list].as_array().expect("a list");
    list.iter().find(|row| row["handler"] == "import").cloned()
}

#[test]
fn a_service_that_is_well_is_healthy() {
    let rig = Rig::new(2, |builder| builder.threshold(LIMIT));
    let admin = rig.stall.admin_addr().expect("an admin server");
    let shown = page(admin);
    assert!(shown.contains("Healthy: no worker is blocked"), "{shown}");
    assert!(shown.contains("No stall since the start."), "{shown}");
    let document = document(admin);
    assert_eq!(document["version"], 1);
    assert_eq!(document["verdict"]["state"], "healthy");
    assert_eq!(document["totals"]["stalls"], 0);
    assert_eq!(document["runtimes"][0]["workers"], 2);
    for list in ["sites", "environment", "modules", "frames", "in_progress", "recent"] {
        assert_eq!(document[list], serde_json::json!([]), "{list}");
    }
    wait_until(LIMIT, || {
        let document = super::document(admin);
        let lags = document["runtimes"][0]["lag"]["largest_seconds"].as_array().cloned();
        lags.expect("a list").iter().any(|lag| lag.is_number())
    });
}

#[test]
fn a_stall_is_on_the_page_while_it_lasts_and_after_it() {
    let rig = Rig::new(2, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    let (over, is_over) = channel::<()>();
    // On a thread of its own: the stall is one long wait, whenever it is looked at.
    let seen = thread::spawn(move || {
        let is_there = |shown: &str| {
            shown.contains("import blocks 1 of 2 workers now, for ")
                && (cfg!(not(feature = "capture")) || shown.contains("class=\"source\""))
        };
        wait_until(LIMIT, || is_there(&page(admin)));
        let seen = (page(admin), document(admin));
        drop(over);
        seen
    });
    rig.run(rig.stall.watched("import", async move {
        let _ = is_over.recv_timeout(LIMIT);
    }));
    let (shown, lasting) = seen.join().expect("the page had it");
    assert!(shown.contains("import blocks 1 of 2 workers now, for "), "{shown}");
    assert_eq!(lasting["verdict"]["state"], "degraded");
    let open = ours(&lasting, "in_progress").expect("it is in progress");
    assert_eq!((&open["in_progress"], &open["cause"]), (&true.into(), &"lock".into()));
    assert!(open["seconds"].as_f64() >= Some(0.1), "{open}");

    let (site, stall, document) = wait_for(LIMIT, || {
        let document = document(admin);
        let (site, stall) = (ours(&document, "sites")?, ours(&document, "recent")?);
        (stall["is_complete"] == true).then_some((site, stall, document))
    });
    assert_eq!(stall["id"], open["id"]);
    assert_eq!((&site["stalls"], &site["in_progress"]), (&1.into(), &0.into()));
    // Less what the environment had, if it seemed to be the cause at first.
    assert!(site["seconds"].as_f64() <= stall["seconds"].as_f64(), "{site} {stall}");
    assert_eq!(site["seconds"], site["longest_seconds"]);
    assert_eq!((&site["cause"], &site["fix"]), (&stall["cause"], &stall["fix"]));
    if cfg!(feature = "capture") {
        let file = site["site"]["file"].as_str().expect("a file");
        assert!(file.ends_with("page/shown.rs"), "{file}");
        let line = site["site"]["line"].to_string();
        assert_eq!(document["sources"][file][line], "let _ = is_over.recv_timeout(LIMIT);");
        let numbers = stall["stack"]["frames"].as_array().expect("numbers").iter();
        let frames =
            numbers.map(|number| &document["frames"][number.as_u64().expect("one") as usize]);
        let frames: Vec<_> = frames.collect();
        assert!(frames.iter().any(|frame| frame["own"] == true));
        assert!(frames.iter().any(|frame| frame["own"] == false));
        let modules = document["modules"].as_array().expect("a list");
        assert!(modules.iter().any(|module| module["name"].is_string()), "{modules:?}");
    }
    let after = page(admin);
    assert!(!after.contains("import blocks"), "{after}");
    let id = &stall["id"];
    assert!(after.contains(&format!("<details id=\"stall-{id}\">")), "{after}");
    let (status, alone) = fetch(admin, &format!("/stalls/{id}"));
    assert_eq!(status, 200, "{alone}");
    if cfg!(feature = "capture") {
        assert!(alone.contains("recv_timeout"), "{alone}");
        let frames = stall["stack"]["frames"].as_array().expect("frames").len();
        let whole = alone.split("<ol class=\"stack whole\">").nth(1).expect("the stack");
        let whole = whole.split("</ol>").next().expect("its end");
        assert_eq!(whole.matches("<li").count(), frames);
    }
}

#[test]
fn a_stall_that_is_not_kept_has_no_page() {
    let rig = Rig::new(1, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    for id in ["999999", "999999.md", "0", "-1", "x", "%3Cscript%3E", "99999999999999999999999"] {
        let (status, text) = fetch(admin, &format!("/stalls/{id}"));
        assert_eq!(status, 404);
        assert!(text.starts_with("404: not among the stalls that are kept: "), "{text}");
    }
}

#[test]
fn a_browser_is_told_what_it_may_do_with_a_page() {
    let rig = Rig::new(1, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    for (path, kind) in [
        ("/stalls", "text/html; charset=utf-8"),
        ("/stalls.json", "application/json"),
        ("/flamegraph.svg", "image/svg+xml"),
    ] {
        let answer = client().get(format!("http://{admin}{path}")).call().expect("an answer");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!((answer.status().as_u16(), header("content-type")), (200, kind.to_owned()));
        let head = client().head(format!("http://{admin}{path}")).call().expect("an answer");
        assert_eq!(
            (head.status().as_u16(), &head.headers()["content-type"]),
            (200, &answer.headers()["content-type"])
        );
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        let runs_inline = policy.contains("unsafe-inline");
        assert!(!runs_inline || policy.contains("sandbox allow-scripts;"), "{policy}");
    }
}

#[test]
fn the_flame_graph_has_handlers_at_its_root() {
    let rig = Rig::new(2, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    let (_, none) = fetch(admin, "/flamegraph.svg");
    assert!(none.contains("(no stall yet)"), "{none}");
    let stall = Arc::clone(&rig.stall);
    let is_there = move || {
        let mut seen = stall.stalls().into_iter();
        seen.any(|stall| cfg!(not(feature = "capture")) || stall.stack.is_some())
    };
    rig.run(rig.stall.watched("import", async move { block_until(is_there) }));
    let leaf = if cfg!(feature = "capture") { "clock_nanosleep" } else { "(no stack)" };
    wait_until(LIMIT, || {
        let (_, graph) = fetch(admin, "/flamegraph.svg");
        graph.contains("<title>import (") && graph.contains(leaf)
    });
}
