//! What to write instead of a blocking call, by the crate that made it and by what the thread does.

use std::sync::Arc;

use crate::stall::{Cause, CodePath, Frame, Hints, Situation, Situations};

use Cause::{Blocked, Cpu, FileIo, NetworkIo, ProcessWait, Sleep, Unknown};
use Situation::{Of, ReadsPipe, WritesPipe};

const BLOCK_ON: &str = "await the future instead of blocking on it";
const CHANNEL: &str = "use a channel of tokio::sync and its recv().await, or move the wait to tokio::task::spawn_blocking(..)";
const LOCK: &str =
    "hold the lock for less and never during slow work, or take a tokio::sync lock with .await";
const HASH: &str = "hash in tokio::task::spawn_blocking(..)";
const PACK: &str = "pack and unpack in tokio::task::spawn_blocking(..), or use async-compression";
const REGEX: &str =
    "compile the expression once and bound its input, or match in tokio::task::spawn_blocking(..)";
const RAYON: &str =
    "start the work with rayon::spawn and await its result by a tokio::sync::oneshot channel";
const LOOKUP: &str = "use tokio::net::lookup_host(..).await";
const JOIN: &str = "await a task's JoinHandle instead of joining a thread";
const OUTPUT: &str = "whoever reads the output is slow: write it from a thread of its own, as tracing-appender's non_blocking does";
const INPUT: &str = "read it with tokio::io::stdin(), or in tokio::task::spawn_blocking(..)";

/// Nothing that is known contradicts: every fix that the stack shows may be one.
const UNCLEAR: Situations = Situations::of(&[Of(Blocked), Of(Unknown)]);
const COMPUTES: Situations = UNCLEAR.and(Situations::of(&[Of(Cpu)]));
const WAITS_FOR_OTHERS: Situations = UNCLEAR.and(Situations::of(&[Of(Cause::Lock)]));
const PIPES: Situations = Situations::of(&[ReadsPipe, WritesPipe]);
/// Not of pipes: equal functions have one place in a program, and the name of any of them.
const CHILDREN: Situations =
    WAITS_FOR_OTHERS.and(READS_OR_WRITES).and(Situations::of(&[Of(Sleep), Of(ProcessWait)]));
const READS_OR_WRITES: Situations = UNCLEAR.and(Situations::of(&[Of(FileIo), Of(NetworkIo)]));
const FILES: Situations = COMPUTES.and(Situations::of(&[Of(FileIo)]));
const WORKS_ON_DATA: Situations = COMPUTES.and(READS_OR_WRITES).and(PIPES);
const WAITS: Situations = WAITS_FOR_OTHERS
    .and(READS_OR_WRITES)
    .and(PIPES)
    .and(Situations::of(&[Of(Sleep), Of(ProcessWait)]));
const ANY: Situations = WAITS.and(COMPUTES);

/// Paths of modules, types and functions, what the thread must do, and the hint. The first that matches
/// a frame counts.
///
/// A symbol has the type that a function is of; line tables have the module of its file alone, and so
/// rows name functions after an `@`, which hold for the last part of a name.
const HINTS: &[(&str, Situations, &str)] = &[
    ("reqwest::blocking", ANY, "use reqwest::Client and .await"),
    (
        "ureq",
        ANY,
        "use an async client such as reqwest::Client, or tokio::task::spawn_blocking(..)",
    ),
    (
        "rusqlite",
        ANY,
        "query in tokio::task::spawn_blocking(..), or use tokio-rusqlite; a busy_timeout waits on the thread",
    ),
    ("diesel", ANY, "use diesel-async, or query in tokio::task::spawn_blocking(..)"),
    ("postgres", ANY, "use tokio-postgres, which postgres wraps"),
    ("mysql", ANY, "use mysql_async"),
    ("redis", ANY, "use redis's get_multiplexed_async_connection().await"),
    ("argon2", COMPUTES, HASH),
    ("bcrypt", COMPUTES, HASH),
    ("scrypt", COMPUTES, HASH),
    ("image", WORKS_ON_DATA, "decode and resize in tokio::task::spawn_blocking(..)"),
    ("zip", WORKS_ON_DATA, PACK),
    ("flate2", WORKS_ON_DATA, PACK),
    ("zstd", WORKS_ON_DATA, PACK),
    ("brotli", WORKS_ON_DATA, PACK),
    ("regex", COMPUTES, REGEX),
    ("regex_automata", COMPUTES, REGEX),
    ("fancy_regex", COMPUTES, REGEX),
    ("serde_json", WORKS_ON_DATA, "handle large documents in tokio::task::spawn_blocking(..)"),
    ("futures_executor", WAITS, BLOCK_ON),
    ("tokio::runtime::handle@block_on", WAITS, BLOCK_ON),
    ("tokio::runtime::runtime@block_on", WAITS, BLOCK_ON),
    ("crossbeam_channel", WAITS_FOR_OTHERS, CHANNEL),
    ("std::sync::mpsc", WAITS_FOR_OTHERS, CHANNEL),
    ("std::sync::mpmc", WAITS_FOR_OTHERS, CHANNEL),
    ("rayon", ANY, RAYON),
    ("rayon_core", ANY, RAYON),
    ("std::fs", FILES, "use tokio::fs, or move the work to tokio::task::spawn_blocking(..)"),
    ("std::process", CHILDREN, "use tokio::process::Command"),
    ("std::net::socket_addr", WAITS, LOOKUP),
    ("std::sys::net::connection::socket@lookup_host", WAITS, LOOKUP),
    ("getaddrinfo", WAITS, LOOKUP),
    ("std::thread::join_handle", WAITS_FOR_OTHERS, JOIN),
    ("std::thread@join", WAITS_FOR_OTHERS, JOIN),
    ("std::thread::scoped", WAITS_FOR_OTHERS, JOIN),
    ("std::io::stdio", Situations::of(&[ReadsPipe]), INPUT),
    ("std::io::stdio", WAITS, OUTPUT),
    ("parking_lot", WAITS_FOR_OTHERS, LOCK),
    ("lock_api", WAITS_FOR_OTHERS, LOCK),
    ("std::sync::poison::mutex", WAITS_FOR_OTHERS, LOCK),
    ("std::sync::poison::rwlock", WAITS_FOR_OTHERS, LOCK),
    ("std::sys::sync::mutex", WAITS_FOR_OTHERS, LOCK),
    ("std::sys::sync::rwlock", WAITS_FOR_OTHERS, LOCK),
];

/// What polls tasks and handlers: outer frames are not called by user code.
const POLLS: [&str; 2] = ["tokio::runtime::task", "axum"];

/// Better fixes than the cause's own, if the user's code has called known crates. `called` are the
/// frames inside of the user's code, innermost first. The crate nearest to the user's code comes
/// first: the others are what it is built of.
pub(crate) fn hints(called: &[Arc<Frame>]) -> Hints {
    let is_outer = |path: &CodePath<'_>| POLLS.iter().any(|polls| path.is_in(polls));
    let paths = called.iter().map(|frame| (frame, frame.code_path()));
    let inside: Vec<_> = paths.take_while(|(_, path)| !is_outer(path)).collect();
    let mut hints = Vec::new();
    for (frame, path) in inside.iter().rev() {
        for (_, situations, hint) in HINTS.iter().filter(|(place, ..)| is_at(frame, path, place)) {
            if !hints.contains(&(*situations, *hint)) {
                hints.push((*situations, *hint));
            }
        }
    }
    hints.into_iter().collect()
}

fn is_at(frame: &Frame, path: &CodePath<'_>, place: &str) -> bool {
    match place.split_once('@') {
        Some((module, name)) => path.is_in(module) && frame.name().starts_with(name),
        None => path.is_in(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STD: &str = "/rustc/59807616/library/std/src/";
    const CRATES: &str = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c/";

    /// Frames of functions, or of functions and files with a space between.
    fn hint_of(frames: &[&str], situation: Situation) -> Option<&'static str> {
        let frame = |frame: &&str| {
            let (function, file) = frame.split_once(" at ").unwrap_or((frame, ""));
            let file = file.replace("STD/", STD).replace("CRATES/", CRATES);
            Arc::new(Frame {
                function: Some(function.to_owned()),
                file: (!file.is_empty()).then_some(file),
                ..Frame::default()
            })
        };
        hints(&frames.iter().map(frame).collect::<Vec<_>>()).fix(situation)
    }

    #[test]
    fn the_crate_nearest_to_the_users_code_counts() {
        let blocking = ["syscall", "std::thread::park", "reqwest::blocking::wait::timeout"];
        assert_eq!(hint_of(&blocking, Of(Cause::Lock)), Some("use reqwest::Client and .await"));
        let wrapped = ["std::sys::sync::mutex::futex::Mutex::lock_contended", "diesel::query"];
        let hint = hint_of(&wrapped, Of(Cause::Lock));
        assert!(hint.is_some_and(|hint| hint.contains("diesel-async")));
        assert_eq!(hint_of(&["clock_nanosleep", "std::thread::sleep"], Of(Sleep)), None);
    }

    #[test]
    fn what_polls_the_users_code_does_not_count() {
        let outer = ["futex", "<F as axum::handler::Handler<T,S>>::call", "reqwest::blocking::x"];
        assert_eq!(hint_of(&outer, Of(Cause::Lock)), None);
        let outer =
            ["tokio::runtime::task::raw::poll", "tokio::runtime::runtime::Runtime::block_on"];
        assert_eq!(hint_of(&outer, Of(Cause::Lock)), None);
        let outer =
            ["poll at CRATES/tokio-1.54.1/src/runtime/task/raw.rs", "diesel::query", "app::f"];
        assert_eq!(hint_of(&outer, Of(Cause::Lock)), None);
    }

    #[test]
    fn types_and_traits_are_looked_into() {
        let lookup = "<(&str,u16) as std::net::socket_addr::ToSocketAddrs>::to_socket_addrs";
        assert_eq!(hint_of(&["getaddrinfo", lookup], Of(Blocked)), Some(LOOKUP));
        assert_eq!(
            hint_of(&["<std::sync::mpsc::Receiver<T>>::recv"], Of(Cause::Lock)),
            Some(CHANNEL)
        );
        let packer = "<&mut flate2::gz::GzDecoder as std::io::Read>::read";
        assert_eq!(hint_of(&[packer], Of(Cpu)), Some(PACK));
    }

    #[test]
    fn the_file_tells_the_crate_where_the_name_has_no_path() {
        for (frames, situation, expected) in [
            (["recv<()> at STD/sync/mpsc.rs", ""], Of(Cause::Lock), CHANNEL),
            (
                ["x<()> at CRATES/crossbeam-channel-0.5.15/src/context.rs", ""],
                Of(Cause::Lock),
                CHANNEL,
            ),
            (
                ["block_on<F> at CRATES/tokio-1.54.1/src/runtime/handle.rs", ""],
                Of(Cause::Lock),
                BLOCK_ON,
            ),
            (
                ["block_on<F> at CRATES/tokio-1.54.1/src/runtime/runtime.rs", ""],
                Of(Cause::Lock),
                BLOCK_ON,
            ),
            (["fill_block at CRATES/argon2-0.5.3/src/block.rs", "argon2::x"], Of(Cpu), HASH),
            (["join<()> at STD/thread/join_handle.rs", ""], Of(Cause::Lock), JOIN),
            (
                ["scope<F> at STD/thread/scoped.rs", "park at STD/thread/mod.rs"],
                Of(Cause::Lock),
                JOIN,
            ),
            (["write_all at STD/io/stdio.rs", ""], WritesPipe, OUTPUT),
        ] {
            assert_eq!(hint_of(&frames, situation), Some(expected), "{frames:?}");
        }
    }

    #[test]
    fn a_hint_fits_to_what_the_thread_does() {
        let select = ["parking_lot::raw_mutex::RawMutex::lock", "tokio::sync::mpsc::poll_recv"];
        assert_eq!(hint_of(&select, Of(Cpu)), None, "it computes and waits for no lock");
        assert_eq!(hint_of(&select, Of(Cause::Lock)), Some(LOCK));
        let file = ["read", "<std::fs::File as std::io::Read>::read"];
        assert!(hint_of(&file, Of(FileIo)).is_some_and(|hint| hint.contains("tokio::fs")));
        assert_eq!(hint_of(&file, ReadsPipe), None, "no file");
        assert_eq!(hint_of(&file, WritesPipe), None, "no file");
        let child = ["read", "<std::process::ChildStdout as std::io::Read>::read"];
        assert_eq!(hint_of(&child, ReadsPipe), None, "it may be any pipe");
        let output = ["poll", "std::process::Command::output"];
        assert_eq!(hint_of(&output, Of(ProcessWait)), Some("use tokio::process::Command"));
        assert_eq!(hint_of(&["std::io::stdio::Stdin::read_line"], ReadsPipe), Some(INPUT));
        // The lock of the standard output is held by who waits for its reader.
        assert_eq!(hint_of(&["std::io::stdio::Stdout::lock"], Of(Cause::Lock)), Some(OUTPUT));
    }
}
