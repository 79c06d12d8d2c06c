//! The example and the receiver as child processes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::needs::skip;
use crate::waiting::{LIMIT, wait_for};

/// Python with OpenTelemetry's definitions: of `scripts/install-tools`, or named by `STALL_VENV`.
/// Without it prints why a test is left out, which fails where nothing may be.
#[track_caller]
pub(crate) fn python() -> Option<PathBuf> {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv");
    let python = std::env::var_os("STALL_VENV").map_or_else(own, PathBuf::from).join("bin/python");
    let module = ["-c", "import opentelemetry.proto.collector.trace.v1.trace_service_pb2"];
    if Command::new(&python).args(module).output().is_ok_and(|ran| ran.status.success()) {
        return Some(python);
    }
    skip("Python has no opentelemetry-proto in target/venv (scripts/install-tools)");
    None
}

/// A child process and the lines it has written. It does not outlive its test.
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let lines = Arc::default();
        let stdout = child.stdout.take().expect("a pipe");
        let read = Arc::clone(&lines);
        thread::spawn(move || read_on(stdout, &read));
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// What follows `start` in the first line that has it.
    #[track_caller]
    fn after(&self, start: &str) -> String {
        wait_for(|| self.lines().iter().find_map(|line| line.strip_prefix(start).map(Into::into)))
    }
}

fn read_on(stdout: ChildStdout, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stdout).lines() {
        lines.lock().expect("no panic").push(line.expect("text"));
    }
}

/// The receiver.
pub(crate) struct Receiver {
    process: Process,
    pub(crate) port: u64,
}

impl Receiver {
    /// On that port, or on a free one.
    pub(crate) fn start(python: &Path, port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receiver.py");
        let process =
            Process::start(Command::new(python).arg("-u").arg(script).arg(port.to_string()));
        let port = process.after("{\"port\": ").trim_end_matches('}').parse().expect("a port");
        Self { process, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has got: spans and points.
    pub(crate) fn got(&self) -> Vec<Value> {
        let lines = self.process.lines();
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The spans whose name begins like that.
    pub(crate) fn spans(&self, start: &str) -> Vec<Value> {
        let named = |got: &Value| got["span"].as_str().is_some_and(|name| name.starts_with(start));
        self.got().into_iter().filter(named).collect()
    }

    /// The first point of a metric that is not zero.
    #[track_caller]
    pub(crate) fn point(&self, metric: &str) -> Value {
        let is = |got: &Value| got["metric"] == metric && got["value"].as_f64() != Some(0.0);
        wait_for(|| self.got().into_iter().find(is))
    }

    /// The stalls counted at last, of handlers whose name begins like that.
    pub(crate) fn stalls(&self, handler: &str) -> u64 {
        let mut last = BTreeMap::new();
        for point in self.got().iter().filter(|got| got["metric"] == "tokio.stalls") {
            if point["labels"]["handler"].as_str().expect("a label").starts_with(handler) {
                last.insert(point["labels"].to_string(), point["value"].as_u64().expect("a count"));
            }
        }
        last.values().sum()
    }
}

/// The example.
pub(crate) struct Service {
    process: Process,
    pub(crate) url: String,
}

impl Service {
    /// With two workers. Its exporters send every 200 ms.
    pub(crate) fn start(endpoint: &str) -> Self {
        let process = Process::start(
            Command::new(env!("CARGO_BIN_EXE_otel-server"))
                .args(["--addr", "127.0.0.1:0", "--workers", "2", "--endpoint", endpoint])
                .env("OTEL_BSP_SCHEDULE_DELAY", "200")
                .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
                .env_remove("RUST_LOG")
                .stderr(Stdio::piped()),
        );
        let url = process.after("listening on ");
        Self { process, url }
    }

    /// Calls the service; how long that took.
    pub(crate) fn get(&self, path: &str, traceparent: Option<&str>) -> Duration {
        get(&self.url, path, traceparent)
    }

    /// Blocks a worker for 300 ms until the receiver has a stall that is wanted: on a machine that is
    /// busy enough the watchdog misses one, or its stack comes too late.
    #[track_caller]
    pub(crate) fn stall(
        &self,
        receiver: &Receiver,
        traceparent: Option<&str>,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        wait_for(|| {
            self.get("/blocking?ms=300", traceparent);
            receiver.spans("stall GET /blocking").into_iter().find(&wanted)
        })
    }

    /// The lines of its log that have this.
    pub(crate) fn logged(&self, part: &str) -> Vec<String> {
        self.process.lines().into_iter().filter(|line| line.contains(part)).collect()
    }

    /// Asks it to end, and waits; with how long that took and what it wrote on standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, Duration, String, Vec<String>) {
        let start = Instant::now();
        let pid = self.process.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill").success());
        let status = wait_for(|| self.process.child.try_wait().expect("our child"));
        let took = start.elapsed();
        let mut errors = String::new();
        let stderr = self.process.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut errors).expect("text");
        (status, took, errors, self.process.lines())
    }
}

/// Calls a service; how long that took.
pub(crate) fn get(url: &str, path: &str, traceparent: Option<&str>) -> Duration {
    let start = Instant::now();
    let config = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).build();
    let mut request = config.new_agent().get(format!("{url}{path}"));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    request.call().expect("an answer");
    start.elapsed()
}
