//! What a person sees who runs the example.

use std::time::{Duration, Instant};

use super::child::{LIMIT, Server, get, wait_for};
use crate::support::wait_until;

fn stalls(server: &Server, handler: &str) -> f64 {
    let handler = format!("handler=\"{handler}\"");
    server.metric("tokio_stalls_total", &[&handler]).unwrap_or(0.0)
}

/// Whether the site of a stall shows in the metrics: the first takes its time.
fn is_named(server: &Server, handler: &str, function: &str) -> bool {
    let (handler, site) = (format!("handler=\"{handler}\""), format!("site=\"{function}\""));
    server.metric("tokio_stall_site_seconds_total", &[&handler, &site]).is_some()
}

#[test]
fn a_blocked_handler_is_told_while_it_blocks() {
    let server = Server::start(&["--workers", "4"]);
    let request = server.get_in_background("/blocking?ms=5500");
    let (line, _) = server.line("GET /blocking has blocked worker");
    assert!(!request.is_finished(), "told while it blocks");
    assert!(line.contains("WARN") && line.contains("1 of 4 workers stalled"), "{line}");
    assert!(line.contains(r#"runtime "main""#) && line.contains("1 request in flight"), "{line}");
    assert_eq!(server.metric("tokio_workers_stalled", &[]), Some(1.0));
    assert_eq!(stalls(&server, "GET /blocking"), 1.0);
    server.line("still blocks worker");
    let (line, _) = server.line("ended after 5");
    assert!(line.contains("INFO"), "{line}");
    assert_eq!(request.join().expect("no panic"), Some(200));
    assert_eq!(stalls(&server, "GET /blocking"), 1.0);
    wait_until(LIMIT, || is_named(&server, "GET /blocking", "server::routes::sleeps"));
}

#[test]
fn each_way_to_block_is_found_and_each_way_to_wait_is_not() {
    let server = Server::start(&["--workers", "2"]);
    let frame = "<server::routes::BlockingFrames as http_body::Body>::poll_frame";
    for (path, handler, site) in [
        ("/blocking?ms=400", "GET /blocking", "server::routes::sleeps"),
        ("/cpu?ms=1000", "GET /cpu", "server::routes::computes"),
        ("/lock?ms=400", "GET /lock", "server::routes::locks"),
        ("/tcp?ms=400", "GET /tcp", "server::routes::reads_socket"),
        ("/process?ms=400", "GET /process", "server::routes::waits_for_child"),
        ("/stream?ms=400", "GET /stream", frame),
    ] {
        // Again where the machine is so busy that hardly any of the time was the handler's own, or
        // that its stack was not taken in time.
        wait_until(2 * LIMIT, || {
            assert_eq!(server.get(path).0, 200, "{path}");
            stalls(&server, handler) >= 1.0 && is_named(&server, handler, site)
        });
    }
    for path in [
        "/hello",
        "/async?ms=2000",
        "/users/42",
        "/healthcheck",
        "/spawn-blocking?ms=500",
        "/block-in-place?ms=500",
    ] {
        assert_eq!(server.get(path).0, 200, "{path}");
    }
    assert_eq!(server.get("/file").0, 200);
    assert_eq!(server.get("/nothing-here").0, 404);
    let page = server.metrics();
    for handler in
        ["/hello", "/async", "/users", "/healthcheck", "/spawn-blocking", "/block-in-place"]
    {
        let blamed = page.lines().find(|line| {
            line.starts_with("tokio_stalls_total") && line.contains(&format!("\"GET {handler}"))
        });
        assert_eq!(blamed, None);
    }
}

#[test]
fn a_current_thread_service_has_its_metrics_while_it_is_frozen() {
    let server = Server::start(&["--runtime", "current-thread"]);
    assert_eq!(server.get("/hello").0, 200);
    assert_eq!(server.get("/block-in-place?ms=1").0, 501);
    let request = server.get_in_background("/blocking?ms=6000");
    let frozen = ["runtime=\"main\"", "cause=\"sleep\""];
    wait_for(LIMIT, || {
        server.metric("tokio_frozen_seconds_total", &frozen).filter(|seconds| *seconds >= 1.0)
    });
    assert!(!request.is_finished(), "moved while it is frozen");
    assert_eq!(request.join().expect("no panic"), Some(200));
    assert_eq!(server.get("/hello").0, 200, "it goes on");
}

#[test]
fn a_process_that_blocks_without_end_still_ends_on_sigterm() {
    let end = |flags: &[&str]| {
        let mut server = Server::start(flags);
        let _request = server.get_in_background("/blocking?ms=3600000");
        if server.admin.is_some() {
            server.line("stall_continues");
            assert_eq!(stalls(&server, "GET /blocking"), 1.0);
            assert!(server.metric("tokio_stall_in_progress_seconds", &[]) > Some(0.1));
        } else {
            std::thread::sleep(Duration::from_millis(500));
        }
        let start = Instant::now();
        server.process.signal("TERM");
        let status = server.process.wait_for_end();
        (status.code(), start.elapsed())
    };
    let end = &end;
    std::thread::scope(|scope| {
        let ends = ["multi-thread", "current-thread"].map(|runtime| {
            let with = scope.spawn(move || end(&["--runtime", runtime]));
            (with, scope.spawn(move || end(&["--runtime", runtime, "--no-layer"])))
        });
        for (with, without) in ends {
            let (with, took) = with.join().expect("no panic");
            let (without, took_without) = without.join().expect("no panic");
            assert_eq!(with, without, "the same exit code");
            assert!(took < took_without + Duration::from_secs(10), "{took:?} {took_without:?}");
        }
    });
}

#[test]
fn an_operator_switches_it_off_and_over_without_a_build() {
    // The variables of this process go to its children, so this test has one process of its own.
    let test = std::env::current_exe().expect("this test");
    let server =
        test.parent().and_then(|deps| deps.parent()).expect("target/…").join("examples/server");
    let run = |name: &str, value: &str| {
        std::process::Command::new(&server)
            .args(["--addr", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-ms", "0"])
            .env(name, value)
            .output()
            .expect("the example")
    };
    let output = run("TOWER_STALL_THRESHOLD", "soon");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("TOWER_STALL_THRESHOLD") && error.contains("100ms"), "{error}");
}

#[test]
fn a_log_without_our_warnings_is_told_of_on_standard_error_and_by_health_and_the_page() {
    let notice = "the filter of the tracing subscriber drops warnings of the target `tower_stall`";
    let filter = ("RUST_LOG", "server=debug,tower_http=debug");
    let notices = |server: &Server| {
        let admin = server.admin.as_ref().expect("an admin server");
        let (status, health) = get(&format!("{admin}/livez?format=json"));
        assert_eq!(status, 200, "it changes no probe");
        let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
        let (_, page) = get(&format!("{admin}/stalls"));
        (health["notices"].to_string().contains(notice), page.contains(notice))
    };
    let server = Server::start_with(&[], &[filter]);
    let line = server.error_line(notice);
    assert!(line.contains(r#"add "tower_stall=info" to the filter"#), "{line}");
    assert!(line.contains("TOWER_STALL_LOG_CHECK=off"), "{line}");
    assert_eq!(notices(&server), (true, true));

    let added = ("RUST_LOG", "server=debug,tower_http=debug,tower_stall=info");
    let server = Server::start_with(&[], &[added]);
    // It would be told before the first stall. On a busy machine that may take more than one block.
    let is_told = |server: &Server| {
        server.get("/blocking?ms=400");
        stalls(server, "GET /blocking") >= 1.0
    };
    wait_until(LIMIT, || is_told(&server));
    server.line("GET /blocking has blocked worker");
    assert!(!server.errors().iter().any(|line| line.contains(notice)));
    assert_eq!(notices(&server), (false, false));

    let server = Server::start_with(&[], &[filter, ("TOWER_STALL_LOG_CHECK", "off")]);
    wait_until(LIMIT, || notices(&server) == (true, true));
    wait_until(LIMIT, || is_told(&server));
    assert!(!server.errors().iter().any(|line| line.contains(notice)));
}
