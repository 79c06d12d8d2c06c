//! An admin port under thousands of hostile connections, by a process of their own: probes are answered,
//! the service goes on, and memory is bounded.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::child::{Process, Server, own_memory, try_get};
use super::load::seconds;
use crate::support::attack::{Attack, Nuisance, probe, with_many_files};
use crate::support::find;
use crate::support::needs::skip;

const CONNECTIONS: usize = 5000;
const PAUSE: Duration = Duration::from_secs(1);
/// An honest client is to be answered within a second. Here as long as ten, since the attack, the server and
/// other tests share a few CPUs.
const LIMIT: Duration = Duration::from_secs(10);
/// Places with their buffers are 6 MiB at most; the rest is the allocator's.
const MOST_ADDED: u64 = 24 << 20;
/// How often the admin thread may wait in a second. It wakes up 100 times at most, and between two waits it sleeps;
/// without a limit it is more than a thousand.
const MOST_WAITS: f64 = 300.0;
/// Says to a child what it is to attack. (Not `TOWER_STALL_…`: that would be a setting.)
const TARGET: &str = "STALL_ATTACK_ON";

/// Memory of the process's own, in bytes, and the number of its open files.
fn held(process: u32) -> Option<(u64, usize)> {
    Some((own_memory(process)?, fs::read_dir(format!("/proc/{process}/fd")).ok()?.count()))
}

/// How often the thread that serves the admin port has waited so far.
fn waits(process: u32) -> Option<u64> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let serves = |path: &PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == "stall-admin")
    };
    // Its helpers have the same name, and start later.
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let threads = threads.map(|thread| thread.path()).filter(serves);
    let status = fs::read_to_string(threads.min_by_key(number)?.join("status")).ok()?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

fn attack_by_a_child(admin: &str) -> Process {
    let mut command = with_many_files(&std::env::current_exe().expect("this test"));
    command
        .args(["--exact", "hostile::probes_are_answered_under_thousands_of_hostile_connections"]);
    command.env(TARGET, admin).stdin(Stdio::null()).stdout(Stdio::null());
    Process(command.spawn().expect("a child"))
}

#[test]
fn probes_are_answered_under_thousands_of_hostile_connections() {
    let time = Duration::from_secs(seconds());
    if let Ok(admin) = std::env::var(TARGET) {
        let admin = admin.parse().expect("an address");
        let kinds = &Nuisance::ALL;
        // Until it is killed.
        Attack { admin, kinds, connections: CONNECTIONS, pause: PAUSE }.run_for(10 * time);
        return;
    }
    let server = Server::start(&["--workers", "2"]);
    let process = server.process.0.id();
    let admin = server.admin.as_deref().expect("an admin server").trim_start_matches("http://");
    let address: SocketAddr = admin.parse().expect("an address");
    assert_eq!(server.get("/hello").0, 200);
    probe(address, LIMIT).expect("an answer before");
    server.metrics();
    let Some((before, _)) = held(process) else { return skip("no /proc to read memory from") };

    let attacker = attack_by_a_child(admin);
    // A scrape may find no place, as others do.
    let dropped = || {
        let (_, page) = try_get(&format!("http://{admin}/metrics")).ok()?;
        find(&page, "tower_stall_admin_dropped_total", &[])
    };
    let (mut times, mut peak, mut most_open) = (Vec::new(), 0, 0);
    let begin = Instant::now();
    let waits_before = waits(process).expect("an admin thread");
    // It is under way once places are scarce.
    while begin.elapsed() < time || dropped() < Some(100.0) {
        assert!(begin.elapsed() < time + 6 * LIMIT, "no place was scarce");
        times.push(probe(address, LIMIT).expect("an answer"));
        let (memory, open) = held(process).expect("it lives");
        (peak, most_open) = (peak.max(memory), most_open.max(open));
        std::thread::sleep(Duration::from_millis(20));
    }
    let waits = waits(process).expect("it lives") - waits_before;
    let waits_per_second = waits as f64 / begin.elapsed().as_secs_f64();
    assert_eq!(server.get("/hello").0, 200, "the service goes on");
    let dropped = dropped();
    drop(attacker);
    times.sort();
    let added = peak.saturating_sub(before);
    println!(
        "{} probes, median {:?}, longest {:?}; {} KiB more, {most_open} open files, {dropped:?} dropped, {:.0} waits a \
         second",
        times.len(),
        times[times.len() / 2],
        times.last(),
        added >> 10,
        waits_per_second,
    );
    assert!(times.last() <= Some(&LIMIT), "{times:?}");
    assert!(added <= MOST_ADDED, "{added} bytes more");
    assert!(most_open <= 400, "{most_open} open files");
    assert!(waits_per_second <= MOST_WAITS, "{waits_per_second} waits a second");
}
