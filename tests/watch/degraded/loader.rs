//! A thread that keeps the loader's list of modules to itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use tower_stall::{Cause, Stall};

use super::found::{Watched, lock, sleep, spin};
use crate::support::needs::skip;
use crate::support::*;

/// Told that the list is held, and waits to be let go.
struct Hold {
    held: Sender<()>,
    release: Receiver<()>,
}

/// Called by the loader with its list locked.
unsafe extern "C" fn hold(
    _: *mut libc::dl_phdr_info,
    _: usize,
    data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: what the caller of `dl_iterate_phdr` gave, which waits for it to return.
    let hold = unsafe { &*data.cast::<Hold>() };
    hold.held.send(()).expect("the test waits");
    // When the test fails the other end goes.
    let _ = hold.release.recv();
    1
}

#[test]
fn a_stack_that_does_not_come_in_time_is_not_waited_for() {
    let test = "degraded::loader::a_stack_that_does_not_come_in_time_is_not_waited_for";
    child::run(test, &[], || {
        let watched = Watched::new(|builder| builder);
        watched.stack("before", lock);
        let before = watched.captures("timeout").expect("a series");
        let (held, is_held) = channel();
        let (let_go, release) = channel::<()>();
        let holder = std::thread::spawn(move || {
            let mut hold_on = Hold { held, release };
            // SAFETY: the callback gets what it expects, which outlives the call.
            unsafe { libc::dl_iterate_phdr(Some(hold), (&raw mut hold_on).cast()) };
        });
        is_held.recv_timeout(LIMIT).expect("it is held");

        for (handler, cause) in [("sleep", Cause::Sleep), ("spin", Cause::Cpu)] {
            let stall = watched.stall(handler, if cause == Cause::Cpu { spin } else { sleep });
            assert_eq!(stall.cause, cause);
            assert!(stall.stack.is_none(), "{stall:#?}");
        }
        wait_until(LIMIT, || watched.captures("timeout") == Some(before + 2.0));
        let scans = || watched.rig.metric("tower_stall_watchdog_scans_total", &[]);
        let seen = scans();
        wait_until(LIMIT, || scans() > seen);

        drop(let_go);
        holder.join().expect("no panic");
        watched.stack("after", lock);
    });
}

/// A library whose constructor waits for somebody to write to the FIFO; `None` without `cc`.
fn library(folder: &Path, fifo: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("slow.c"), folder.join("libslow.so"));
    let text = format!(
        "#include <fcntl.h>\n#include <unistd.h>\n\
         __attribute__((constructor)) static void slow(void) {{\n\
             char byte; int file = open(\"{}\", O_RDONLY);\n\
             while (read(file, &byte, 1) > 0) {{}}\n close(file);\n}}\n",
        fifo.display()
    );
    std::fs::write(&source, text).expect("a file");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    cc.status().is_ok_and(|status| status.success()).then_some(library)
}

fn c_string(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.to_str().expect("text")).expect("no NUL")
}

/// Whether the loader's list is held meanwhile is the C library's business; nothing else may be.
#[test]
fn a_library_that_takes_its_time_to_load_holds_nobody_up() {
    let test = "degraded::loader::a_library_that_takes_its_time_to_load_holds_nobody_up";
    child::run(test, &[], || {
        let name = format!("tower-stall-degraded-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let fifo = folder.join("fifo");
        // SAFETY: a string that ends with NUL.
        assert_eq!(unsafe { libc::mkfifo(c_string(&fifo).as_ptr(), 0o600) }, 0);
        let Some(library) = library(&folder, &fifo) else {
            std::fs::remove_dir_all(&folder).expect("it is ours");
            return skip("no C compiler (Debian's gcc)");
        };
        let watched = Watched::new(|builder| builder);
        // What a thread does for the first time may wait as long as the constructor does: glibc
        // notes what is to be dropped with a thread under the lock of the loader. So each worker
        // has had a poll and has parked both ways, and a stall was told without and with its stack.
        watched.meet_workers();
        watched.stack("before", lock);
        watched.stack("again", lock);
        let outcomes = || ["ok", "partial", "timeout"].map(|outcome| watched.captures(outcome));
        let sum = || outcomes().into_iter().flatten().sum::<f64>();
        let before = sum();

        let loads = library.clone();
        let loader = std::thread::spawn(move || {
            // SAFETY: a library of ours, whose constructor only reads from a FIFO.
            let handle = unsafe { libc::dlopen(c_string(&loads).as_ptr(), libc::RTLD_NOW) };
            !handle.is_null()
        });
        // Opens once the constructor has.
        let writer = std::fs::OpenOptions::new().write(true).open(&fifo).expect("it is there");
        for (handler, cause) in [("sleep", Cause::Sleep), ("spin", Cause::Cpu)] {
            let stall = watched.stall(handler, if cause == Cause::Cpu { spin } else { sleep });
            assert_eq!(stall.cause, cause);
        }
        assert!(!loader.is_finished());

        drop(writer);
        assert!(loader.join().expect("no panic"), "it was loaded");
        // Not before: the client starts a thread.
        wait_until(LIMIT, || sum() >= before + 2.0);
        wait_until(LIMIT, || {
            let stalls = watched.rig.stall.stalls();
            let of = |name| stalls.iter().find(|stall| stall.handler == name);
            let answered = |stall: &Stall| !stall.is_stack_pending();
            ["sleep", "spin"].iter().all(|name| of(*name).is_some_and(answered))
        });
        println!("while a library loads: {:?} ok, partial, timeout", outcomes());
        watched.stack("after", lock);
        std::fs::remove_dir_all(&folder).expect("it is ours");
    });
}
