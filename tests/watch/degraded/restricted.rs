//! What Kubernetes' profile *restricted* leaves: no root, no capabilities, no new privileges, and the
//! filter of system calls that `RuntimeDefault` stands for.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tower_stall::{Capture, Cause, Stall};

use super::found::{Watched, sleep, spin};
use crate::support::*;

const NOBODY: u32 = 65534;

/// What containerd's default profile (`contrib/seccomp/seccomp_default.go`, since 1.7; Docker's is the
/// same here) refuses to a process without capabilities, of the calls that a program may try. They
/// fail with EPERM.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// What older ones refuse too: Docker before 23.0, containerd before 1.7.
const REFUSED_BEFORE: &[libc::c_long] =
    &[libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_ptrace];

fn step(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k: value }
}

/// If the number is that of the call, that is the answer.
fn answer(call: libc::c_long, answer: u32) -> [libc::sock_filter; 2] {
    let is_it = step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32);
    // Not this one: over the next step.
    [libc::sock_filter { jf: 1, ..is_it }, step(libc::BPF_RET | libc::BPF_K, answer)]
}

/// The call fails with that error.
fn error(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | error as u32
}

/// Answers these calls of all threads of this process so, for ever.
fn filter(calls: &[libc::c_long], answers: u32) {
    // The number of the call is the first word of what a filter sees.
    let mut steps = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    steps.extend(calls.iter().flat_map(|call| answer(*call, answers)));
    // So that the C library takes `clone`.
    steps.extend(answer(libc::SYS_clone3, error(libc::ENOSYS)));
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the program and its steps live until the call has copied them.
    let set = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A field of what the kernel says of this process.
fn status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("a field of the kernel").trim().to_owned()
}

/// Makes this process what *restricted* asks for; its user is who started it.
fn restrict(refused: &[&[libc::c_long]]) {
    filter(&refused.concat(), error(libc::EPERM));
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
fn is_computing_found(watched: &Watched, enough: impl Fn() -> bool) -> bool {
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
        restrict(&[REFUSED]);
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
        restrict(&[REFUSED, REFUSED_BEFORE]);
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
        restrict(&[REFUSED]);
        let watched = Watched::new(|builder| builder);
        watched.meet_workers();
        // Its names have been read.
        watched.with_stack("before", spin);
        let begin = std::time::Instant::now();
        let long = || begin.elapsed() > LIMIT / 4 && saturated(&watched) == Some(1.0);
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

/// What `SystemCallFilter=@system-service` leaves out (systemd's sets `@clock`, `@cpu-emulation`, `@debug`,
/// `@module`, `@mount`, `@obsolete`, `@pkey`, `@raw-io`, `@reboot`, `@swap` and others), of the calls that a
/// program may try. A service that makes one is ended, by default.
const LEFT_OUT: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_load,
    libc::SYS_lookup_dcookie,
    libc::SYS_modify_ldt,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_sysfs,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_vhangup,
];

/// A handler that waits, one that computes and a plain task are watched, and the process lives.
fn is_watched(capture: Capture) {
    let watched = Watched::new(|builder| builder.capture(capture));
    watched.meet_workers();
    for (name, block) in [("sleep", sleep as fn(&AtomicBool)), ("spin", spin)] {
        watched.stall(name, block);
    }
    let saturated = || watched.rig.metric("tokio_workers_saturated", &[]) == Some(1.0);
    let begin = std::time::Instant::now();
    is_computing_found(&watched, || begin.elapsed() > LIMIT / 10 && saturated());
}

#[test]
fn a_service_lives_under_a_filter_that_ends_it_for_what_services_do_not_do() {
    let test = "degraded::restricted::\
                a_service_lives_under_a_filter_that_ends_it_for_what_services_do_not_do";
    child::run(test, &[], || {
        filter(LEFT_OUT, libc::SECCOMP_RET_KILL_PROCESS);
        is_watched(Capture::Auto);
    });
}

/// The calls of ours that few programs make, and the mode in which they are not made.
const OURS: &[(&str, libc::c_long, Capture)] = &[
    ("perf_event_open", libc::SYS_perf_event_open, Capture::Auto),
    ("timer_create", libc::SYS_timer_create, Capture::NoSignal),
    ("timer_settime", libc::SYS_timer_settime, Capture::NoSignal),
    ("timer_delete", libc::SYS_timer_delete, Capture::NoSignal),
    ("rt_tgsigqueueinfo", libc::SYS_rt_tgsigqueueinfo, Capture::NoSignal),
    ("process_vm_readv", libc::SYS_process_vm_readv, Capture::Off),
];

#[test]
fn a_filter_that_refuses_a_call_costs_stacks_and_nothing_else() {
    let test = "degraded::restricted::a_filter_that_refuses_a_call_costs_stacks_and_nothing_else";
    for (name, call, _) in OURS {
        child::run(test, &[("STALL_TEST_CALL", name)], || {
            if std::env::var("STALL_TEST_CALL").as_deref() == Ok(name) {
                filter(&[*call], error(libc::EPERM));
                is_watched(Capture::Auto);
            }
        });
    }
}

#[test]
fn a_filter_that_ends_the_process_for_a_call_has_a_mode_without_it() {
    let test =
        "degraded::restricted::a_filter_that_ends_the_process_for_a_call_has_a_mode_without_it";
    for (name, call, capture) in OURS {
        child::run(test, &[("STALL_TEST_CALL", name)], || {
            if std::env::var("STALL_TEST_CALL").as_deref() == Ok(name) {
                filter(&[*call], libc::SECCOMP_RET_KILL_PROCESS);
                is_watched(*capture);
            }
        });
    }
}
