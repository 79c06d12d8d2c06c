//! Files, pipes, sockets and databases that are waited for on the worker.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

use crate::case::{Case, told};
use crate::stage::{Stage, is_over};

const FILES: &str = "tokio::fs";
const NET: &str = "async client|tokio::net";
const CLIENT: &str = "async client";
const PIPE: &str = "whoever reads the output is slow|non_blocking";
const DATABASE: &str = "tokio-rusqlite";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "file-on-slow-disk",
        "justinmoon/pika#434, hasura/ndc-postgres#343",
        &[told("GET /attachments", "file_io", "cases::io::read_attachment", FILES)],
        file_on_slow_disk,
    ),
    Case::new(
        "file-in-small-pieces",
        "tokio-rs/tokio#1844",
        &[told("GET /iso", "cpu|file_io", "cases::io::count_bytes", "tokio::fs|spawn_blocking")],
        file_in_small_pieces,
    ),
    Case::new(
        "many-small-writes",
        "librefang/librefang#5905, tokio-rs/tokio#323",
        &[told("GET /export", "cpu|file_io", "cases::io::export", "tokio::fs|spawn_blocking")],
        many_small_writes,
    ),
    Case::new(
        "println-to-full-pipe",
        "tokio-rs/tracing#668",
        &[told("GET /debug", "file_io", "cases::io::print", PIPE)],
        |stage| {
            fill(stage, |pipe| rustix::stdio::dup2_stdout(pipe));
            stage.get_once("/debug", print);
        },
    ),
    Case::new(
        "log-to-full-pipe",
        "tokio-rs/tracing#668, y-scope/clp#2364",
        &[told("GET /logged", "file_io", "cases::io::log", PIPE)],
        |stage| {
            // The handler's line alone: hyper's and the detector's would block whoever writes them.
            let ours = filter_fn(|line| line.target() == module_path!());
            let lines =
                tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(ours);
            tracing_subscriber::registry().with(lines).init();
            fill(stage, |pipe| rustix::stdio::dup2_stderr(pipe));
            stage.get_once("/logged", log);
        },
    ),
    Case::new(
        "log-queue-full",
        "neonlabsorg/neon-evm#165, tokio-rs/tracing#676",
        &[told(
            "GET /audited",
            "lock",
            "cases::io::audit",
            "non_blocking|spawn_blocking|lossy|tokio::sync",
        )],
        log_queue_full,
    ),
    Case::new(
        "stdin-read-line",
        "tokio-rs/tokio#633, hyperium/h2#332",
        &[told("GET /confirm", "file_io", "cases::io::confirm", "spawn_blocking|tokio::io::stdin")],
        |stage| {
            let (read, write) = rustix::pipe::pipe().expect("a pipe");
            rustix::stdio::dup2_stdin(&read).expect("it is open");
            stage.at_release(|| drop(write));
            stage.get_once("/confirm", confirm);
        },
    ),
    Case::new(
        "tcp-read",
        "tokio-rs/tokio#790, pendulum-chain/spacewalk#475",
        &[told("GET /quote", "network_io", "cases::io::read_quote", NET)],
        |stage| {
            let (here, there) = connection();
            stage.at_release(|| drop(there));
            stage.get_once("/quote", move || read_quote(here));
        },
    ),
    Case::new(
        "tcp-write-to-slow-reader",
        "tokio-rs/tokio#3474",
        &[told("GET /replicate", "network_io", "cases::io::replicate", NET)],
        |stage| {
            let (here, there) = connection();
            stage.at_release(|| drop(there));
            stage.get_once("/replicate", move || replicate(here));
        },
    ),
    Case::new(
        "udp-recv",
        "roboplc/snmp2#1",
        &[told("GET /snmp", "network_io", "cases::io::receive", NET)],
        |stage| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let address = socket.local_addr().expect("bound");
            let other = socket.try_clone().expect("a descriptor");
            stage.at_release(move || {
                other.send_to(b"late", address).expect("sent");
            });
            stage.get_once("/snmp", move || receive(&socket));
        },
    ),
    Case::new(
        "unix-socket-read",
        "eastreams/loong#423",
        &[told("GET /agent", "network_io", "cases::io::ask_agent", NET)],
        |stage| {
            let (here, there) = UnixStream::pair().expect("two ends");
            stage.at_release(|| drop(there));
            stage.get_once("/agent", move || ask_agent(here));
        },
    ),
    Case::new(
        "ureq-call",
        "dnsimple/dnsimple-rust#42, seanmonstar/reqwest#938",
        &[told("GET /domains", "network_io", "cases::io::domains", CLIENT)],
        |stage| {
            let address = silent_server(stage);
            stage.get_once("/domains", move || domains(&address));
        },
    ),
    Case::new(
        "minreq-call",
        "seanmonstar/warp#254, jaemk/self_update#44",
        &[told("GET /release", "network_io", "cases::io::newest_release", CLIENT)],
        |stage| {
            let address = silent_server(stage);
            stage.get_once("/release", move || newest_release(&address));
        },
    ),
    Case::new(
        "file-lock",
        "al8n/fs4#27",
        &[told("GET /slot", "lock", "cases::io::take_slot", "spawn_blocking")],
        file_lock,
    ),
    Case::new(
        "sqlite-busy",
        "matrix-org/matrix-rust-sdk#5025, prisma/quaint#66",
        &[told("GET /notes", "sleep", "cases::io::add_note", DATABASE)],
        sqlite_busy,
    ),
    Case::new(
        "sqlite-long-query",
        "tokio-rs/axum#2187, prisma/quaint#66",
        &[told("GET /statistics", "cpu", "cases::io::statistics", DATABASE)],
        sqlite_long_query,
    ),
    Case::new(
        "pool-exhausted",
        "palpo-im/palpo#214, diesel-rs/diesel#3016, sfackler/r2d2#93",
        &[told(
            "GET /users",
            "lock",
            "cases::io::with_connection",
            "async pool|spawn_blocking|tokio::sync",
        )],
        pool_exhausted,
    ),
];

/// A folder that is left to the system.
fn folder() -> PathBuf {
    tempfile::tempdir().expect("a folder").keep()
}

/// A file that comes when it wants to: a pipe with a name.
fn file_on_slow_disk(stage: &Stage) {
    let path = folder().join("attachment");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a pipe");
    let other = File::options().read(true).write(true).open(&path).expect("both ends");
    stage.at_release(|| drop(other));
    stage.get_once("/attachments", move || read_attachment(&path));
}

#[inline(never)]
fn read_attachment(path: &Path) {
    let text = here!(std::fs::read(path));
    assert!(text.expect("an end").is_empty());
}

fn file_in_small_pieces(stage: &Stage) {
    let path = folder().join("iso");
    std::fs::write(&path, vec![7; 8 << 20]).expect("space");
    stage.get_once("/iso", move || {
        while !is_over() {
            count_bytes(&path);
        }
    });
}

#[inline(never)]
#[rustfmt::skip]
fn count_bytes(path: &Path) -> usize {
    let (mut file, mut piece, mut bytes) = (File::open(path).expect("it is there"), [0; 512], 0);
    below!(2);
    loop {
        match file.read(&mut piece).expect("it is read") { 0 => return bytes, more => bytes += more }
    }
}

fn many_small_writes(stage: &Stage) {
    let path = folder().join("export.csv");
    stage.get_once("/export", move || {
        while !is_over() {
            export(&path);
        }
    });
}

#[inline(never)]
fn export(path: &Path) {
    below!(4);
    let mut file = File::create(path).expect("a folder");
    for _ in 0..20_000 {
        file.write_all(b"7;a word;3.14\n").expect("space");
    }
}

/// Gives the process a full pipe as one of its outputs.
fn fill(stage: &Stage, give: fn(&OwnedFd) -> rustix::io::Result<()>) {
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_getpipe_size(&write).expect("a pipe");
    rustix::io::write(&write, &vec![b'\n'; size]).expect("room");
    give(&write).expect("it is open");
    stage.at_release(move || {
        std::thread::spawn(move || std::io::copy(&mut File::from(read), &mut std::io::sink()));
    });
}

#[inline(never)]
fn print() {
    let line = String::from("a line for whoever looks at the console");
    here!(println!("{line}"));
    drop(line);
}

#[inline(never)]
fn log() {
    let user = String::from("seven");
    here!(tracing::info!(user, "a line for whoever collects the log"));
    drop(user);
}

/// `lossy(false)` waits for room in the queue.
fn log_queue_full(stage: &Stage) {
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    let builder = tracing_appender::non_blocking::NonBlockingBuilder::default();
    let builder = builder.lossy(false).buffered_lines_limit(4);
    let (writer, guard) = builder.finish(File::from(write));
    let read = Mutex::new(Some(read));
    stage.at_release(move || {
        let read = read.lock().expect("not poisoned").take().expect("once");
        std::thread::spawn(move || std::io::copy(&mut File::from(read), &mut std::io::sink()));
        std::mem::forget(guard);
    });
    stage.get_once("/audited", move || audit(writer));
}

#[inline(never)]
fn audit(mut log: tracing_appender::non_blocking::NonBlocking) {
    let line = [b'-'; 4096];
    for _ in 0..64 {
        here!(log.write_all(&line)).expect("it never fails");
    }
}

#[inline(never)]
fn confirm() {
    let mut answer = String::new();
    let read = here!(std::io::stdin().read_line(&mut answer));
    assert_eq!(read.expect("an end"), 0);
}

/// A connection that nobody writes to or reads from.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let here = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (there, _) = listener.accept().expect("a peer");
    (here, there)
}

/// A server that accepts and says nothing until the end.
fn silent_server(stage: &Stage) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            kept.lock().expect("not poisoned").push(peer);
        }
    });
    stage.at_release(move || {
        for mut peer in accepted.lock().expect("not poisoned").drain(..) {
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            peer.write_all(answer.as_bytes()).expect("somebody waits");
        }
    });
    format!("http://{address}/")
}

#[inline(never)]
fn read_quote(mut server: TcpStream) {
    let read = here!(server.read(&mut [0; 64]));
    assert_eq!(read.expect("an end"), 0);
}

#[inline(never)]
fn replicate(mut follower: TcpStream) {
    let entries = vec![7; 64 << 20];
    let written = here!(follower.write_all(&entries));
    assert!(written.is_err(), "the other end is closed");
}

#[inline(never)]
fn receive(socket: &UdpSocket) {
    let received = here!(socket.recv_from(&mut [0; 64]));
    received.expect("a datagram");
}

#[inline(never)]
fn ask_agent(mut agent: UnixStream) {
    let mut answer = String::new();
    let read = here!(agent.read_to_string(&mut answer));
    assert_eq!(read.expect("an end"), 0);
}

#[inline(never)]
fn domains(server: &str) {
    let answer = here!(ureq::get(server).call());
    answer.expect("an answer in the end");
}

#[inline(never)]
fn newest_release(server: &str) {
    let answer = here!(minreq::get(server).send());
    answer.expect("an answer in the end");
}

fn file_lock(stage: &Stage) {
    let path = folder().join("slot.lock");
    let holder = File::create(&path).expect("a folder");
    flock(&holder, FlockOperation::LockExclusive).expect("nobody has it");
    stage.at_release(|| drop(holder));
    stage.get_once("/slot", move || take_slot(&File::open(&path).expect("it is there")));
}

#[inline(never)]
fn take_slot(slot: &File) {
    let taken = here!(flock(slot.as_fd(), FlockOperation::LockExclusive));
    taken.expect("in the end");
}

fn sqlite_busy(stage: &Stage) {
    let path = folder().join("notes.db");
    let writer = Connection::open(&path).expect("a database");
    writer.execute_batch("CREATE TABLE notes (text); BEGIN IMMEDIATE").expect("SQL");
    stage.at_release(move || writer.execute_batch("COMMIT").expect("SQL"));
    let notes = Connection::open(&path).expect("a database");
    notes.busy_timeout(Duration::from_secs(20)).expect("a number");
    stage.get_once("/notes", move || add_note(&notes));
}

#[inline(never)]
fn add_note(notes: &Connection) {
    let added = here!(notes.execute("INSERT INTO notes VALUES ('seven')", []));
    added.expect("in the end");
}

/// Ends by an interrupt.
fn sqlite_long_query(stage: &Stage) {
    let database = Connection::open_in_memory().expect("a database");
    let interrupt = database.get_interrupt_handle();
    stage.at_release(move || interrupt.interrupt());
    stage.get_once("/statistics", move || statistics(&database));
}

const LONG_QUERY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
    SELECT count(*) FROM n";

#[inline(never)]
fn statistics(database: &Connection) {
    let count = here!(database.query_row(LONG_QUERY, [], |row| row.get::<_, i64>(0)));
    assert!(count.is_err(), "it was interrupted");
}

struct Manager;

impl r2d2::ManageConnection for Manager {
    type Connection = u32;
    type Error = std::fmt::Error;

    fn connect(&self) -> Result<u32, Self::Error> {
        Ok(7)
    }

    fn is_valid(&self, _: &mut u32) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u32) -> bool {
        false
    }
}

fn pool_exhausted(stage: &Stage) {
    let pool = r2d2::Pool::builder().max_size(1).build(Manager).expect("a pool");
    let busy = pool.get().expect("the only one");
    stage.at_release(|| drop(busy));
    stage.get_once("/users", move || with_connection(&pool));
}

#[inline(never)]
fn with_connection(pool: &r2d2::Pool<Manager>) {
    let connection = here!(pool.get());
    assert_eq!(*connection.expect("in the end"), 7);
}
