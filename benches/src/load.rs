//! Requests for `/hello`, at a fixed rate or as many as are answered, and the CPU time that a server takes for them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long one server gets requests, for one measurement: short, so that what else the machine does
/// meets all of them, and many times.
pub const TURN: Duration = Duration::from_millis(200);
/// A request that is sent later than this is late: the rate was not kept.
pub const LATE: Duration = Duration::from_millis(5);
const CONNECTIONS: usize = 32;

const REQUEST: &[u8] =
    b"GET /hello HTTP/1.1\r\nhost: localhost\r\nuser-agent: e2e\r\naccept: */*\r\n\r\n";

const BODY: &[u8] = b"\r\n\r\nhello\n";

/// CPU time so far of the threads that a process has.
///
/// # Panics
///
/// Where there is no such process.
#[must_use]
pub fn cpu_of(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let times = threads.map(|thread| {
        let file = thread.expect("an entry").path().join("schedstat");
        let schedule = fs::read_to_string(file).unwrap_or_default();
        schedule.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(times.sum())
}

/// Connections to one server, and what was sent over them.
#[derive(Debug)]
pub struct Load {
    connections: Vec<Connection>,
    /// Requests so far.
    pub sent: u32,
    /// Those of them that were sent late.
    pub late: u32,
}

impl Load {
    /// Opens the connections, and asks once on each.
    ///
    /// # Panics
    ///
    /// Where nobody listens there, or the answer is another.
    #[must_use]
    pub fn open(address: &str) -> Self {
        let open = |_| Connection::open(address);
        Self { connections: (0..CONNECTIONS).map(open).collect(), sent: 0, late: 0 }
    }

    /// Sends requests at that rate for a [`TURN`], at times that do not depend on the answers. Returns
    /// how many.
    ///
    /// # Panics
    ///
    /// Where an answer does not come, or is an error.
    pub fn send(&mut self, rate: u32) -> u32 {
        let count = (f64::from(rate) * TURN.as_secs_f64()) as u32;
        let begin = Instant::now();
        for number in 0..count {
            let due = begin + TURN * number / count;
            if let Some(early) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(early);
            }
            self.late += u32::from(due.elapsed() > LATE);
            let connection = &mut self.connections[number as usize % CONNECTIONS];
            connection.settle();
            connection.ask();
        }
        self.connections.iter_mut().for_each(Connection::settle);
        self.sent += count;
        count
    }

    /// Sends requests for that long, on each connection the next one as soon as the last is answered. Returns
    /// how many it answers in a second.
    ///
    /// # Panics
    ///
    /// Where an answer does not come, or is an error.
    pub fn fill(&mut self, time: Duration) -> f64 {
        let (begin, mut count) = (Instant::now(), 0);
        while begin.elapsed() < time {
            for connection in &mut self.connections {
                connection.settle();
                connection.ask();
                count += 1;
            }
        }
        self.connections.iter_mut().for_each(Connection::settle);
        self.sent += count;
        f64::from(count) / begin.elapsed().as_secs_f64()
    }
}

/// A connection that stays open.
#[derive(Debug)]
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
