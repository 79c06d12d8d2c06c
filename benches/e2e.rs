//! What the layer and its detector cost end to end: CPU time of a server for each request, at a fixed
//! rate. `scripts/bench-e2e` builds the server and runs this.
//!
//! ```text
//! scripts/bench-e2e [REQUESTS A SECOND]
//! ```
//!
//! Three servers run, one with the layer and two with `--no-layer`, whose difference is the A/A row. One
//! at a time gets requests for `/hello`, at times that do not depend on its answers, over connections
//! that stay open. Client and servers have a core each, if there are two. All of the server's CPU time
//! counts, with that of the kernel for it, and that of the detector's threads.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tower_stall_benches::{Rounds, Target, cores, print_head, stay_on_core};

/// Requests a second, unless told otherwise.
const RATE: u32 = 5000;
/// How long one server gets requests, for one measurement: short, so that what else the machine does
/// meets all of them, and many times.
const TURN: Duration = Duration::from_millis(200);
const ROUNDS: usize = 150;
const CONNECTIONS: usize = 32;
/// A request that is sent later than this is late: the rate was not kept.
const LATE: Duration = Duration::from_millis(5);

const REQUEST: &[u8] =
    b"GET /hello HTTP/1.1\r\nhost: localhost\r\nuser-agent: e2e\r\naccept: */*\r\n\r\n";

const BODY: &[u8] = b"\r\n\r\nhello\n";

const WITHOUT: &str = "without the layer";
const WITH: &str = "with the layer";

struct Server {
    child: Child,
    address: String,
    /// Kept open: the server may print more.
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &str, flags: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["--addr", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "1"])
            .args(flags)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                output.read_line(&mut line).expect("it prints") > 0,
                "it says where it listens"
            );
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().to_owned();
            }
        };
        Self { child, address, _output: output }
    }

    /// CPU time so far of the threads that it has.
    fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let times = threads.map(|thread| {
            let file = thread.expect("an entry").path().join("schedstat");
            let schedule = fs::read_to_string(file).unwrap_or_default();
            schedule.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(times.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A connection that stays open.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    /// Whether an answer is due.
    asked: bool,
}

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        // The first answer tells how long they are.
        let mut connection = Self { stream, answer: Vec::new(), asked: false };
        connection.ask();
        let mut answer = [0; 4096];
        let mut length = 0;
        while !answer[..length].ends_with(BODY) {
            let read = connection.stream.read(&mut answer[length..]).expect("an answer");
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..length]));
            length += read;
        }
        connection.answer = vec![0; length];
        connection.asked = false;
        connection
    }

    fn ask(&mut self) {
        self.stream.write_all(REQUEST).expect("it reads");
        self.asked = true;
    }

    /// Reads the answer to the last request, which has long been there.
    fn settle(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.stream.read_exact(&mut self.answer).expect("an answer");
            assert!(self.answer.starts_with(b"HTTP/1.1 200"), "an answer without error");
        }
    }
}

/// Sends requests at the rate for a while. Returns how many were sent, and how many of them late.
fn load(connections: &mut [Connection], rate: u32) -> (u32, u32) {
    let count = (f64::from(rate) * TURN.as_secs_f64()) as u32;
    let (begin, mut late) = (Instant::now(), 0);
    for number in 0..count {
        let due = begin + TURN * number / count;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        late += u32::from(due.elapsed() > LATE);
        let connection = &mut connections[number as usize % CONNECTIONS];
        connection.settle();
        connection.ask();
    }
    connections.iter_mut().for_each(Connection::settle);
    (count, late)
}

fn main() {
    print_head("e2e");
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(program) = arguments.next() else {
        println!("left out: it needs the path of the server; run scripts/bench-e2e");
        return;
    };
    let rate = arguments.next().map_or(RATE, |rate| rate.parse().expect("requests a second"));
    // The servers inherit it.
    stay_on_core(cores() - 1);
    let flags: [&[&str]; 3] = [&["--no-layer"], &[], &["--no-layer"]];
    let servers = flags.map(|flags| Server::start(&program, flags));
    stay_on_core(0);
    let mut connections = servers.each_ref().map(|server| {
        let open = |_| Connection::open(&server.address);
        (0..CONNECTIONS).map(open).collect::<Vec<_>>()
    });
    println!("{rate} requests a second, {} ms at a time, one worker", TURN.as_millis());
    let (mut sent, mut late) = (0, 0);
    let rounds = Rounds::run_beside(
        ROUNDS,
        "µs of CPU time a request",
        &[(WITHOUT, 0), (WITH, 1)],
        2,
        |at| {
            let before = servers[at].cpu();
            let (count, behind) = load(&mut connections[at], rate);
            let cpu = servers[at].cpu() - before;
            (sent, late) = (sent + count, late + behind);
            cpu.as_secs_f64() * 1e6 / f64::from(count)
        },
    );
    rounds.print(WITHOUT);
    println!("{late} of {sent} requests were sent more than {} ms late", LATE.as_millis());
    rounds.check_ratio(Target::AtMost(1.02), "with : without", WITH, WITHOUT);
}
