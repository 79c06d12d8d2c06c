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

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use tower_stall_benches::{
    LATE, Load, Rounds, TURN, Target, cores, cpu_of, print_head, stay_on_core,
};

/// Requests a second, unless told otherwise.
const RATE: u32 = 5000;
const ROUNDS: usize = 150;

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
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
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
    let mut loads = servers.each_ref().map(|server| Load::open(&server.address));
    println!("{rate} requests a second, {} ms at a time, one worker", TURN.as_millis());
    let rounds = Rounds::run_beside(
        ROUNDS,
        "µs of CPU time a request",
        &[(WITHOUT, 0), (WITH, 1)],
        2,
        |at| {
            let process = servers[at].child.id();
            let before = cpu_of(process);
            let count = loads[at].send(rate);
            (cpu_of(process) - before).as_secs_f64() * 1e6 / f64::from(count)
        },
    );
    rounds.print(WITHOUT);
    let sent: u32 = loads.iter().map(|load| load.sent).sum();
    let late: u32 = loads.iter().map(|load| load.late).sum();
    println!("{late} of {sent} requests were sent more than {} ms late", LATE.as_millis());
    rounds.check_ratio(Target::AtMost(1.02), "with : without", WITH, WITHOUT);
}
