//! The example as a child process, its clients, and a stall that lasts.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use echo::v1::echo_client::EchoClient;
use echo::v1::{Answer, Ask, FiguresAnswer};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Channel;

/// For what must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// An hour: until the service is killed.
pub(crate) const FOREVER: u32 = 3_600_000;
/// The flags of a service with workers to spare for what blocks.
pub(crate) const WORKERS: &[&str] = &["--workers", "4"];
pub(crate) const WITHOUT: &[&str] = &["--workers", "4", "--no-layer"];

/// Waits until there is something.
#[track_caller]
pub(crate) fn wait_for<T, F>(mut look: impl FnMut() -> F) -> impl Future<Output = T>
where
    F: Future<Output = Option<T>>,
{
    let (start, place) = (Instant::now(), std::panic::Location::caller());
    async move {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(start.elapsed() < LIMIT, "{place}: did not happen within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The example service. It does not outlive its test.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) channel: Channel,
    admin: Option<String>,
    /// Host and port of gRPC health.
    pub(crate) health: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[]).await
    }

    /// The same with settings of the detector.
    pub(crate) async fn start_with(flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tonic-server"))
            .args(["--addr", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(flags)
            .env("RUST_LOG", "error")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut lines = stdout.lines().map(|line| line.expect("the example writes text"));
        let url = after(&mut lines, "listening on ");
        let admin = (!flags.contains(&"--no-layer")).then(|| after(&mut lines, "admin on "));
        let health = flags.contains(&"--health").then(|| after(&mut lines, "health on http://"));
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        let endpoint = Channel::from_shared(url.clone()).expect("an address");
        let channel = endpoint.connect().await.expect("a connection");
        Self { child, url, channel, admin, health }
    }

    pub(crate) fn client(&self) -> EchoClient<Channel> {
        EchoClient::new(self.channel.clone())
    }

    /// Blocks a worker until the service is killed, and waits until it does, and until that is
    /// told where there is a detector.
    pub(crate) async fn stall(&self) {
        // A worker that blocks may be the one that looked for what comes in, and Tokio wakes no
        // other for that (tokio#4730). Answers from the blocking pool wake one again and again.
        let work = Ask { work_ms: 5, messages: u32::MAX, ..Ask::default() };
        let mut works = self.client().server_stream(work).await.expect("an answer").into_inner();
        tokio::spawn(async move { while works.next().await.is_some() {} });
        let mut client = self.client();
        let block = Ask { block_ms: FOREVER, ..Ask::default() };
        tokio::spawn(async move { client.unary(block).await });
        wait_for(async || (self.figures().await.blocking == 1).then_some(())).await;
        if self.admin.is_some() {
            wait_for(async || (self.stalls("/echo.v1.Echo/Unary").await > 0.0).then_some(())).await;
        }
    }

    pub(crate) async fn figures(&self) -> FiguresAnswer {
        let figures = self.client().figures(Ask::default()).await;
        figures.expect("an answer").into_inner()
    }

    /// The page of metrics.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.admin.as_ref().expect("an admin server"));
        let page = tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).build();
            let mut answer = config.new_agent().get(url).call().expect("an answer");
            answer.body_mut().read_to_string().expect("text")
        });
        page.await.expect("no panic")
    }

    /// The stalls of a handler.
    pub(crate) async fn stalls(&self, handler: &str) -> f64 {
        stalls(&self.metrics().await, handler)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().expect("kill").success());
    }

    /// Waits for the end of the process; with what it wrote on standard error.
    pub(crate) async fn end(&mut self) -> (ExitStatus, String) {
        let status = {
            let child = std::cell::RefCell::new(&mut self.child);
            wait_for(async || child.borrow_mut().try_wait().expect("our child")).await
        };
        let mut errors = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut errors).expect("text");
        (status, errors)
    }
}

fn after(lines: &mut impl Iterator<Item = String>, start: &str) -> String {
    let rest = lines.find_map(|line| line.strip_prefix(start).map(str::to_owned));
    rest.expect("the example says where it listens")
}

/// The stalls of a handler on a page of metrics.
pub(crate) fn stalls(page: &str, handler: &str) -> f64 {
    sum(page, "tokio_stalls_total{", &format!("handler=\"{handler}\""))
}

/// The sum of the series whose lines begin and go on like that.
pub(crate) fn sum(page: &str, start: &str, label: &str) -> f64 {
    let lines = page.lines().filter(|line| line.starts_with(start) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0)).sum()
}

/// The age of the stall in progress on a page of metrics.
pub(crate) fn in_progress(page: &str) -> f64 {
    sum(page, "tokio_stall_in_progress_seconds{", "")
}

/// The numbers of a stream's answers, to its end.
pub(crate) async fn numbers(
    answers: impl Stream<Item = Result<Answer, tonic::Status>>,
) -> Vec<u32> {
    answers.map(|answer| answer.expect("an answer").number).collect().await
}
