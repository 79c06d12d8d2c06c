//! What a machine may have no more of: threads, room on a disk, a place to write.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tower_stall::{BuildError, Cause, Stall, StallDetector};

use super::filter::{Answer, Filter};
use super::found::{Watched, sleep, spin};
use super::proc::{mount, own_view};
use crate::support::needs::skip;
use crate::support::*;

/// No new thread has memory from now on, or is one too many.
fn no_more_threads(error: i32) -> Filter {
    Filter::answering(Answer::Errno(error as u32)).calls(["clone", "clone3"])
}

/// Without threads there is no detector, and the service goes on.
#[test]
fn no_memory_for_a_thread_at_the_start_is_an_error_that_says_so() {
    let test = "degraded::scarce::no_memory_for_a_thread_at_the_start_is_an_error_that_says_so";
    child::run(test, &[], || {
        for error in [libc::ENOMEM, libc::EAGAIN] {
            let runtime = runtime(2);
            runtime.block_on(runtime.spawn(async {})).expect("no panic");
            let start = || {
                let _inside = runtime.enter();
                no_more_threads(error).apply_here();
                StallDetector::builder().threshold(THRESHOLD).start()
            };
            let started = std::thread::scope(|scope| scope.spawn(start).join().expect("no panic"));
            let refused = started.expect_err("no thread");
            assert!(matches!(refused, BuildError::Thread { .. }), "{refused:?}");
            assert!(refused.to_string().contains("stall-"), "which one: {refused}");
            assert_eq!(runtime.block_on(runtime.spawn(async { 7 })).expect("no panic"), 7);
        }
    });
}

/// The answer to a request by a client that needs no thread.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

/// A detector that runs needs no further thread.
#[test]
fn no_memory_for_a_thread_later_costs_nothing() {
    child::run("degraded::scarce::no_memory_for_a_thread_later_costs_nothing", &[], || {
        let watched = Watched::new(|builder| builder);
        watched.rig.stall.ready_when(|| true);
        watched.meet_workers();
        no_more_threads(libc::ENOMEM).apply();
        // The C library calls it EAGAIN.
        let refused = std::thread::Builder::new().spawn(|| ()).expect_err("no thread");
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert_eq!(watched.with_stack("sleep", sleep).cause, Cause::Sleep);
        assert_eq!(watched.with_stack("spin", spin).cause, Cause::Cpu);
        let admin = watched.rig.stall.admin_addr().expect("an address");
        for path in ["/metrics", "/stalls", "/stalls.json", "/livez", "/readyz"] {
            let answer = get(admin, path);
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{path}: {answer}");
        }
    });
}

/// Lines are lost, as those of the service are. Hooks, metrics and the page have what they would have told.
#[test]
fn a_full_disk_behind_the_log_costs_lines_alone() {
    child::run("degraded::scarce::a_full_disk_behind_the_log_costs_lines_alone", &[], || {
        let full = || OpenOptions::new().write(true).open("/dev/full");
        match full().map(|mut full| full.write_all(b"x")) {
            Ok(Err(error)) if error.kind() == ErrorKind::StorageFull => {}
            other => return skip(&format!("no /dev/full: {other:?}")),
        }
        let (tried, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (writes, ends) = (Arc::clone(&tried), Arc::clone(&ended));
        let log = tracing_subscriber::fmt().with_writer(move || {
            writes.fetch_add(1, Ordering::Relaxed);
            full().expect("it is there")
        });
        let rig = tracing::subscriber::with_default(log.finish(), || {
            Rig::new(2, |builder| {
                builder.on_stall(move |stall: &Stall| {
                    ends.fetch_add(usize::from(!stall.in_progress), Ordering::Relaxed);
                })
            })
        });
        for _ in 0..3 {
            let block = rig.block("blocks");
            rig.run(rig.stall.watched("blocks", async move { block.run() }));
        }
        wait_until(LIMIT, || ended.load(Ordering::Relaxed) == 3);
        assert!(tried.load(Ordering::Relaxed) >= 6, "starts and ends were to be logged");
        assert_eq!(rig.metric("tokio_stalls_total", &[("handler", "blocks")]), Some(3.0));
        assert_eq!(rig.run(async { 7 }), 7);
        rig.stall.shutdown(3 * LIMIT).expect("nothing is held up");
    });
}

#[test]
fn a_root_that_cannot_be_written_to_costs_nothing() {
    child::run("degraded::scarce::a_root_that_cannot_be_written_to_costs_nothing", &[], || {
        let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
        if !own_view() || !mount(None, Path::new("/"), read_only) {
            return skip("only root can forbid to write to /");
        }
        // And nothing of what is mounted elsewhere for that.
        for place in ["/tmp", "/var/tmp", "/dev/shm"] {
            mount(None, Path::new(place), libc::MS_RDONLY);
            let refused = File::create(Path::new(place).join("tower-stall")).expect_err("no room");
            assert!(matches!(refused.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::NotFound));
        }
        let watched = Watched::new(|builder| builder);
        watched.meet_workers();
        let slept = watched.with_stack("sleep", sleep);
        assert_eq!(slept.cause, Cause::Sleep);
        assert!(slept.site.is_some_and(|site| site.line.is_some()), "lines are read, not written");
        assert_eq!(watched.with_stack("spin", spin).cause, Cause::Cpu);
    });
}
