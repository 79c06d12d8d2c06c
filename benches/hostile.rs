//! What an attack on the admin port takes of the service: requests a second of the example's /hello, by
//! wrk, with and without thousands of hostile connections beside it. `scripts/bench-hostile` builds the
//! server and runs this.
//!
//! ```text
//! scripts/bench-hostile [CONNECTIONS [SECONDS OF PAUSE]]
//! ```
//!
//! One server, in turn in peace, under attack and in peace once more, which is the A/A row. The attack is
//! a process of its own with all kinds of nuisance in equal parts. A connection that the server ends is
//! made anew after the pause. Beside the attack `/livez` is asked 20 times a second by a client that makes a
//! connection each time.
//!
//! The server has a core for itself, if there are two, and wrk enough of the other one that the server is
//! what limits it: the attack has only what wrk leaves (nice 19), so that what the attack itself takes of a
//! CPU is not taken for what the server takes.

#[path = "../tests/support/attack.rs"]
mod attack;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use attack::{Attack, Nuisance, probe, with_many_files};
use tower_stall_benches::{Rounds, Target, cores, print_head, stay_on_core};

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

const IN_PEACE: &str = "in peace";
const ATTACKED: &str = "under attack";

struct Server {
    child: Child,
    service: String,
    admin: SocketAddr,
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start(program: &str) -> Self {
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

    /// CPU time so far of the thread that serves the admin port.
    fn admin_cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let is_it = |thread: &fs::DirEntry| {
            fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == "stall-admin\n")
        };
        let thread = threads.flatten().find(is_it).expect("the admin thread");
        let schedule = fs::read_to_string(thread.path().join("schedstat")).expect("it runs");
        let time = schedule.split(' ').next().and_then(|time| time.parse().ok());
        Duration::from_nanos(time.expect("a number"))
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

/// What was seen during attacks.
#[derive(Default)]
struct Seen {
    probes: Vec<Duration>,
    failed: u32,
    /// KiB.
    memory: u64,
    admin_cpu: Duration,
    time: Duration,
}

fn load_under_attack(server: &Server, [connections, pause]: [&str; 2], seen: &Mutex<Seen>) -> f64 {
    let admin = server.admin.to_string();
    let myself = std::env::current_exe().expect("this program");
    let mut command = with_many_files(Path::new("nice"));
    command.args(["-n", "19"]).arg(myself).args(["--attack", &admin, connections, pause]);
    let mut attacker = command.spawn().expect("the attacker");
    std::thread::sleep(SETTLE + pause_of(pause));
    let over = AtomicBool::new(false);
    let rate = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let probe = probe(server.admin, LONGEST_PROBE);
                let mut seen = seen.lock().expect("no panic");
                match probe {
                    Ok(time) => seen.probes.push(time),
                    Err(_) => seen.failed += 1,
                }
                seen.memory = seen.memory.max(server.status("RssAnon:"));
                drop(seen);
                std::thread::sleep(BETWEEN_PROBES);
            }
        });
        let (cpu, begin) = (server.admin_cpu(), Instant::now());
        let rate = server.load();
        let mut seen = seen.lock().expect("no panic");
        seen.admin_cpu += server.admin_cpu() - cpu;
        seen.time += begin.elapsed();
        over.store(true, Relaxed);
        rate
    });
    assert!(attacker.try_wait().expect("a child").is_none(), "the attacker lives");
    end(&mut attacker);
    std::thread::sleep(SETTLE);
    rate
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
    // The server inherits it.
    stay_on_core(cores() - 1);
    let server = Server::start(program);
    stay_on_core(0);
    server.load();
    let before = server.status("RssAnon:");
    println!("{connections} hostile connections, each made anew after {pause} s");
    let seen = Mutex::new(Seen::default());
    let contenders = [(IN_PEACE, false), (ATTACKED, true)];
    let rounds = Rounds::run_beside(ROUNDS, "requests a second", &contenders, false, |attacked| {
        match attacked {
            true => load_under_attack(&server, [connections, pause], &seen),
            false => server.load(),
        }
    });
    rounds.print(IN_PEACE);
    let Seen { mut probes, failed, memory, admin_cpu, time } = seen.into_inner().expect("no panic");
    probes.sort();
    let at = |share: f64| probes[((probes.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "/livez beside it: {} answers, {failed} failures; ms: median {:.1}, p99 {:.1}, longest {:.1}",
        probes.len(),
        at(0.5),
        at(0.99),
        at(1.0),
    );
    println!("the admin thread took {:.1} % of a core", 100.0 * admin_cpu.div_duration_f64(time));
    println!("memory of its own: {before} KiB before, {memory} KiB at most beside it");
    rounds.check_ratio(Target::AtLeast(0.95), "attacked : in peace", ATTACKED, IN_PEACE);
    Target::AtMost(1000.0).check_value("longest /livez, ms", at(1.0));
    Target::AtMost(0.0).check_value("/livez without an answer", f64::from(failed));
}
