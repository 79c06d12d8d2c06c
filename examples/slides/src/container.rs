//! A container: a child process that serves, its log, and its end.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::Error;
use crate::service::Flavor;

/// How a container is run: what its manifest would say.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) flavor: Flavor,
    /// Settings of the detector.
    pub(crate) env: Vec<(&'static str, Duration)>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum EndedBy {
    #[serde(rename = "SIGTERM")]
    Sigterm,
    #[serde(rename = "SIGKILL")]
    Sigkill,
}

impl EndedBy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sigterm => "SIGTERM",
            Self::Sigkill => "SIGKILL",
        }
    }
}

/// A running container; it does not outlive this value.
#[derive(Debug)]
pub(crate) struct Container {
    process: Child,
    /// When it listened. The kubelet counts from the start of the process.
    pub(crate) started: Instant,
    /// Where the service listens.
    pub(crate) service: String,
    /// Where the detector's admin server listens.
    pub(crate) admin: String,
    pub(crate) log: Log,
    reader: Option<JoinHandle<()>>,
}

impl Container {
    /// Starts it and waits until it listens.
    pub(crate) fn start(spec: &Spec, tell: impl Fn(&str) + Send + 'static) -> Result<Self, Error> {
        let flavor = spec.flavor.to_possible_value().ok_or("an unknown runtime")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", flavor.get_name()]).env_remove("RUST_LOG");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOWER_STALL") {
                command.env_remove(name);
            }
        }
        for (name, time) in &spec.env {
            command.env(name, format!("{}ms", time.as_millis()));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|e| format!("cannot start the service: {e}"))?;

        let log = Log::default();
        let lines = process.stderr.take().ok_or("no pipe for the log")?;
        let reader = Some(log.clone().read(lines, tell));
        let stdout = process.stdout.take().ok_or("no pipe for the addresses")?;
        let mut container = Self {
            process,
            started: Instant::now(),
            service: String::new(),
            admin: String::new(),
            log,
            reader,
        };
        let mut addresses = BufReader::new(stdout).lines();
        container.service = container.address(&mut addresses)?;
        container.admin = container.address(&mut addresses)?;
        container.started = Instant::now();
        Ok(container)
    }

    fn address(&mut self, lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String, Error> {
        match lines.next() {
            Some(line) => Ok(line?),
            None => {
                self.end()?;
                let last = self.log.last().unwrap_or_default();
                Err(format!("the service did not come up: {last}").into())
            }
        }
    }

    /// Ends it as the kubelet does: SIGTERM, and SIGKILL when the grace period is over.
    pub(crate) fn terminate(&mut self, grace: Duration) -> Result<EndedBy, Error> {
        let start = Instant::now();
        #[cfg(unix)]
        {
            let pid = self.process.id().cast_signed();
            // SAFETY: kill touches no memory. The child has not been waited for, so the number
            // is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        while start.elapsed() < grace {
            if self.process.try_wait()?.is_some() {
                self.end()?;
                return Ok(EndedBy::Sigterm);
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.end()?;
        Ok(EndedBy::Sigkill)
    }

    /// Ends it at once and waits for the rest of its log.
    fn end(&mut self) -> std::io::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// The lines a container has written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn read(self, lines: ChildStderr, tell: impl Fn(&str) + Send + 'static) -> JoinHandle<()> {
        thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                tell(&line);
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        })
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn last(&self) -> Option<String> {
        self.lines().pop()
    }

    /// The lines about the beginnings of a handler's stalls, without their fields.
    pub(crate) fn stalls(&self, handler: &str) -> Vec<String> {
        let begin = format!("{handler} has blocked ");
        let lines = self.lines().into_iter();
        lines.filter(|line| line.contains(&begin)).map(|line| brief(&line)).collect()
    }

    /// File, line and function of the first line that names them. The first of a process may come
    /// without: its names are still being read.
    pub(crate) fn site(&self) -> Option<String> {
        self.lines().iter().map(|line| brief(line)).find_map(|line| {
            let (_, site) = line.split_once(" at ")?;
            site.contains(".rs:").then(|| site.split(" · ").next().unwrap_or(site).to_owned())
        })
    }
}

/// The level and message of a line of the log, without time, target and fields.
pub(crate) fn brief(line: &str) -> String {
    let (level, message) = match line.split_once(" tower_stall: ") {
        Some((start, message)) => (start.split_whitespace().last().unwrap_or_default(), message),
        None => ("", line),
    };
    let message = message.split(" event=").next().unwrap_or(message);
    format!("{level} {message}").trim_start().to_owned()
}
