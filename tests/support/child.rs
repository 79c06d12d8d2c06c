//! Tests that need a process of their own: the test binary runs itself again.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Says to the child which test it is to be. (Not `TOWER_STALL_…`: that would be a setting.)
const CHILD: &str = "STALL_TEST_CHILD";
/// The longest take a minute on one machine, and eight on another.
const LIMIT: Duration = Duration::from_secs(1200);

/// Runs `body` in a child process with these variables, and fails as it does. To be called by
/// the test of that name, which the child runs again.
#[track_caller]
pub(crate) fn run(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if is_child(test) {
        return body();
    }
    passed(test, start(test, variables));
}

/// The same in so many processes, one after the other. `body` says whether its process counts: one for which
/// the machine had no CPU does not, and is repeated a few times.
#[track_caller]
pub(crate) fn run_in_each(test: &str, processes: usize, body: impl FnOnce() -> bool) {
    const AGAIN: &str = "this process does not count";
    if is_child(test) {
        if !body() {
            println!("{AGAIN}");
        }
        return;
    }
    let mut left = processes;
    for _ in 0..2 * processes {
        if left > 0 {
            left -= usize::from(!passed(test, start(test, &[])).contains(AGAIN));
        }
    }
    assert!(left < processes, "the machine had no CPU for any of them");
}

/// The same with another program than this binary, a copy of it, and what `set` sets.
#[track_caller]
pub(crate) fn run_copy(
    test: &str,
    program: impl FnOnce() -> Option<PathBuf>,
    set: impl FnOnce(&mut Command),
    body: impl FnOnce(),
) {
    if is_child(test) {
        return body();
    }
    let Some(program) = program() else { return };
    let mut command = command(&program, test, &[]);
    set(&mut command);
    passed(test, command.spawn().expect("a child"));
}

/// The same with a standard output that nobody reads. The body has to end the process itself:
/// the test harness could not write its result.
#[track_caller]
pub(crate) fn run_with_stuck_stdout(test: &str, body: impl FnOnce()) {
    if is_child(test) {
        return body();
    }
    finish(test, start(test, &[]), false);
}

#[track_caller]
fn passed(test: &str, child: Child) -> String {
    let output = finish(test, child, true);
    assert!(output.contains("test result: ok. 1 passed"), "{test} is no test here:\n{output}");
    // Figures, for those who ask for them with --nocapture.
    println!("{output}");
    output
}

fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == test)
}

fn start(test: &str, variables: &[(&str, &str)]) -> Child {
    let program = std::env::current_exe().expect("this binary");
    command(&program, test, variables).spawn().expect("a child")
}

fn command(program: &Path, test: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    for (inherited, _) in std::env::vars_os() {
        if inherited.to_string_lossy().starts_with("TOWER_STALL") {
            command.env_remove(inherited);
        }
    }
    command.env(CHILD, test).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for a success and returns what was written to the standard output, if that is read.
#[track_caller]
fn finish(test: &str, mut child: Child, read_stdout: bool) -> String {
    let errors = read(child.stderr.take().expect("it is piped"));
    // Where it is not read, it stays open and fills up.
    let stdout = child.stdout.take().expect("it is piped");
    let (unread, output) =
        if read_stdout { (None, Some(read(stdout))) } else { (Some(stdout), None) };
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT => break None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if status.is_none() {
        child.kill().expect("it is ours");
        child.wait().expect("it was killed");
    }
    drop(unread);
    let errors = errors.join().expect("no panic");
    let succeeded = status.is_some_and(|status| status.success());
    assert!(succeeded, "the child of {test} ended with {status:?}:\n{errors}");
    output.map_or_else(String::new, |output| output.join().expect("no panic"))
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        // What is not UTF-8 is not of the test harness.
        let _ = pipe.read_to_string(&mut text);
        text
    })
}
