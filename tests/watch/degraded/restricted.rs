//! What Kubernetes' profile *restricted* leaves: no root, no capabilities, no new privileges, and the
//! filter of system calls that `RuntimeDefault` stands for. And what systemd's sets leave to a service.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tower_stall::{Capture, Cause, Stall, Symbols};

use super::filter::{Answer, Filter, KILL, Names, REFUSE, apply_docker, systemd, systemd_sets};
use super::found::{Watched, sleep, spin};
use crate::support::*;

const NOBODY: u32 = 65534;

/// What older ones refuse too: Docker before 23.0, containerd before 1.7.
const REFUSED_BEFORE: &[&str] = &["process_vm_readv", "process_vm_writev", "ptrace"];

/// A field of what the kernel says of this process.
fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("a field of the kernel").trim().to_owned()
}

/// Makes this process what *restricted* asks for; its user is who started it.
fn restrict(refused_too: &[&str]) {
    apply_docker(refused_too);
    assert_eq!(status("CapEff"), "0000000000000000");
    assert_eq!(status("NoNewPrivs"), "1");
    assert_eq!(status("Seccomp"), "2", "a filter");
    assert!(!status("Uid").starts_with("0\t"), "not root");
    // SAFETY: no attributes: refused before anybody looks at them.
    let counter =
        unsafe { libc::syscall(libc::SYS_perf_event_open, std::ptr::null::<u8>(), 0, -1, -1, 0) };
    assert_eq!(counter, -1);
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
}

/// A copy of this binary where everybody may run it.
struct Public(PathBuf);

impl Public {
    fn new() -> Self {
        static COPIES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-stall-restricted-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&folder, readable).expect("it is ours");
        let public = Self(folder);
        let own = std::env::current_exe().expect("this binary");
        // By another process: what a process has open to write, a child that another test starts
        // meanwhile has too, for a moment, and such a file cannot be run.
        let copied = Command::new("cp").arg(own).arg(public.program()).status();
        assert!(copied.expect("cp runs").success(), "room for it");
        public
    }

    fn program(&self) -> PathBuf {
        self.0.join("degraded")
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

/// Runs `body` in a process of its own, as a user without rights.
fn as_nobody(test: &str, body: impl FnOnce()) {
    let mut public = None;
    child::run_copy(
        test,
        || Some(public.insert(Public::new()).program()),
        |command| {
            // SAFETY: it has no conditions.
            if unsafe { libc::geteuid() } == 0 {
                command.uid(NOBODY).gid(NOBODY);
            }
            command.current_dir("/");
        },
        body,
    );
}

fn function(stall: &Stall) -> Option<&str> {
    stall.site.as_ref().map(|site| site.function.as_str())
}

/// Blocks a worker by a plain task that does nothing but compute, and says whether that was proven
/// to be a stall before `enough` was true.
pub(super) fn is_computing_found(watched: &Watched, enough: impl Fn() -> bool) -> bool {
    let end = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&end);
    let task = watched.rig.runtime.spawn(async move { spin(&ended) });
    let is_found = || {
        let stalls = watched.rig.stall.stalls();
        stalls.iter().any(|stall| stall.handler == "unattributed" && stall.cause == Cause::Cpu)
    };
    wait_until(2 * LIMIT, || is_found() || enough());
    let found = is_found();
    end.store(true, Ordering::Release);
    watched.rig.runtime.block_on(task).expect("no panic");
    found
}

#[test]
fn a_handler_has_cause_detail_stack_and_site() {
    as_nobody("degraded::restricted::a_handler_has_cause_detail_stack_and_site", || {
        restrict(&[]);
        let watched = Watched::new(|builder| builder);
        let slept = watched.with_stack("sleep", sleep);
        assert_eq!(
            (slept.cause, function(&slept)),
            (Cause::Sleep, Some("watch::degraded::found::sleep"))
        );
        // On a busy machine it says for how long there was no CPU, too.
        let detail = slept.detail.expect("what it called");
        assert!(detail.starts_with("clock_nanosleep, 1 s"), "{detail}");
        let stack = slept.stack.expect("a stack");
        assert!(!stack.partial && !stack.by_signal, "{stack:?}");

        let spun = watched.with_stack("spin", spin);
        assert_eq!(
            (spun.cause, function(&spun)),
            (Cause::Cpu, Some("watch::degraded::found::spin"))
        );
        let stack = spun.stack.expect("a stack");
        assert!(!stack.partial && stack.by_signal, "{stack:?}");
    });
}

#[test]
fn under_an_older_filter_who_computes_has_only_the_innermost_frame() {
    let test =
        "degraded::restricted::under_an_older_filter_who_computes_has_only_the_innermost_frame";
    as_nobody(test, || {
        restrict(REFUSED_BEFORE);
        let watched = Watched::new(|builder| builder);
        let slept = watched.with_stack("sleep", sleep);
        assert_eq!(
            (slept.cause, function(&slept)),
            (Cause::Sleep, Some("watch::degraded::found::sleep"))
        );
        assert!(!slept.stack.expect("a stack").partial);

        let spun = watched.with_stack("spin", spin);
        assert_eq!(spun.cause, Cause::Cpu);
        assert!(spun.stack.expect("a stack").partial);
    });
}

#[test]
fn a_plain_task_that_computes_is_not_proven_to_block() {
    let saturated = |watched: &Watched| watched.rig.metric("tokio_workers_saturated", &[]);
    as_nobody("degraded::restricted::a_plain_task_that_computes_is_not_proven_to_block", || {
        restrict(&[]);
        let watched = Watched::new(|builder| builder);
        watched.meet_workers();
        // Its names have been read.
        watched.with_stack("before", spin);
        let begin = std::time::Instant::now();
        let long = || {
            begin.elapsed() > std::time::Duration::from_secs(2) && saturated(&watched) == Some(1.0)
        };
        assert!(!is_computing_found(&watched, long));
    });
}

/// What the test above would see without the filter.
#[test]
fn a_plain_task_that_computes_is_proven_to_block_without_the_filter() {
    let test =
        "degraded::restricted::a_plain_task_that_computes_is_proven_to_block_without_the_filter";
    as_nobody(test, || {
        if !breakpoints_are_allowed() {
            return;
        }
        let watched = Watched::new(|builder| builder);
        watched.meet_workers();
        watched.with_stack("before", spin);
        assert!(is_computing_found(&watched, || false));
    });
}

/// A handler that waits, one that computes and a plain task are watched, and the process lives.
pub(super) fn is_watched(capture: Capture, symbols: Symbols) {
    let watched = Watched::new(|builder| builder.capture(capture).symbols(symbols));
    watched.meet_workers();
    for (name, block) in [("sleep", sleep as fn(&AtomicBool)), ("spin", spin)] {
        watched.stall(name, block);
    }
    let saturated = || watched.rig.metric("tokio_workers_saturated", &[]) == Some(1.0);
    let begin = std::time::Instant::now();
    // Long enough for each attempt to prove it.
    is_computing_found(&watched, || begin.elapsed() > 8 * THRESHOLD && saturated());
}

/// Runs a service under `SystemCallFilter=@system-service` and `SystemCallFilter=~…` of these sets, which
/// answers all other calls so.
fn as_service(test: &str, without: &[&str], answer: Answer, capture: Capture) {
    child::run(test, &[], || {
        let left_out: Names = without.iter().flat_map(|set| systemd(set)).collect();
        let allowed = systemd("@system-service");
        Filter::allowing(answer).calls(allowed.difference(&left_out).copied()).apply();
        is_watched(capture, Symbols::Auto);
    });
}

/// What hardened services leave out of `@system-service`, and no part of ours needs.
const NEEDLESS: &[&str] =
    &["@aio", "@chown", "@keyring", "@memlock", "@privileged", "@resources", "@setuid", "@sync"];

/// What no program with threads and a Tokio runtime runs without.
const EVERYWHERE: &[&str] =
    &["@basic-io", "@default", "@file-system", "@io-event", "@network-io", "@process", "@signal"];

/// Of ours, stacks alone need them.
const STACKS: &[&str] = &["@ipc", "@timer"];

#[test]
fn each_set_of_systemd_is_left_out_in_a_test_here_or_needed_by_every_service() {
    let service = systemd("@system-service");
    for set in systemd_sets() {
        let is_known = [NEEDLESS, EVERYWHERE, STACKS].concat().contains(&set);
        // Where not all of it is allowed, the filter of the next test leaves the rest out.
        let is_left_out = set == "@system-service" || !systemd(set).is_subset(&service);
        assert!(is_known || is_left_out, "{set}");
    }
}

#[test]
fn a_service_lives_under_a_filter_that_ends_it_for_what_services_do_not_do() {
    let test = "degraded::restricted::\
                a_service_lives_under_a_filter_that_ends_it_for_what_services_do_not_do";
    as_service(test, &[], KILL, Capture::Auto);
}

#[test]
fn a_hardened_service_lives() {
    as_service("degraded::restricted::a_hardened_service_lives", NEEDLESS, KILL, Capture::Auto);
}

#[test]
fn a_service_that_is_ended_for_timers_lives_without_signals() {
    let test = "degraded::restricted::a_service_that_is_ended_for_timers_lives_without_signals";
    as_service(test, &["@timer"], KILL, Capture::NoSignal);
}

#[test]
fn a_service_that_is_ended_for_ipc_lives_without_stacks() {
    let test = "degraded::restricted::a_service_that_is_ended_for_ipc_lives_without_stacks";
    as_service(test, STACKS, KILL, Capture::Off);
}

#[test]
fn a_service_that_is_refused_timers_and_ipc_lives() {
    let test = "degraded::restricted::a_service_that_is_refused_timers_and_ipc_lives";
    as_service(test, STACKS, REFUSE, Capture::Auto);
}
