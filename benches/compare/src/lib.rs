//! The faults and the contenders, for the service that has them and for the program that compares.

pub mod measure;

/// What a handler of the service does.
#[derive(Debug)]
pub struct Fault {
    /// The name of its route and of its function in `src/bin/service/faults.rs`.
    pub name: &'static str,
    /// For the table.
    pub what: &'static str,
    /// Words by which a report tells why it blocks; none where nothing blocks a worker.
    pub causes: &'static [&'static str],
}

impl Fault {
    /// Whether it blocks no worker, so that nobody should report it.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        self.causes.is_empty()
    }
}

const SLEEP: [&str; 3] = ["sleep", "nanosleep", "clock_nanosleep"];

/// All of them, in the order of the table.
pub const FAULTS: [Fault; 10] = [
    Fault { name: "sleep", what: "`std::thread::sleep`", causes: &SLEEP },
    Fault {
        name: "lock",
        what: "a `std::sync::Mutex` that another thread holds",
        causes: &["lock", "lock_contended", "futex_wait"],
    },
    Fault { name: "cpu", what: "a loop that computes", causes: &["cpu"] },
    Fault {
        name: "file",
        what: "a read of a `std::fs::File`, a pipe",
        causes: &["file_io", "read"],
    },
    Fault {
        name: "network",
        what: "a read of a `std::net::TcpStream`",
        causes: &["network_io", "recv"],
    },
    Fault {
        name: "process",
        what: "a wait for a child process",
        causes: &["process_wait", "wait", "waitpid", "wait4"],
    },
    Fault {
        name: "nested",
        what: "another executor's `block_on`",
        causes: &["lock", "park", "futex_wait", "block_on"],
    },
    Fault { name: "task", what: "a plain spawned task that sleeps", causes: &SLEEP },
    Fault { name: "pool", what: "harmless: `spawn_blocking`", causes: &[] },
    Fault { name: "place", what: "harmless: `block_in_place`", causes: &[] },
];

/// From how long on a poll is to be reported, for each contender that has such a setting.
pub const THRESHOLD_MS: u64 = 100;
