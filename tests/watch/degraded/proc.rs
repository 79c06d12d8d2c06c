//! Less of `/proc` than usual.

use std::ffi::CString;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tower_stall::Cause;

use super::found::{Watched, lock, receive, sleep, spin};
use crate::support::needs::skip;
use crate::support::*;

const NOBODY: u32 = 65534;
const DENIED: (&str, &str) = ("failed", "/proc does not show the thread: permission denied");
const NOT_THERE: (&str, &str) = ("failed", "no such thread, or /proc does not show it");

fn is_root() -> bool {
    // SAFETY: it has no conditions.
    unsafe { libc::geteuid() == 0 }
}

/// Whether the kernel tells this process which call a thread of it is in.
fn is_call_shown() -> bool {
    match std::fs::read_to_string("/proc/thread-self/syscall") {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            false
        }
    }
}

/// Where calls are not shown, the kernel's function and the CPU time decide.
fn calls_are_not_shown(watched: &Watched, missing: (&str, &str)) {
    let stall = watched.check(("sleep", sleep), Cause::Sleep, missing);
    let detail = stall.detail.expect("the function");
    assert!(detail.contains("nanosleep"), "{detail}");
    watched.check(("lock", lock), Cause::Lock, missing);
    watched.check(("spin", spin), Cause::Cpu, missing);
    let stall = watched.check(("receive", receive), Cause::NetworkIo, missing);
    assert!(stall.detail.is_some_and(|detail| detail.contains("skb")));
}

#[test]
fn a_process_that_may_not_be_dumped() {
    child::run("degraded::proc::a_process_that_may_not_be_dumped", &[], || {
        // Root may read everything.
        if is_root() {
            // SAFETY: take numbers; the C library changes all threads.
            assert_eq!(unsafe { libc::setgid(NOBODY) }, 0);
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
        }
        // SAFETY: takes numbers.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }, 0);
        assert!(!is_call_shown());
        calls_are_not_shown(&Watched::new(|builder| builder), DENIED);
    });
}

/// A copy of this binary with a capability, where everybody may run it.
struct Capable(PathBuf);

impl Capable {
    /// `None` where that cannot be done.
    fn new() -> Option<Self> {
        if !is_root() {
            skip("only root can give capabilities to a file");
            return None;
        }
        let name = format!("tower-stall-capable-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&folder, readable).expect("it is ours");
        let capable = Self(folder);
        let own = std::env::current_exe().expect("this binary");
        std::fs::copy(own, capable.program()).expect("room for it");
        let mut setcap = Command::new("setcap");
        setcap.arg("cap_net_bind_service+ep").arg(capable.program());
        if !setcap.status().is_ok_and(|status| status.success()) {
            skip("no setcap (Debian's libcap2-bin), or a file system without capabilities");
            return None;
        }
        Some(capable)
    }

    fn program(&self) -> PathBuf {
        self.0.join("degraded")
    }
}

impl Drop for Capable {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

#[test]
fn a_program_with_capabilities() {
    let mut capable = None;
    child::run_copy(
        "degraded::proc::a_program_with_capabilities",
        || {
            capable = Capable::new();
            capable.as_ref().map(Capable::program)
        },
        |command| {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        },
        || {
            if is_call_shown() {
                return skip("the file system of temporary files gives no capabilities");
            }
            calls_are_not_shown(&Watched::new(|builder| builder), DENIED);
        },
    );
}

/// Gives the calling thread, and threads that it starts, a view of the file system of their own.
pub(super) fn own_view() -> bool {
    // SAFETY: takes a number.
    let alone = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    alone && mount(None, Path::new("/"), libc::MS_REC | libc::MS_PRIVATE)
}

/// Mounts that file over the other, or else an empty file system.
pub(super) fn mount(file: Option<&Path>, over: &Path, flags: libc::c_ulong) -> bool {
    let text = |path: &Path| CString::new(path.to_str().expect("text")).expect("no NUL");
    let from = file.map_or(c"none".to_owned(), text);
    let over = text(over);
    let kind = c"tmpfs".as_ptr();
    // SAFETY: strings that end with NUL, and no options.
    unsafe { libc::mount(from.as_ptr(), over.as_ptr(), kind, flags, std::ptr::null()) == 0 }
}

#[test]
fn no_proc_at_all() {
    child::run("degraded::proc::no_proc_at_all", &[], || {
        if !own_view() || !mount(None, Path::new("/proc"), 0) {
            return skip("only root can hide /proc");
        }
        assert!(!Path::new("/proc/self").exists());
        let watched = Watched::new(|builder| builder);
        watched.check(("sleep", sleep), Cause::Unknown, NOT_THERE);
        watched.check(("spin", spin), Cause::Unknown, NOT_THERE);
    });
}

/// Takes the file `syscall` out of the folder of that thread: the others are links to where they are too.
fn hide_call(thread: &Path, again: &Path) {
    let files = std::fs::read_dir(thread).expect("procfs").map(|file| file.expect("an entry"));
    let names: Vec<_> = files.map(|file| file.file_name()).collect();
    assert!(mount(None, thread, 0), "{}", thread.display());
    for name in names.iter().filter(|name| *name != "syscall") {
        symlink(again.join(name), thread.join(name)).expect("an empty file system");
    }
    let hidden = std::fs::read_to_string(thread.join("syscall")).expect_err("it is hidden");
    assert_eq!(hidden.kind(), ErrorKind::NotFound);
}

/// As in gVisor.
#[test]
fn a_kernel_that_has_no_file_of_the_call() {
    child::run("degraded::proc::a_kernel_that_has_no_file_of_the_call", &[], || {
        if !own_view() {
            return skip("only root can hide a file of /proc");
        }
        let again = std::env::temp_dir().join(format!("tower-stall-proc-{}", std::process::id()));
        std::fs::create_dir(&again).expect("a folder");
        assert!(mount(Some(Path::new("/proc")), &again, libc::MS_BIND));
        let watched = Watched::new(|builder| builder);
        let tasks = Path::new(&std::process::id().to_string()).join("task");
        let threads = std::fs::read_dir(Path::new("/proc").join(&tasks)).expect("procfs");
        let threads: Vec<_> = threads.map(|thread| thread.expect("an entry").file_name()).collect();
        for thread in threads {
            let folder = tasks.join(thread);
            hide_call(&Path::new("/proc").join(&folder), &again.join(&folder));
        }
        calls_are_not_shown(&watched, NOT_THERE);
        drop(watched);
        let folder = CString::new(again.to_str().expect("text")).expect("no NUL");
        // SAFETY: a string that ends with NUL.
        assert_eq!(unsafe { libc::umount2(folder.as_ptr(), libc::MNT_DETACH) }, 0);
        std::fs::remove_dir(&again).expect("it is ours");
    });
}

/// What a kernel without these statistics says of each thread.
const NO_STATISTICS: &str = "0 0 0\n";

#[test]
fn a_kernel_without_schedstat() {
    child::run("degraded::proc::a_kernel_without_schedstat", &[], || {
        if !own_view() {
            return skip("only root can hide a file of /proc");
        }
        let name = format!("tower-stall-schedstat-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, NO_STATISTICS).expect("a file");
        let watched = Watched::new(|builder| builder);
        // Of each thread there is.
        for thread in std::fs::read_dir("/proc/self/task").expect("procfs") {
            let over = thread.expect("an entry").path().join("schedstat");
            assert!(mount(Some(&file), &over, libc::MS_BIND), "{}", over.display());
            assert_eq!(std::fs::read_to_string(&over).expect("a file"), NO_STATISTICS);
        }
        std::fs::remove_file(&file).expect("it is ours");
        let missing = ("failed", "the kernel keeps no schedstat");
        watched.check(("sleep", sleep), Cause::Sleep, missing);
        watched.check(("spin", spin), Cause::Cpu, missing);
    });
}
