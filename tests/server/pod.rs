//! The example in a small pod: 48 or 32 MiB of memory and a tenth of a core, of which a stall must take
//! neither.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::child::{Server, own_memory};
use crate::support::LIMIT;
use crate::support::needs::skip;

/// In microseconds, in each period of 100,000.
const QUOTA: u32 = 10_000;
/// What a stall may add. It is less than a tenth of that; other crates' readers of debug information
/// take more than twice as much.
const MOST_ADDED: u64 = 16 << 20;
/// Periods in which a stall may throttle the process. The goal is 8, with an optimized program.
const MOST_THROTTLED: u64 = 24;

/// Control groups with these limits.
struct Pod {
    memory: PathBuf,
    cpu: PathBuf,
}

impl Pod {
    /// With that many MiB of memory. `None` where no groups can be made.
    fn new(memory: u64) -> Option<Self> {
        static PODS: AtomicU32 = AtomicU32::new(0);
        let number = PODS.fetch_add(1, Relaxed);
        let name = format!("tower-stall-pod-{}-{number}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let is_v1 = root.join("memory").is_dir();
        let home = |controller| if is_v1 { root.join(controller) } else { root.to_owned() };
        let pod = Self { memory: home("memory").join(&name), cpu: home("cpu").join(&name) };
        let mut limits = vec![
            (pod.memory.join("memory.max"), (memory << 20).to_string()),
            (pod.cpu.join("cpu.max"), format!("{QUOTA} 100000")),
        ];
        if is_v1 {
            limits = vec![
                (pod.memory.join("memory.limit_in_bytes"), (memory << 20).to_string()),
                (pod.cpu.join("cpu.cfs_period_us"), "100000".to_owned()),
                (pod.cpu.join("cpu.cfs_quota_us"), QUOTA.to_string()),
            ];
        }
        for group in [&pod.memory, &pod.cpu] {
            fs::create_dir_all(group).ok()?;
        }
        limits.iter().try_for_each(|(file, limit)| fs::write(file, limit)).ok()?;
        Some(pod)
    }

    fn put(&self, process: u32) {
        for group in [&self.memory, &self.cpu] {
            fs::write(group.join("cgroup.procs"), process.to_string()).expect("our own group");
        }
    }

    /// Periods in which the process had used up its quota.
    fn throttled(&self) -> u64 {
        let stat = fs::read_to_string(self.cpu.join("cpu.stat")).expect("a group with a quota");
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        count.and_then(|count| count.parse().ok()).expect("a number")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // A group can be removed once its processes have ended.
        let is_empty = |group: &PathBuf| {
            !group.exists() || fs::remove_dir(group).is_ok() || fs::remove_dir(group).is_ok()
        };
        for group in [&self.memory, &self.cpu] {
            let start = Instant::now();
            while !is_empty(group) {
                if start.elapsed() > LIMIT {
                    assert!(std::thread::panicking(), "{} is left behind", group.display());
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// A pod, and the example in it, which has to be dropped first.
fn start(memory: u64, variables: &[(&str, &str)]) -> Option<(Pod, Server)> {
    let Some(pod) = Pod::new(memory) else {
        skip("no control group for memory and CPU can be made (root can)");
        return None;
    };
    let server = Server::start_with(&["--workers", "2"], variables);
    pod.put(server.process.0.id());
    assert_eq!(server.get("/hello").0, 200);
    Some((pod, server))
}

/// Stalls the example in a pod until the log has the `line` of it.
fn stall_in_a_pod(memory: u64, variables: &[(&str, &str)], line: &str) {
    let Some((pod, server)) = start(memory, variables) else { return };
    let process = server.process.0.id();
    let own = || own_memory(process).expect("it is alive");
    let (memory, throttled) = (own(), pod.throttled());
    let request = server.get_in_background("/blocking?ms=3000");
    server.line(line);
    assert_eq!(request.join().expect("no panic"), Some(200));
    assert_eq!(server.get("/hello").0, 200, "it lives");
    let added = own().saturating_sub(memory);
    let periods = pod.throttled() - throttled;
    println!("{} KiB more, throttled in {periods} periods more", added >> 10);
    assert!(added <= MOST_ADDED, "{added} bytes more");
    assert!(periods <= MOST_THROTTLED, "throttled in {periods} periods more");
}

/// How long others wait for their answers beside a stall in a pod: the median.
fn wait_beside_a_stall(variables: &[(&str, &str)]) -> Option<Duration> {
    let (_pod, server) = start(48, variables)?;
    let request = server.get_in_background("/blocking?ms=3000");
    let mut waits = Vec::new();
    while !request.is_finished() {
        let start = Instant::now();
        assert_eq!(server.get("/hello").0, 200);
        waits.push(start.elapsed());
        // They are not to use the quota up.
        std::thread::sleep(Duration::from_millis(200));
    }
    waits.sort_unstable();
    Some(waits[waits.len() / 2])
}

#[test]
fn a_stall_in_a_small_pod_has_its_line_and_harms_nobody() {
    stall_in_a_pod(48, &[], "GET /blocking at examples/server/routes.rs:");
}

#[test]
fn others_in_a_small_pod_wait_no_longer_for_the_stack_of_a_stall() {
    let off = [("TOWER_STALL_CAPTURE", "off")];
    // The noise: what a period adds in which the quota was used up.
    let noise = Duration::from_millis(100);
    // What is to blame for a wait comes each time; a machine that is busy does not.
    let mut seen = Vec::new();
    for _ in 0..4 {
        let waits: Option<Vec<_>> =
            [&off[..], &[], &off].into_iter().map(wait_beside_a_stall).collect();
        let Some(waits) = waits else { return };
        let [without, with, again] = waits[..] else { unreachable!("three") };
        println!("/hello: {without:?} without stacks, {with:?} with, {again:?} without");
        if with <= 10 * without.max(again) + noise {
            return;
        }
        seen.push(waits);
    }
    panic!("others wait each time: {seen:?}");
}

#[test]
fn a_stall_in_a_smaller_pod_has_its_function_and_harms_nobody() {
    let functions = [("TOWER_STALL_SYMBOLS", "functions")];
    stall_in_a_pod(32, &functions, "GET /blocking at server::routes::sleeps");
}
