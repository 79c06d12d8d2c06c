//! Calls that wait for a pipe, a counter, a file's lock or a child.

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use crate::call::{Call, Later, Returned};

/// More than fits into a pipe.
const MUCH: usize = 256 * 1024;

pub(crate) fn calls() -> Vec<Call> {
    vec![
        pipe_read(),
        pipe_write(),
        fifo(),
        eventfd(),
        flock(),
        file_lock("fcntl F_SETLKW", libc::F_SETLKW),
        file_lock("fcntl F_OFD_SETLKW", libc::F_OFD_SETLKW),
        child("waitpid", waitpid),
        child("waitid", waitid),
    ]
}

fn read(file: &impl AsRawFd) -> Returned {
    let mut bytes = [7_u8; 8];
    // SAFETY: room for that many bytes.
    let returned = unsafe { libc::read(file.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) };
    Returned::of(returned).and(bytes)
}

fn pipe_read() -> Call {
    let (reader, mut writer) = pipe().expect("a pipe");
    let reader = Arc::new(reader);
    let release = move || writer.write_all(b"pipe").expect("it is read");
    Call::released("read of a pipe", move || read(&reader), release)
}

fn pipe_write() -> Call {
    let (mut reader, writer) = pipe().expect("a pipe");
    let writer = Arc::new(writer);
    let write = move || {
        let bytes = vec![1_u8; MUCH];
        // SAFETY: as many bytes as there are.
        let written = unsafe { libc::write(writer.as_raw_fd(), bytes.as_ptr().cast(), MUCH) };
        Returned::of(written)
    };
    let drain = move || drain(&mut reader, MUCH);
    Call::released("write to a full pipe", write, drain)
}

fn drain(reader: &mut PipeReader, bytes: usize) {
    reader.read_exact(&mut vec![0; bytes]).expect("they were written");
}

/// A name in a folder of this process's own.
fn path(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tower-stall-harmless-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(name)
}

/// Removes what [`path`] made.
pub(crate) fn remove_all() {
    let folder = path("any");
    std::fs::remove_dir_all(folder.parent().expect("it has one")).expect("it is ours");
}

/// A new one each time: a child of another test that is being started has for a moment what this
/// process has open.
fn fifo() -> Call {
    let (made, names) = channel::<CString>();
    let later = Later::new(move || {
        let name = names.recv().expect("it was made");
        let mut options = OpenOptions::new();
        let fifo = options.write(true).open(name.to_str().expect("text"));
        fifo.expect("it is there").write_all(b"fifo").expect("it is read");
    });
    let mut runs = 0;
    Call::new("open and read of a FIFO", move || {
        runs += 1;
        let path = path(&format!("fifo-{runs}"));
        let name = CString::new(path.to_str().expect("text")).expect("no NUL");
        // SAFETY: a string that ends with NUL.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let (later, made) = (later.clone(), made.clone());
        Box::new(move || {
            later.begin();
            made.send(name.clone()).expect("its thread has not panicked");
            open_and_read(&name)
        })
    })
}

/// Waits for somebody to open it for writing, then for bytes.
fn open_and_read(fifo: &CStr) -> Returned {
    // SAFETY: a string that ends with NUL.
    let opened = unsafe { libc::open(fifo.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if opened < 0 {
        return Returned::of(opened);
    }
    // SAFETY: a descriptor that was just opened and is nobody else's.
    read(&unsafe { OwnedFd::from_raw_fd(opened) })
}

fn eventfd() -> Call {
    // SAFETY: takes numbers and returns a descriptor that is nobody else's.
    let event = Arc::new(unsafe { File::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) });
    let theirs = Arc::clone(&event);
    let write = move || (&*theirs).write_all(&3_u64.to_ne_bytes()).expect("it is a counter");
    Call::released("read of an eventfd", move || read(&event), write)
}

/// A file that is locked for each call and let go a while after.
fn locked(
    name: &'static str,
    lock: fn(&File),
    unlock: fn(&File),
    call: impl Fn(&File) -> Returned + Copy + Send + Sync + 'static,
) -> Call {
    let path = path(name);
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).open(&path).expect("a file")
    };
    let (ours, theirs) = (Arc::new(open()), Arc::new(open()));
    let held = Arc::clone(&theirs);
    let later = Later::new(move || unlock(&held));
    Call::new(name, move || {
        lock(&theirs);
        let (ours, later) = (Arc::clone(&ours), later.clone());
        Box::new(move || {
            later.begin();
            call(&ours)
        })
    })
}

fn flock() -> Call {
    fn take(file: &File, how: i32) -> Returned {
        // SAFETY: an open descriptor.
        Returned::of(unsafe { libc::flock(file.as_raw_fd(), how) })
    }
    locked(
        "flock",
        |file| assert_eq!(take(file, libc::LOCK_EX).value, 0),
        |file| assert_eq!(take(file, libc::LOCK_UN).value, 0),
        |file| {
            let returned = take(file, libc::LOCK_EX);
            assert_eq!(take(file, libc::LOCK_UN).value, 0);
            returned
        },
    )
}

/// Locks, or unlocks, all of the file.
fn record_lock(file: &File, command: i32, kind: i32) -> Returned {
    // SAFETY: zeros are a valid `flock`: all of the file, by no process.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    // SAFETY: an open descriptor and a structure of ours.
    Returned::of(unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) })
}

/// Held by another open file: that is in the way of the process's own locks too.
fn file_lock(name: &'static str, command: i32) -> Call {
    locked(
        name,
        |file| assert_eq!(record_lock(file, libc::F_OFD_SETLKW, libc::F_WRLCK).value, 0),
        |file| assert_eq!(record_lock(file, libc::F_OFD_SETLKW, libc::F_UNLCK).value, 0),
        move |file| {
            let returned = record_lock(file, command, libc::F_WRLCK);
            assert_eq!(record_lock(file, command, libc::F_UNLCK).value, 0);
            returned
        },
    )
}

/// A child that ends a while after the call began.
fn child(name: &'static str, wait: fn(i32) -> Returned) -> Call {
    let input = Arc::new(Mutex::new(None));
    let taken = Arc::clone(&input);
    let later = Later::new(move || drop(taken.lock().expect("no panic").take()));
    Call::new(name, move || {
        let mut cat = Command::new("cat");
        let mut child = cat.stdin(Stdio::piped()).spawn().expect("every system has cat");
        *input.lock().expect("no panic") = child.stdin.take();
        let later = later.clone();
        Box::new(move || {
            later.begin();
            let returned = wait(child.id() as i32);
            // Fails, since there is nobody to wait for any more.
            drop(child.wait());
            returned
        })
    })
}

fn waitpid(child: i32) -> Returned {
    let mut status = -7;
    // SAFETY: room for one number.
    let mut returned = Returned::of(unsafe { libc::waitpid(child, &raw mut status, 0) });
    // The number of the child is another each time.
    returned.value -= if returned.value == i64::from(child) { i64::from(child) } else { 0 };
    returned.and(status)
}

fn waitid(child: i32) -> Returned {
    // SAFETY: zeros are a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: room for one structure.
    let returned =
        unsafe { libc::waitid(libc::P_PID, child as libc::id_t, &raw mut info, libc::WEXITED) };
    let returned = Returned::of(returned);
    // SAFETY: `waitid` fills these fields in.
    let same = unsafe { info.si_pid() } == child;
    returned.and((same, info.si_code, info.si_signo))
}
