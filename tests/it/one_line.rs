//! The one line: `tower_stall::layer()` has one detector a process, so each test is a process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use axum::Router;
use axum::routing::get;
use tokio::runtime::Runtime;

use crate::support::child;
use crate::support::events::Events;
use crate::support::{LIMIT, block_until, fetch, metric, runtime, scrape, wait_until};

/// A log for the whole process, as a service has it.
fn log() -> Events {
    let log = Events::default();
    tracing::dispatcher::set_global_default(log.dispatch()).expect("it is the first");
    log
}

fn started(log: &Events, runtime: &str) -> usize {
    let started = log.named("stall_started").into_iter();
    started
        .filter(|event| event.field("handler") == "GET /block" && event.field("runtime") == runtime)
        .count()
}

/// Routes whose handler blocks until the log tells of it.
fn routes(log: &Events, runtime: &'static str) -> Router {
    let log = log.clone();
    let block = async move || {
        let before = started(&log, runtime);
        block_until(|| started(&log, runtime) > before);
        "done"
    };
    Router::new().route("/block", get(block)).route("/hello", get(async || "hello"))
}

/// Serves as a user does, in the main task.
fn serve(runtime: &Runtime, app: impl FnOnce() -> Router + Send + 'static) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        tell.send(listener.local_addr()?).expect("somebody waits");
        axum::serve(listener, app()).await
    });
    told.recv_timeout(LIMIT).expect("an address")
}

#[test]
fn called_inside_a_runtime() {
    child::run("one_line::called_inside_a_runtime", &[], || {
        let log = log();
        let runtime = runtime(2);
        let app = routes(&log, "main");
        let address = serve(&runtime, || app.layer(tower_stall::layer()));
        assert_eq!(fetch(address, "/block"), (200, "done".to_owned()));
        assert_eq!(started(&log, "main"), 1);
    });
}

#[test]
fn called_before_there_is_a_runtime() {
    child::run("one_line::called_before_there_is_a_runtime", &[], || {
        let log = log();
        let app = routes(&log, "main").layer(tower_stall::layer());
        let runtime = runtime(2);
        let address = serve(&runtime, || app);
        // The very first request.
        assert_eq!(fetch(address, "/block"), (200, "done".to_owned()));
        assert_eq!(started(&log, "main"), 1);
    });
}

#[test]
fn all_layers_share_one_detector_and_further_runtimes_are_watched() {
    let test = "one_line::all_layers_share_one_detector_and_further_runtimes_are_watched";
    child::run(test, &[("TOWER_STALL_ADMIN", "127.0.0.1:0")], || {
        let log = log();
        let runtimes = [runtime(2), runtime(1)];
        for (runtime, name) in runtimes.iter().zip(["main", "runtime-2"]) {
            let app = routes(&log, name);
            let address = serve(runtime, || app.layer(tower_stall::layer()));
            assert_eq!(fetch(address, "/block"), (200, "done".to_owned()));
            assert_eq!(started(&log, name), 1, "{name}");
        }
        let stall = tower_stall::detector().expect("it has started");
        let admin = stall.admin_addr().expect("an admin server");
        wait_until(LIMIT, || {
            let page = scrape(admin);
            let stalls = |runtime| {
                let labels = [("runtime", runtime), ("handler", "GET /block")];
                metric(&page, "tokio_stalls_total", &labels)
            };
            (stalls("main"), stalls("runtime-2")) == (Some(1.0), Some(1.0))
        });
    });
}

#[test]
fn its_detector_is_there_once_it_has_started() {
    child::run("one_line::its_detector_is_there_once_it_has_started", &[], || {
        assert!(tower_stall::detector().is_none(), "there is no runtime yet");
        let runtime = runtime(2);
        let inside = runtime.enter();
        let stall = tower_stall::detector().expect("it starts inside a runtime");
        drop(inside);
        wait_until(LIMIT, || stall.health().is_ready());
        stall.drain();
        drop(stall);
        let again = tower_stall::detector().expect("the process keeps it");
        assert!(!again.health().is_ready(), "it is the same one");
        assert_eq!(again.shutdown(3 * LIMIT), Ok(()));
    });
}

#[test]
fn a_wrong_setting_is_logged_and_the_service_serves() {
    let test = "one_line::a_wrong_setting_is_logged_and_the_service_serves";
    child::run(test, &[("TOWER_STALL_THRESHOLD", "soon")], || {
        let log = log();
        let runtime = runtime(2);
        let app = routes(&log, "main");
        let address = serve(&runtime, || app.layer(tower_stall::layer()));
        assert_eq!(fetch(address, "/hello"), (200, "hello".to_owned()));
        let told = log.all();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].level, tracing::Level::ERROR);
        assert!(told[0].field("error").contains("TOWER_STALL_THRESHOLD is \"soon\""), "{told:?}");
    });
}

#[test]
fn so_is_an_address_in_use() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    child::run("one_line::so_is_an_address_in_use", &[("TOWER_STALL_ADMIN", &address)], || {
        let log = log();
        let runtime = runtime(2);
        let app = routes(&log, "main").layer(tower_stall::layer());
        let address = serve(&runtime, || app);
        for _ in 0..3 {
            assert_eq!(fetch(address, "/hello"), (200, "hello".to_owned()));
        }
        let told = log.all();
        assert_eq!(told.len(), 1, "once: {told:?}");
        assert!(told[0].field("error").contains("in use"), "{told:?}");
    });
}

#[test]
fn switched_off_it_does_nothing() {
    child::run("one_line::switched_off_it_does_nothing", &[("TOWER_STALL", "off")], || {
        let log = log();
        let runtime = runtime(2);
        let app = routes(&log, "main");
        let address = serve(&runtime, || app.layer(tower_stall::layer()));
        assert_eq!(fetch(address, "/hello"), (200, "hello".to_owned()));
        assert!(log.all().is_empty());
    });
}
