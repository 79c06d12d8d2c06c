//! What is expected of each fault. `tests/platform` and `tests/soak` include this file too.

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    /// The name of the fault; its handler is `GET /` and this.
    pub(crate) name: &'static str,
    pub(crate) cause: &'static str,
    /// What the detail has in it.
    pub(crate) detail: &'static str,
    /// The function of the site, without `tower_stall_faults::`.
    pub(crate) function: &'static str,
    pub(crate) kind: Kind,
}

/// What is special about the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Usual,
    /// Outer frames are out of reach.
    Partial,
    /// The function is inlined in a release build, so it is known by debug information alone.
    Inlined,
    /// Own code on the stack only awaits.
    Awaits,
    /// In a task that no layer and no server is around.
    Task,
}

const fn row(
    name: &'static str,
    cause: &'static str,
    detail: &'static str,
    function: &'static str,
) -> Expected {
    Expected { name, cause, detail, function, kind: Kind::Usual }
}

const fn with(kind: Kind, row: Expected) -> Expected {
    Expected { kind, ..row }
}

const DROP: &str = "sleep::Flushed as core::ops::drop::Drop>::drop";

pub(crate) const FAULTS: &[Expected] = &[
    with(Kind::Awaits, row("middleware-inside", "lock", "futex", "")),
    with(Kind::Awaits, row("middleware-outside", "lock", "futex", "")),
    with(Kind::Task, row("plain-task", "lock", "futex", "awaits::plain_task")),
    row("spin", "cpu", "", "compute::spin"),
    row("spin-in-leaf", "cpu", "", "compute::spin_in_leaf"),
    row("argon2", "cpu", "", "compute::hash_password"),
    // What a `poll` waits for stands in memory, so it is no `network_io`.
    row("dns-lookup", "blocked", "poll", "dns::dns_lookup"),
    row("std-mutex", "lock", "futex", "locks::std_mutex"),
    row("std-rwlock", "lock", "futex", "locks::std_rwlock"),
    row("std-condvar", "lock", "futex", "locks::std_condvar"),
    row("parking-lot-mutex", "lock", "futex", "locks::parking_lot_mutex"),
    row("std-recv", "lock", "futex", "locks::std_recv"),
    row("scope-join", "lock", "futex", "locks::scope_join"),
    row("crossbeam-recv", "lock", "futex", "locks::crossbeam_recv"),
    row("handle-block-on", "lock", "futex", "nested::handle_block_on"),
    row("futures-block-on", "lock", "futex", "nested::futures_block_on"),
    row("tcp-read", "network_io", "recvfrom from 127.0.0.1:", "network::tcp_read"),
    row("tcp-read-timeout", "network_io", "recvfrom from 127.0.0.1:", "network::tcp_read_timeout"),
    row("tcp-connect", "network_io", "connect to 127.0.0.1:", "network::tcp_connect"),
    row("udp-recv", "network_io", "recvfrom", "network::udp_recv"),
    row("unix-socket", "network_io", "recvfrom from a Unix socket", "network::unix_socket"),
    row("poll", "blocked", "poll", "network::poll"),
    row("ureq", "network_io", "recvfrom from 127.0.0.1:", "network::http_client"),
    row("thread-sleep", "sleep", "clock_nanosleep", "sleep::thread_sleep"),
    with(Kind::Inlined, row("async-sleep", "sleep", "clock_nanosleep", "sleep::async_sleep")),
    row("usleep", "sleep", "nanosleep", "sleep::usleep"),
    row("destructor", "sleep", "clock_nanosleep", DROP),
    with(Kind::Partial, row("deep-recursion", "sleep", "nanosleep", "stack::deep_recursion")),
    with(Kind::Partial, row("stacker-segment", "sleep", "nanosleep", "stack::on_the_segment")),
    row("fifo-read", "file_io", "read of /", "system::fifo_read"),
    row("flock", "lock", "flock", "system::flock"),
    // Its busy handler sleeps and tries again.
    row("sqlite-busy", "sleep", "nanosleep", "system::sqlite_busy"),
    row("command-status", "process_wait", "wait", "system::command_status"),
    row(
        "command-output",
        "process_wait",
        "poll of the outputs of a child",
        "system::command_output",
    ),
    row("child-stdout", "file_io", "read of a pipe", "system::child_stdout"),
    row("pipe-read", "file_io", "read of a pipe", "system::pipe_read"),
    row("println-full-pipe", "file_io", "write of a pipe", "system::println_full_pipe"),
];

/// What the fix has in it where the stack shows who blocks.
pub(crate) const HINTS: &[(&str, &str)] = &[
    ("middleware-inside", "await a task's JoinHandle"),
    ("middleware-outside", "await a task's JoinHandle"),
    ("plain-task", "use a channel of tokio::sync"),
    ("scope-join", "await a task's JoinHandle"),
    ("pipe-read", "tokio::net::unix::pipe"),
    ("command-output", "use tokio::process::Command"),
    ("child-stdout", "tokio::process"),
    ("argon2", "hash in tokio::task::spawn_blocking"),
    ("dns-lookup", "tokio::net::lookup_host"),
    ("std-mutex", "never during slow work"),
    ("std-rwlock", "never during slow work"),
    ("parking-lot-mutex", "never during slow work"),
    ("std-recv", "use a channel of tokio::sync"),
    ("crossbeam-recv", "use a channel of tokio::sync"),
    ("handle-block-on", "await the future"),
    ("futures-block-on", "await the future"),
    ("ureq", "reqwest::Client"),
    ("sqlite-busy", "tokio-rusqlite"),
    ("println-full-pipe", "is slow: write"),
];

/// Who holds the lock that is waited for: the function of its site, without `tower_stall_faults::`.
pub(crate) const HOLDERS: &[(&str, &str)] = &[
    ("std-mutex", "locks::wait_with"),
    ("std-rwlock", "locks::wait_with"),
    ("parking-lot-mutex", "locks::wait_with"),
];

/// What the fix of each cause has in it.
pub(crate) const FIXES: &[(&str, &str)] = &[
    ("cpu", "move the computation to tokio::task::spawn_blocking"),
    ("sleep", "use tokio::time::sleep(..).await"),
    ("lock", "take a tokio::sync lock with .await"),
    ("network_io", "use an async client or tokio::net"),
    ("file_io", "use tokio::fs"),
    ("process_wait", "use tokio::process::Command"),
    ("blocked", "await the async counterpart of the blocking call"),
];
