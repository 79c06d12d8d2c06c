//! What to write instead of a blocking call, by the crate that made it.

use std::sync::Arc;

use crate::stall::Frame;

const PIPE: &str = "whoever reads the output is slow: write it from a thread of its own, as tracing-appender's non_blocking does";
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

/// Prefixes of function names, each with its hint. The first that matches counts.
const HINTS: &[(&str, &str)] = &[
    ("reqwest::blocking::", "use reqwest::Client and .await"),
    ("ureq::", "use an async client such as reqwest::Client, or tokio::task::spawn_blocking(..)"),
    (
        "rusqlite::",
        "query in tokio::task::spawn_blocking(..), or use tokio-rusqlite; a busy_timeout waits on the thread",
    ),
    ("diesel::", "use diesel-async, or query in tokio::task::spawn_blocking(..)"),
    ("postgres::", "use tokio-postgres, which postgres wraps"),
    ("mysql::", "use mysql_async"),
    ("redis::", "use redis's get_multiplexed_async_connection().await"),
    ("argon2::", HASH),
    ("bcrypt::", HASH),
    ("scrypt::", HASH),
    ("image::", "decode and resize in tokio::task::spawn_blocking(..)"),
    ("zip::", PACK),
    ("flate2::", PACK),
    ("zstd::", PACK),
    ("brotli::", PACK),
    ("regex::", REGEX),
    ("regex_automata::", REGEX),
    ("fancy_regex::", REGEX),
    ("serde_json::", "handle large documents in tokio::task::spawn_blocking(..)"),
    ("futures_executor::", BLOCK_ON),
    ("tokio::runtime::handle::Handle::block_on", BLOCK_ON),
    ("tokio::runtime::runtime::Runtime::block_on", BLOCK_ON),
    ("crossbeam_channel::", CHANNEL),
    ("std::sync::mpsc::", CHANNEL),
    ("std::sync::mpmc::", CHANNEL),
    ("rayon::", RAYON),
    ("rayon_core::", RAYON),
    ("std::fs::", "use tokio::fs, or move the work to tokio::task::spawn_blocking(..)"),
    ("std::process::", "use tokio::process::Command"),
    ("std::net::socket_addr::", LOOKUP),
    ("std::sys::net::connection::socket::lookup_host", LOOKUP),
    ("getaddrinfo", LOOKUP),
    ("std::thread::join_handle::", "await a task's JoinHandle instead of joining a thread"),
    ("std::io::stdio::", PIPE),
    ("parking_lot::", LOCK),
    ("lock_api::", LOCK),
    ("std::sync::poison::mutex::", LOCK),
    ("std::sync::poison::rwlock::", LOCK),
    ("std::sys::sync::mutex::", LOCK),
    ("std::sys::sync::rwlock::", LOCK),
];

/// Prefixes of the functions that poll tasks: outer frames are not called by user code.
const POLLS: [&str; 2] = ["tokio::runtime::task::", "axum::"];

/// A better fix than the cause's own, if the user's code has called a known crate. `called` are the
/// frames inside of the user's code, innermost first. The crate nearest to the user's code counts:
/// the others are what it is built of.
pub(crate) fn hint(called: &[Arc<Frame>]) -> Option<&'static str> {
    let functions = called.iter().map_while(|frame| match frame.function.as_deref() {
        Some(function) if POLLS.iter().any(|polls| fits(function, polls)) => None,
        function => Some(function.unwrap_or_default()),
    });
    functions.filter_map(of_function).last()
}

fn of_function(function: &str) -> Option<&'static str> {
    HINTS.iter().find(|(begin, _)| fits(function, begin)).map(|(_, hint)| *hint)
}

/// Whether the name of a function, of its type or of its trait has that prefix.
fn fits(function: &str, begin: &str) -> bool {
    // `<Type as Trait>::method` begins with the type, after references and the like.
    let path = function.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = ["mut ", "dyn ", "impl "]
        .iter()
        .fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let of_trait = function.split_once(" as ").map_or("", |(_, of_trait)| of_trait);
    path.starts_with(begin) || of_trait.starts_with(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(functions: &[&str]) -> Option<&'static str> {
        let frame =
            |function: &&str| Frame { function: Some((*function).to_owned()), ..Frame::default() };
        let frames: Vec<_> = functions.iter().map(frame).map(Arc::new).collect();
        hint(&frames)
    }

    #[test]
    fn the_crate_nearest_to_the_users_code_counts() {
        let blocking = ["syscall", "std::thread::park", "reqwest::blocking::wait::timeout"];
        assert_eq!(hint_of(&blocking), Some("use reqwest::Client and .await"));
        let wrapped = ["std::sys::sync::mutex::futex::Mutex::lock_contended", "diesel::query"];
        assert!(hint_of(&wrapped).is_some_and(|hint| hint.contains("diesel-async")));
        assert_eq!(hint_of(&["clock_nanosleep", "std::thread::sleep"]), None);
    }

    #[test]
    fn what_polls_the_users_code_does_not_count() {
        let outer = ["futex", "<F as axum::handler::Handler<T,S>>::call", "reqwest::blocking::x"];
        assert_eq!(hint_of(&outer), None);
        let outer =
            ["tokio::runtime::task::raw::poll", "tokio::runtime::runtime::Runtime::block_on"];
        assert_eq!(hint_of(&outer), None);
    }

    #[test]
    fn types_and_traits_are_looked_into() {
        let lookup = "<(&str,u16) as std::net::socket_addr::ToSocketAddrs>::to_socket_addrs";
        assert_eq!(hint_of(&["getaddrinfo", lookup]), Some(LOOKUP));
        assert_eq!(hint_of(&["<std::sync::mpsc::Receiver<T>>::recv"]), Some(CHANNEL));
        assert_eq!(hint_of(&["<&mut flate2::gz::GzDecoder as std::io::Read>::read"]), Some(PACK));
    }
}
