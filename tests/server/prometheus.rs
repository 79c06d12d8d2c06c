//! A real Prometheus scrapes the example, and its HTTP API is asked.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;

use serde_json::Value;

use super::child::{LIMIT, Process, Server, has, try_get, wait_for};

/// What is scraped, and the labels it gets, in YAML.
pub(crate) struct Target<'a> {
    pub(crate) url: &'a str,
    pub(crate) labels: &'a str,
}

pub(crate) struct Prometheus {
    _process: Process,
    pub(crate) url: String,
    /// Its own, until it is dropped.
    pub(crate) folder: PathBuf,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        Self::start_with("500ms", &[Target { url: target, labels: "{}" }], &[])
    }

    /// With an interval between scrapes, targets of a job `server`, and files of rules.
    pub(crate) fn start_with(
        interval: &str,
        targets: &[Target<'_>],
        rules: &[(&str, String)],
    ) -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-stall-prometheus-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut config = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: 1s}}\n\
             rule_files: ['*_rules.yml']\n\
             scrape_configs:\n- job_name: server\n  static_configs:\n"
        );
        for Target { url, labels } in targets {
            let target = url.trim_start_matches("http://");
            config.push_str(&format!("  - {{targets: ['{target}'], labels: {labels}}}\n"));
        }
        std::fs::write(folder.join("prometheus.yml"), config).expect("a file");
        for (name, text) in rules {
            std::fs::write(folder.join(format!("{name}_rules.yml")), text).expect("a file");
        }
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus");
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        let process = Process(process);
        Self { _process: process, url: format!("http://{}", listens_at(log)), folder }
    }

    /// The data of an answer of the HTTP API; none while it is not up yet.
    pub(crate) fn api(&self, path: &str) -> Option<Value> {
        let (_, body) = try_get(&format!("{}/api/v1/{path}", self.url)).ok()?;
        let mut body: Value = serde_json::from_str(&body).ok()?;
        assert_ne!(body["status"], "error", "{path}: {body}");
        Some(body["data"].take())
    }

    /// The value of the first series of an instant query.
    pub(crate) fn query(&self, query: &str) -> Option<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.api(&format!("query?query={encoded}"))?;
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }

    #[track_caller]
    fn wait_for(&self, query: &str, is: impl Fn(f64) -> bool) -> f64 {
        wait_for(LIMIT, || self.query(query).filter(|value| is(*value)))
    }
}

/// The address that a Prometheus says it listens at. What it logs is read to its end.
fn listens_at(log: impl BufRead + Send + 'static) -> String {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let address = line.split_once("address=").map(|(_, address)| address.to_owned());
            if let Some(address) = address.filter(|_| line.contains("Listening on")) {
                drop(tell.send(address));
            }
        }
    });
    let address = told.recv_timeout(LIMIT).expect("it listens");
    address.split_whitespace().next().expect("an address").to_owned()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

#[test]
fn promtool_finds_no_fault_with_the_page() {
    if !has("promtool") {
        return;
    }
    let server = Server::start(&["--workers", "2"]);
    // Again where the machine is so busy that hardly any of the time was the handler's own.
    wait_for(LIMIT, || {
        server.get("/blocking?ms=300");
        server.metric("tokio_stall_duration_seconds_count", &[]).filter(|stalls| *stalls >= 1.0)
    });
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(server.metrics().as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn a_real_prometheus_sees_stalls_freezes_and_lag_as_they_happen() {
    if !has("prometheus") {
        return;
    }
    let server = Server::start(&["--runtime", "current-thread"]);
    let prometheus = Prometheus::start(server.admin.as_ref().expect("an admin server"));
    prometheus.wait_for("up", |up| up == 1.0);
    prometheus.wait_for("tokio_event_loop_lag_seconds_count", |count| count > 10.0);
    let quick =
        "histogram_quantile(0.5, sum by (le) (rate(tokio_event_loop_lag_seconds_bucket[10s])))";
    prometheus.wait_for(quick, |lag| lag < 0.1);

    let request = server.get_in_background("/blocking?ms=15000");
    prometheus.wait_for("tokio_stall_in_progress_seconds", |age| age > 1.0);
    prometheus.wait_for("tokio_workers_stalled", |stalled| stalled == 1.0);
    prometheus.wait_for(r#"tokio_frozen_seconds_total{cause="sleep"}"#, |frozen| frozen >= 2.0);
    prometheus.wait_for(
        "histogram_quantile(0.9, sum by (le) (rate(tokio_event_loop_lag_seconds_bucket[5s])))",
        |lag| lag > 0.5,
    );
    assert!(!request.is_finished(), "all that while it blocks");
    prometheus
        .wait_for(r#"tokio_stalls_total{handler="GET /blocking",runtime="main"}"#, |stalls| {
            stalls == 1.0
        });
    assert_eq!(request.join().expect("no panic"), Some(200));
    prometheus.wait_for("tokio_stall_in_progress_seconds", |age| age == 0.0);
    let seconds = prometheus
        .wait_for(r#"tokio_stalled_seconds_total{handler="GET /blocking"}"#, |s| s >= 14.0);
    assert!(seconds <= 17.0, "{seconds}");
    prometheus.wait_for(r#"increase(tokio_frozen_seconds_total{cause="sleep"}[1m])"#, |s| s > 5.0);
}

#[test]
fn a_real_prometheus_sees_parts_of_a_second() {
    if !has("prometheus") {
        return;
    }
    let server = Server::start(&["--workers", "2"]);
    let prometheus = Prometheus::start(server.admin.as_ref().expect("an admin server"));
    let handler = r#"handler="GET /blocking""#;
    // Again where the machine is so busy that it was not the handler's own.
    let stalled = wait_for(LIMIT, || {
        server.get("/blocking?ms=150");
        server.metric("tokio_stalled_seconds_total", &[handler])
    });
    assert!(stalled > 0.0 && stalled.fract() > 0.0, "{stalled}");
    let series = format!("tokio_stalled_seconds_total{{{handler}}}");
    // Whatever is on the page now, it gets there as exactly.
    prometheus.wait_for(&series, |seconds| {
        let on_page = server.metric("tokio_stalled_seconds_total", &[handler]);
        on_page.is_some_and(|on_page| (seconds - on_page).abs() < 1e-9)
    });
    let kind = prometheus.api("metadata?metric=tokio_stalled_seconds_total").expect("metadata");
    assert_eq!(kind["tokio_stalled_seconds_total"][0]["type"], "counter", "{kind:#}");
}

#[test]
fn a_pod_killed_in_the_middle_of_a_stall_leaves_its_stalled_seconds_behind() {
    if !has("prometheus") {
        return;
    }
    let mut server = Server::start(&["--workers", "2"]);
    let prometheus = Prometheus::start(server.admin.as_ref().expect("an admin server"));
    prometheus.wait_for("up", |up| up == 1.0);
    let _request = server.get_in_background("/blocking?ms=3600000");
    let seconds = r#"tokio_stalled_seconds_total{handler="GET /blocking"}"#;
    prometheus.wait_for(seconds, |seconds| seconds >= 3.0);
    server.process.signal("KILL");
    server.process.wait_for_end();
    prometheus.wait_for("up", |up| up == 0.0);
    prometheus.wait_for(&format!("max_over_time({seconds}[5m])"), |seconds| seconds >= 3.0);
}
