//! The routes: what is said about a document, and to whom.

use super::admin;
use crate::support::{Rig, client, fetch};

const PATHS: [(&str, &str, Option<&str>); 3] = [
    ("/stalls.folded", "text/plain; charset=utf-8", None),
    ("/debug/pprof/stalls", "application/octet-stream", Some("stalls.pb.gz")),
    ("/stalls.firefox.json", "application/json", Some("stalls.firefox.json")),
];

#[test]
fn each_form_says_what_it_is() {
    let rig = Rig::new(1, |builder| builder);
    let admin = admin(&rig);
    for (path, kind, file) in PATHS {
        let url = format!("http://{admin}{path}");
        let answer = client().get(&url).call().expect("an answer");
        let header = |name: &str| answer.headers().get(name).map(|it| it.to_str().expect("text"));
        assert_eq!((answer.status().as_u16(), header("content-type")), (200, Some(kind)));
        assert_eq!(header("cache-control"), Some("no-store"));
        assert_eq!(header("x-content-type-options"), Some("nosniff"));
        let file = file.map(|file| format!("attachment; filename=\"{file}\""));
        assert_eq!(header("content-disposition"), file.as_deref(), "{path}");
        let head = client().head(&url).call().expect("an answer");
        assert_eq!(head.headers()["content-type"], kind, "{path}");
        // As at the other routes.
        let (options, stalls) = (client().options(&url), format!("http://{admin}/stalls"));
        let options = options.call().expect("an answer").status();
        assert_eq!(options, client().options(&stalls).call().expect("an answer").status());
    }
    let page = fetch(admin, "/stalls").1;
    for (path, ..) in PATHS {
        assert!(page.contains(&format!("<a href=\"{path}\">")), "the page leads to {path}");
    }
}

#[test]
fn a_time_that_is_none_is_told() {
    let rig = Rig::new(1, |builder| builder);
    for (path, ..) in PATHS {
        for wrong in ["0", "61", "x", ""] {
            let (status, why) = fetch(admin(&rig), &format!("{path}?seconds={wrong}"));
            assert_eq!(status, 400, "{path} for {wrong}: {why}");
            assert!(why.contains("`seconds` must be a whole number from 1 to 60"), "{why}");
        }
    }
}
