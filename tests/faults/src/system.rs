//! Files, pipes, other processes.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;

use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[
    ("fifo-read", || {
        let path = temporary("fifo");
        let name = CString::new(path.to_str().expect("UTF-8")).expect("no zero");
        // SAFETY: the name ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0, "{path:?}");
        let fifo = OpenOptions::new().read(true).write(true).open(&path).expect("it is there");
        let mut ours = fifo.try_clone().expect("a descriptor");
        let release = move || {
            ours.write_all(&[1]).expect("room");
            std::fs::remove_file(path).expect("it is ours");
        };
        Ok(Scene::new(move || fifo_read(fifo), release))
    }),
    ("flock", || {
        let path = temporary("lock");
        let (ours, theirs) = (File::create(&path).expect("a file"), File::open(&path).expect("it"));
        flock(&ours);
        let release = move || {
            drop(ours);
            std::fs::remove_file(path).expect("it is ours");
        };
        Ok(Scene::new(move || flock(&theirs), release))
    }),
    ("sqlite-busy", || {
        let path = temporary("db");
        let ours = Connection::open(&path).expect("a database");
        ours.execute_batch("BEGIN IMMEDIATE").expect("nobody else is there");
        let theirs = Connection::open(&path).expect("the same");
        theirs.busy_timeout(crate::LIMIT).expect("set");
        let release = move || {
            ours.execute_batch("COMMIT").expect("it is open");
            std::fs::remove_file(path).expect("it is ours");
        };
        Ok(Scene::new(move || sqlite_busy(&theirs), release))
    }),
    ("command-status", || {
        let (theirs, ours) = pipe().expect("a pipe");
        // Ends with its input.
        let mut cat = Command::new("cat");
        cat.stdin(theirs).stdout(Stdio::null());
        Ok(Scene::new(move || command_status(cat), || drop(ours)))
    }),
    ("command-output", || {
        let (theirs, ours) = pipe().expect("a pipe");
        let mut cat = Command::new("cat");
        cat.stdin(theirs);
        Ok(Scene::new(move || command_output(cat), || drop(ours)))
    }),
    ("child-stdout", || {
        let (theirs, ours) = pipe().expect("a pipe");
        let mut cat = Command::new("cat");
        let child = cat.stdin(theirs).stdout(Stdio::piped()).spawn().expect("it starts");
        // The command has a copy of the pipe, but not of the end that keeps it open.
        drop(cat);
        Ok(Scene::new(move || child_stdout(child), || drop(ours)))
    }),
    ("pipe-read", || {
        let (theirs, ours) = pipe().expect("a pipe");
        Ok(Scene::new(move || pipe_read(theirs), || drop(ours)))
    }),
    ("println-full-pipe", || {
        let (mut ours, theirs) = pipe().expect("a pipe");
        // SAFETY: both descriptors are open, and stay so.
        assert_eq!(unsafe { libc::dup2(theirs.as_raw_fd(), 1) }, 1);
        let release = move || {
            std::thread::spawn(move || std::io::copy(&mut ours, &mut std::io::sink()));
        };
        Ok(Scene::new(println_full_pipe, release))
    }),
];

/// A file that is this process's own.
fn temporary(extension: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tower-stall-faults-{}.{extension}", std::process::id()))
}

#[inline(never)]
fn fifo_read(mut fifo: File) {
    let length = here!(fifo.read(&mut [0]));
    assert_eq!(length.expect("a byte"), 1);
}

#[inline(never)]
fn flock(file: &File) {
    // SAFETY: the descriptor is open.
    let result = here!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) });
    assert_eq!(result, 0);
}

#[inline(never)]
fn sqlite_busy(database: &Connection) {
    let result = here!(database.execute_batch("BEGIN IMMEDIATE; COMMIT"));
    result.expect("its turn in the end");
}

#[inline(never)]
fn command_status(mut command: Command) {
    let status = here!(command.status());
    assert!(status.expect("it runs").success());
}

#[inline(never)]
fn command_output(mut command: Command) {
    let output = here!(command.output());
    assert!(output.expect("it runs").status.success());
}

#[inline(never)]
fn child_stdout(mut child: Child) {
    let mut output = child.stdout.take().expect("it is piped");
    let length = here!(output.read(&mut [0]));
    assert_eq!(length.expect("the end"), 0);
    child.wait().expect("it has ended");
}

#[inline(never)]
fn pipe_read(mut pipe: PipeReader) {
    let length = here!(pipe.read(&mut [0]));
    assert_eq!(length.expect("the end"), 0);
}

#[inline(never)]
fn println_full_pipe() {
    // More than a pipe holds.
    let line = "x".repeat(256 << 10);
    here!(println!("{line}"));
}
