//! Child processes.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::case::{Case, told};
use crate::stage::Stage;

const FIX: &str = "tokio::process::Command";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "command-status",
        "bottlerocket-os/bottlerocket-test-system#276",
        &[told("GET /build", "process_wait", "cases::processes::build", FIX)],
        |stage| {
            let command = long_command(stage);
            stage.get_once("/build", move || build(command));
        },
    ),
    Case::new(
        "command-output",
        "gabrielkoerich/orch#1624, eastreams/loong#423, neptaco/mcproc#41",
        &[told("GET /ports", "process_wait", "cases::processes::ports", FIX)],
        |stage| {
            let command = long_command(stage);
            stage.get_once("/ports", move || ports(command));
        },
    ),
    Case::new(
        "child-wait",
        "tauri-apps/plugins-workspace#1947",
        &[told("GET /wait", "process_wait", "cases::processes::wait", FIX)],
        |stage| {
            let command = long_command(stage);
            stage.get_once("/wait", move || wait(command));
        },
    ),
    Case::new(
        "child-stdout-read",
        "Reloaded-Project/ReloadedCode#9, tauri-apps/tauri#3505",
        &[told(
            "GET /ls",
            "process_wait|file_io",
            "cases::processes::read_output",
            "tokio::process",
        )],
        |stage| {
            let command = long_command(stage);
            stage.get_once("/ls", move || read_output(command));
        },
    ),
];

/// A command that takes until the end.
fn long_command(stage: &Stage) -> Command {
    let (read, write) = std::io::pipe().expect("a pipe");
    stage.at_release(|| drop(write));
    let mut command = Command::new("cat");
    command.stdin(read);
    command
}

#[inline(never)]
fn build(mut command: Command) {
    let status = here!(command.status());
    assert!(status.expect("cat runs").success());
}

#[inline(never)]
fn ports(mut command: Command) {
    let output = here!(command.output());
    assert!(output.expect("cat runs").status.success());
}

#[inline(never)]
fn wait(mut command: Command) {
    let mut child = command.spawn().expect("cat runs");
    let status = here!(child.wait());
    assert!(status.expect("it ends").success());
}

#[inline(never)]
fn read_output(mut command: Command) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("cat runs");
    let mut text = String::new();
    let read = here!(child.stdout.take().expect("piped").read_to_string(&mut text));
    read.expect("text");
    child.wait().expect("it ends");
}
