//! Child processes, and what must be installed for some of them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::find;
pub(crate) use crate::support::needs::has;
pub(crate) use crate::support::{LIMIT, wait_for};

/// A child that does not outlive the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
        // The file of the example, which cannot remove it when it is killed.
        let file = format!("tower-stall-{}.bin", self.0.id());
        drop(std::fs::remove_file(std::env::temp_dir().join(file)));
    }
}

impl Process {
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill");
        assert!(sent.success());
    }

    pub(crate) fn wait_for_end(&mut self) -> std::process::ExitStatus {
        wait_for(LIMIT, || self.0.try_wait().expect("our child"))
    }
}

/// The example service.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) admin: Option<String>,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Server {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[])
    }

    /// The same with settings from these variables.
    pub(crate) fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let test = std::env::current_exe().expect("this test");
        let examples =
            test.parent().and_then(|deps| deps.parent()).expect("target/…").join("examples");
        let child = Command::new(examples.join("server"))
            .args(["--addr", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-ms", "0"])
            .args(flags)
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example: `cargo build --example server`, or plain `cargo test`, makes it");
        let mut process = Process(child);
        let lines = forward(process.0.stdout.take().expect("a pipe"), |_| ());
        let errors = forward(process.0.stderr.take().expect("a pipe"), |line| eprintln!("{line}"));
        let mut server = Self { process, url: String::new(), admin: None, lines, errors };
        server.url = server.line("listening on ").1;
        if !flags.contains(&"--no-layer") {
            server.admin = Some(server.line("admin on ").1);
        }
        server
    }

    /// Waits for a line that contains `text`; gives the line and what follows the text.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> (String, String) {
        let (start, mut others) = (Instant::now(), Vec::new());
        while let Ok(line) = self.lines.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
            if let Some(at) = line.find(text) {
                let rest = line[at + text.len()..].trim().to_owned();
                return (line, rest);
            }
            others.push(line);
        }
        panic!("no line with {text:?}: {others:#?}");
    }

    /// Waits for a line on standard error that contains `text`.
    #[track_caller]
    pub(crate) fn error_line(&self, text: &str) -> String {
        loop {
            let line = self.errors.recv_timeout(LIMIT).expect("a line");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// What it has written on standard error and nobody has read.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.try_iter().collect()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.url))
    }

    pub(crate) fn metrics(&self) -> String {
        let admin = self.admin.as_ref().expect("an admin server");
        let (status, page) = get(&format!("{admin}/metrics"));
        assert_eq!(status, 200);
        page
    }

    /// The value of the first series of `name` that has all of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        find(&self.metrics(), name, labels)
    }

    /// Sends a request that nobody waits for.
    pub(crate) fn get_in_background(&self, path: &str) -> std::thread::JoinHandle<Option<u16>> {
        let url = format!("{}{path}", self.url);
        std::thread::spawn(move || try_get(&url).ok().map(|(status, _)| status))
    }
}

/// What is written, by line; each is shown, too.
fn forward(output: impl Read + Send + 'static, show: fn(&str)) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            show(&line);
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// Memory of a process's own, in bytes; `None` where `/proc` does not tell.
pub(crate) fn own_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = memory.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes << 10)
}

pub(crate) fn try_get(url: &str) -> Result<(u16, String), ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(120)))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let mut response = agent.get(url).call()?;
    Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
}

pub(crate) fn get(url: &str) -> (u16, String) {
    try_get(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}
