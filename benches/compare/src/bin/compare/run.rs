//! One fault under one contender, in a process of its own, and all that the contender says meanwhile.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tower_stall_compare::Fault;

use crate::contender::{Contender, Programs};
use crate::judge::console::{self, Watch};

/// How long the service is asked for `/hello` before the fault and after it: several intervals of each tool.
const BEFORE: Duration = Duration::from_millis(1500);
const AFTER: Duration = Duration::from_secs(3);
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(50);
/// For what should not take long: another machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line that the service has printed, and when it was read.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) text: String,
}

/// What came of one run. Times are nanoseconds since 1970.
pub(crate) struct Recording {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// The standard error: the log, or what tokio-metrics reports.
    pub(crate) log: Vec<Line>,
    /// What the client of console-subscriber has seen.
    pub(crate) console: Watch,
    /// The folder of dial9, and when a closed segment of each number was there first.
    pub(crate) folder: PathBuf,
    pub(crate) segments: BTreeMap<u64, u64>,
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    u64::try_from(since.as_nanos()).expect("before the year 2554")
}

/// A service that runs.
pub(crate) struct Service {
    child: Child,
    /// It ends when this is closed.
    input: Option<ChildStdin>,
    output: Lines,
    log: Lines,
}

impl Service {
    pub(crate) fn start(
        contender: &Contender,
        programs: &Programs,
        workers: usize,
        folder: &Path,
    ) -> Self {
        let mut child = Command::new(contender.program(programs))
            .arg(contender.tool)
            .arg(workers.to_string())
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let input = child.stdin.take();
        let output = Lines::of(child.stdout.take().expect("a pipe"));
        let log = Lines::of(child.stderr.take().expect("a pipe"));
        Self { child, input, output, log }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// What follows this in a line that it prints.
    pub(crate) fn wait_for(&self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.output.so_far();
            if let Some(rest) = lines.iter().find_map(|line| line.text.strip_prefix(start)) {
                return rest.to_owned();
            }
            assert!(Instant::now() < deadline, "no {start:?}: {}", self.log.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn address(&self) -> String {
        self.wait_for("listening on http://")
    }

    /// Lets it end, and write what it still has to.
    fn end(&mut self) {
        drop(self.input.take());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("it is our child").is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Lines as they come.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let to = lines.clone();
        thread::spawn(move || {
            for text in BufReader::new(from).lines().map_while(Result::ok) {
                to.0.lock().expect("no panic holds it").push(Line { at: now(), text });
            }
        });
        lines
    }

    fn so_far(&self) -> Vec<Line> {
        self.0.lock().expect("no panic holds it").clone()
    }

    fn text(&self) -> String {
        self.so_far().into_iter().map(|line| line.text + "\n").collect()
    }
}

/// Asks once; an answer that does not come in time is none of our business here.
fn ask(address: &str, path: &str, patience: Duration) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// A thread that does something again and again until it is told to stop.
struct Repeated {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Repeated {
    fn start(pause: Duration, mut action: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                action();
                thread::sleep(pause);
            }
            action();
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
    }
}

/// Runs the fault in a service of its own.
pub(crate) fn observe(
    contender: &Contender,
    fault: &Fault,
    programs: &Programs,
    folder: &Path,
) -> Recording {
    std::fs::create_dir_all(folder).expect("a folder for what it writes");
    let mut service = Service::start(contender, programs, 2, folder);
    let address = service.address();
    let watch = (contender.tool == "console")
        .then(|| console::Client::start(service.wait_for("console on ")));
    let segments = Arc::new(Mutex::new(BTreeMap::new()));
    let (seen, below) = (Arc::clone(&segments), folder.to_owned());
    let look = Repeated::start(PAUSE, move || {
        note_segments(&below, &mut seen.lock().expect("no panic holds it"));
    });
    let to = address.clone();
    let hello = Repeated::start(PAUSE, move || {
        // While a worker is blocked, an answer may be late.
        let _answer = ask(&to, "/hello", Duration::from_millis(500));
    });
    thread::sleep(BEFORE);
    let path = format!("/{}", fault.name);
    let request = thread::spawn(move || ask(&address, &path, PATIENCE).expect("an answer"));
    let at = |word| service.wait_for(word).parse().expect("nanoseconds");
    let (begin, end) = (at("begin "), at("end "));
    request.join().expect("the answer is right");
    thread::sleep(AFTER);
    hello.stop();
    service.end();
    look.stop();
    let console = watch.map_or_else(Watch::default, console::Client::stop);
    let segments = std::mem::take(&mut *segments.lock().expect("no panic holds it"));
    let log = service.log.so_far();
    Recording { begin, end, log, console, folder: folder.to_owned(), segments }
}

/// Notes which segments are closed by now. Those that are still written to end in `.active`.
fn note_segments(folder: &Path, seen: &mut BTreeMap<u64, u64>) {
    for path in crate::judge::segments_below(folder) {
        if let Some(number) = crate::judge::number_of_segment(&path) {
            seen.entry(number).or_insert_with(now);
        }
    }
}
