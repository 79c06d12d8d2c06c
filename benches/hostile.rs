//! What an attack on the admin port takes of the service: requests a second of the example's /hello, by
//! wrk, beside thousands of hostile connections to its admin port or to that of another server. `scripts/bench-hostile` builds the
//! server and runs this.
//!
//! ```text
//! scripts/bench-hostile [CONNECTIONS [SECONDS OF PAUSE]]
//! ```
//!
//! The attack is a process of its own with all kinds of nuisance in equal parts. A connection that the
//! server ends is made anew after the pause. Meanwhile `/livez` is asked 20 times a second by a client that
//! makes a connection each time.
//!
//! The server has a core for itself, if there are two. All else is on the other one, and the attack and
//! the other server have only what wrk leaves of it (nice 19). So what the attack itself takes of a CPU is in
//! both rows, and what the attacked server takes for it in one. The attack elsewhere once more is the A/A row.
//!
//! Two figures: the requests a second that wrk counts; and those that a core allows which does nothing else,
//! from the CPU time that a request takes and the share of the core that the admin thread takes. On an idle
//! machine they are the same, on a busy one the first cannot tell.

#[path = "../tests/support/attack.rs"]
mod attack;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use attack::{Attack, Nuisance, probe, with_many_files};
use tower_stall_benches::{Estimate, Rounds, Target, cores, print_head, stay_on_core};

const CONNECTIONS: usize = 5000;
/// Slowloris makes its connections anew after 15 s.
const PAUSE: f64 = 5.0;
/// A minute of attack in all.
const TURN: Duration = Duration::from_secs(5);
const ROUNDS: usize = 12;
/// Until an attack is at its height, beyond the pause, and until nothing of it is left.
const SETTLE: Duration = Duration::from_secs(1);
const BETWEEN_PROBES: Duration = Duration::from_millis(50);
const LONGEST_PROBE: Duration = Duration::from_secs(30);

const ELSEWHERE: &str = "attack elsewhere";
const HERE: &str = "attacked";

struct Server {
    child: Child,
    service: String,
    admin: SocketAddr,
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command
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
        let service = format!("http://{}/hello", after("listening on http://"));
        let admin = after("admin on http://").parse().expect("an address");
        Self { child, service, admin, _output: output }
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// CPU time so far of the thread that serves the admin port, and of all others, in seconds.
    fn cpu(&self) -> (f64, f64) {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let (mut admin, mut others) = (0.0, 0.0);
        for thread in threads.flatten() {
            let read = |file| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            let schedule = read("schedstat");
            let time = schedule.split(' ').next().and_then(|time| time.parse().ok());
            let time = time.unwrap_or(0.0) / 1e9;
            if read("comm") == "stall-admin\n" { admin += time } else { others += time }
        }
        (admin, others)
    }

    /// Requests a second.
    fn load(&self) -> f64 {
        let seconds = format!("-d{}s", TURN.as_secs());
        let output = Command::new("wrk").args(["-t1", "-c32", &seconds, &self.service]).output();
        let output = String::from_utf8(output.expect("wrk").stdout).expect("text");
        let line = output.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        line.unwrap_or_else(|| panic!("{output}")).trim().parse().expect("a number")
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

/// What was seen of the server while it was attacked.
#[derive(Default)]
struct Seen {
    probes: Vec<Duration>,
    failed: u32,
    /// KiB.
    memory: u64,
    /// Seconds of the admin thread, and of the clock.
    admin_cpu: f64,
    time: f64,
}

impl Seen {
    fn add(&mut self, Self { probes, failed, memory, .. }: Self) {
        self.probes.extend(probes);
        self.failed += failed;
        self.memory = self.memory.max(memory);
    }
}

fn probe_until(over: &AtomicBool, server: &Server) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Relaxed) {
        match probe(server.admin, LONGEST_PROBE) {
            Ok(time) => seen.probes.push(time),
            Err(_) => seen.failed += 1,
        }
        seen.memory = seen.memory.max(server.status("RssAnon:"));
        std::thread::sleep(BETWEEN_PROBES);
    }
    seen
}

/// Requests a second of the server while an admin port is attacked, its own or another: as counted, and as
/// a core would allow.
fn load(
    server: &Server,
    attacked: SocketAddr,
    [connections, pause]: [&str; 2],
    seen: &mut Seen,
) -> (f64, f64) {
    let admin = attacked.to_string();
    let myself = std::env::current_exe().expect("this program");
    let mut command = with_many_files(Path::new("nice"));
    command.args(["-n", "19"]).arg(myself).args(["--attack", &admin, connections, pause]);
    let mut attacker = command.spawn().expect("the attacker");
    std::thread::sleep(SETTLE + pause_of(pause));
    let over = AtomicBool::new(false);
    let ((admin_before, others_before), begin) = (server.cpu(), Instant::now());
    let rates = std::thread::scope(|scope| {
        let probes = scope.spawn(|| probe_until(&over, server));
        let rate = server.load();
        over.store(true, Relaxed);
        let ((admin, others), time) = (server.cpu(), begin.elapsed().as_secs_f64());
        let (admin, others) = (admin - admin_before, others - others_before);
        if attacked == server.admin {
            seen.add(probes.join().expect("no panic"));
            seen.admin_cpu += admin;
            seen.time += time;
        }
        (rate, rate * time / others * (1.0 - admin / time))
    });
    assert!(attacker.try_wait().expect("a child").is_none(), "the attacker lives");
    end(&mut attacker);
    std::thread::sleep(SETTLE);
    rates
}

fn attack(arguments: &[String]) {
    let [admin, connections, pause] = arguments else { panic!("three arguments") };
    let attack = Attack {
        admin: admin.parse().expect("an address"),
        kinds: &Nuisance::ALL,
        connections: connections.parse().expect("a number"),
        pause: pause_of(pause),
    };
    // Until it is killed, or else it does not outlive this for long.
    attack.run_for(10 * TURN);
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
    // What is started inherits it.
    stay_on_core(cores() - 1);
    let server = Server::start(Command::new(program));
    stay_on_core(0);
    let mut nice = Command::new("nice");
    nice.args(["-n", "19", program]);
    let elsewhere = Server::start(nice);
    server.load();
    let before = server.status("RssAnon:");
    println!("{connections} hostile connections, each made anew after {pause} s");
    let mut seen = Seen::default();
    let attacked = [elsewhere.admin, server.admin, elsewhere.admin];
    let mut counted = [const { Vec::new() }; 3];
    let contenders = [(ELSEWHERE, 0), (HERE, 1)];
    let unit = "requests a second that a core allows";
    let rounds = Rounds::run_beside(ROUNDS, unit, &contenders, 2, |at| {
        let (rate, allowed) = load(&server, attacked[at], [connections, pause], &mut seen);
        counted[at].push(rate);
        allowed
    });
    rounds.print(ELSEWHERE);
    let again = format!("A/A: {ELSEWHERE}");
    for (name, rates) in [ELSEWHERE, HERE, &again].into_iter().zip(counted) {
        println!("{name:24} {} requests a second, counted", Estimate::of(rates));
    }
    let Seen { mut probes, failed, memory, admin_cpu, time } = seen;
    probes.sort();
    let at = |share: f64| probes[((probes.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "/livez under attack: {} answers, {failed} failures; ms: median {:.1}, p99 {:.1}, longest {:.1}",
        probes.len(),
        at(0.5),
        at(0.99),
        at(1.0),
    );
    println!("the admin thread took {:.1} % of a core", 100.0 * admin_cpu / time);
    println!("memory of its own: {before} KiB before, {memory} KiB at most");
    rounds.check_ratio(Target::AtLeast(0.95), "attacked : elsewhere", HERE, ELSEWHERE);
    Target::AtMost(1000.0).check_value("longest /livez, ms", at(1.0));
    Target::AtMost(0.0).check_value("/livez without an answer", f64::from(failed));
}
