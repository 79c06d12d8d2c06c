//! What an attack on the admin port takes of the service: requests a second of the example's /hello beside
//! thousands of hostile connections to its admin port. `scripts/bench-hostile` builds the server and runs this.
//!
//! ```text
//! scripts/bench-hostile [CONNECTIONS [SECONDS OF PAUSE]]
//! ```
//!
//! The attack is a process of its own with all kinds of nuisance in equal parts. A connection that the
//! server ends is made anew after the pause. Meanwhile `/livez` is asked 20 times a second by a client that
//! makes a connection each time.
//!
//! The server has a core for itself. All else is on the other one, and the attack has only what the client of
//! the service leaves of it (nice 19): that must not be so much that connections are made later than they are due.
//! The attack goes on all the time. By turns the threads of the admin port are on the server's core, where what
//! they do takes from the service, and on the other one. Turns are short, since the cores of a shared machine
//! have another speed after half a second. Those without the threads once more are the A/A row.
//!
//! Two figures: the requests a second that were answered; and those that a core allows which does nothing else,
//! from the CPU time that a request takes and the share of the core that the admin port takes. On an idle
//! machine they are the same, on a busy one the first cannot tell.

#[path = "../tests/support/attack.rs"]
mod attack;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use attack::{Attack, Nuisance, probe, with_many_files};
use tower_stall_benches::{
    Estimate, Load, Rounds, Target, cores, move_to_core, print_head, stay_on_core,
};

const CONNECTIONS: usize = 5000;
/// As slowloris does.
const PAUSE: f64 = 15.0;
const TURN: Duration = Duration::from_millis(200);
const ROUNDS: usize = 1000;
/// Until the attack is at its height, beyond the pause.
const SETTLE: Duration = Duration::from_secs(1);
const BETWEEN_PROBES: Duration = Duration::from_millis(50);
const LONGEST_PROBE: Duration = Duration::from_secs(30);

const ELSEWHERE: &str = "attack on another core";
const HERE: &str = "attack on its core";
/// The core of all but the server.
const OTHERS: usize = 0;
/// The name of the threads that serve the admin port.
const THREADS: &str = "stall-admin\n";

struct Server {
    child: Child,
    core: usize,
    service: String,
    admin: SocketAddr,
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &str, core: usize) -> Self {
        // What is started inherits it.
        stay_on_core(core);
        let mut child = Command::new(program)
            .args(["--addr", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-ms", "0"])
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example server");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut after = |text: &str| loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("it prints") > 0, "it says {text:?}");
            if let Some((_, rest)) = line.split_once(text) {
                break rest.trim().to_owned();
            }
        };
        let service = after("listening on http://");
        let admin = after("admin on http://").parse().expect("an address");
        stay_on_core(OTHERS);
        Self { child, core, service, admin, _output: output }
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Its threads: their folders, and whether they serve the admin port.
    fn threads(&self) -> impl Iterator<Item = (PathBuf, bool)> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        threads.flatten().map(|thread| {
            let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            (thread.path(), name == THREADS)
        })
    }

    /// CPU time so far of the threads that serve the admin port, and of all others, in seconds.
    fn cpu(&self) -> (f64, f64) {
        let (mut admin, mut others) = (0.0, 0.0);
        for (thread, is_admin) in self.threads() {
            let schedule = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            let time = schedule.split(' ').next().and_then(|time| time.parse().ok());
            let time = time.unwrap_or(0.0) / 1e9;
            if is_admin { admin += time } else { others += time }
        }
        (admin, others)
    }

    /// Moves the threads that serve the admin port.
    fn move_admin_to(&self, core: usize) {
        let admin = self.threads().filter(|(_, is_admin)| *is_admin);
        let moved = admin.map(|(thread, _)| {
            let number = thread.file_name().and_then(|name| name.to_str()?.parse().ok());
            move_to_core(number.expect("a number"), core)
        });
        assert!(moved.filter(|moved| *moved).count() > 0, "none was moved");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ended = child.kill();
    let _status = child.wait();
}

/// What clients of the admin port saw while it was attacked.
#[derive(Default)]
struct Probed {
    times: Vec<Duration>,
    failed: u32,
    /// KiB of the server at most.
    memory: u64,
}

fn probe_until(over: &AtomicBool, server: &Server) -> Probed {
    let mut probed = Probed::default();
    while !over.load(Relaxed) {
        match probe(server.admin, LONGEST_PROBE) {
            Ok(time) => probed.times.push(time),
            Err(_) => probed.failed += 1,
        }
        probed.memory = probed.memory.max(server.status("RssAnon:"));
        std::thread::sleep(BETWEEN_PROBES);
    }
    probed
}

/// A turn, with the threads of the admin port on the server's core or on another one.
struct Turn {
    /// Requests a second: as counted, and as the core would allow.
    counted: f64,
    allowed: f64,
    /// Share of a core that the threads of the admin port took.
    admin: f64,
}

impl Turn {
    fn take(server: &Server, load: &mut Load, is_on_core: bool) -> Self {
        server.move_admin_to(if is_on_core { server.core } else { OTHERS });
        let ((admin_before, others_before), begin) = (server.cpu(), Instant::now());
        let counted = load.fill(TURN);
        let ((admin, others), time) = (server.cpu(), begin.elapsed().as_secs_f64());
        let (admin, others) = ((admin - admin_before) / time, (others - others_before) / time);
        let left = if is_on_core { 1.0 - admin } else { 1.0 };
        Self { counted, allowed: counted / others * left, admin }
    }
}

fn attack(arguments: &[String]) {
    let [admin, connections, pause] = arguments else { panic!("three arguments") };
    let attack = Attack {
        admin: admin.parse().expect("an address"),
        kinds: &Nuisance::ALL,
        connections: connections.parse().expect("a number"),
        pause: pause_of(pause),
    };
    // It does not outlive the program that attacks, which learns how many connections were made.
    let opened = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&opened);
    std::thread::spawn(move || {
        let _end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        println!("{}", theirs.load(Relaxed));
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(attack.run(&opened));
}

/// Starts an attack, and waits until it is at its height.
fn start_attack(admin: SocketAddr, [connections, pause]: [&str; 2]) -> Child {
    let admin = admin.to_string();
    let myself = std::env::current_exe().expect("this program");
    let mut command = with_many_files(Path::new("nice"));
    command.args(["-n", "19"]).arg(myself).args(["--attack", &admin, connections, pause]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let attacker = piped.spawn().expect("the attacker");
    std::thread::sleep(SETTLE + pause_of(pause));
    attacker
}

/// Ends it. Returns how many connections it has made.
fn end_attack(attacker: Child) -> u64 {
    // It waits for the end of its standard input, which this closes.
    let output = attacker.wait_with_output().expect("a child");
    let made = String::from_utf8_lossy(&output.stdout);
    made.trim().parse().expect("the attacker has lived so far")
}

fn pause_of(argument: &str) -> Duration {
    Duration::from_secs_f64(argument.parse().expect("seconds"))
}

fn main() {
    let arguments: Vec<_> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "--attack") {
        return attack(&arguments[1..]);
    }
    print_head("hostile");
    let Some(program) = arguments.first() else {
        println!("left out: it needs the path of the server; run scripts/bench-hostile");
        return;
    };
    let (connections, pause) = (CONNECTIONS.to_string(), PAUSE.to_string());
    let connections = arguments.get(1).unwrap_or(&connections);
    let pause = arguments.get(2).unwrap_or(&pause);
    if cores() < 2 {
        println!("left out: it needs two cores");
        return;
    }
    let server = Server::start(program, cores() - 1);
    let mut load = Load::open(&server.service);
    load.fill(TURN);
    let before = server.status("RssAnon:");
    println!("{connections} hostile connections, each made anew after {pause} s");
    let begin = Instant::now();
    let attacker = start_attack(server.admin, [connections, pause]);
    let over = AtomicBool::new(false);
    let mut turns = [const { Vec::new() }; 2];
    let contenders = [(ELSEWHERE, false), (HERE, true)];
    let unit = "requests a second that a core allows";
    let (rounds, mut probed) = std::thread::scope(|scope| {
        let probes = scope.spawn(|| probe_until(&over, &server));
        let rounds = Rounds::run_beside(ROUNDS, unit, &contenders, false, |is_on_core| {
            let turn = Turn::take(&server, &mut load, is_on_core);
            let allowed = turn.allowed;
            turns[usize::from(is_on_core)].push(turn);
            allowed
        });
        over.store(true, Relaxed);
        (rounds, probes.join().expect("no panic"))
    });
    let made = end_attack(attacker);
    println!(
        "{made} connections were made, {:.0} a second",
        made as f64 / begin.elapsed().as_secs_f64()
    );
    println!("{} ms at a time", TURN.as_millis());
    rounds.print(ELSEWHERE);
    for (name, turns) in [ELSEWHERE, HERE].into_iter().zip(&turns) {
        let counted = Estimate::of(turns.iter().map(|turn| turn.counted).collect());
        println!("{name:24} {counted} requests a second, counted");
    }
    probed.times.sort();
    let at = |share: f64| {
        let number = (probed.times.len() - 1) as f64 * share;
        probed.times[number as usize].as_secs_f64() * 1e3
    };
    println!(
        "/livez under attack: {} answers, {} failures; ms: median {:.1}, p99 {:.1}, longest {:.1}",
        probed.times.len(),
        probed.failed,
        at(0.5),
        at(0.99),
        at(1.0),
    );
    let [_, here] = turns;
    let admin = here.iter().map(|turn| turn.admin).sum::<f64>() / here.len() as f64;
    println!("the admin port took {:.1} % of a core", 100.0 * admin);
    println!("memory of its own: {before} KiB before, {} KiB at most", probed.memory);
    rounds.check_ratio(Target::AtLeast(0.95), "its core : another", HERE, ELSEWHERE);
    Target::AtMost(1000.0).check_value("longest /livez, ms", at(1.0));
    Target::AtMost(0.0).check_value("/livez without an answer", f64::from(probed.failed));
}
