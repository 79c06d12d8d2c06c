//! The program, in each form in which people run theirs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::large;
use crate::needs::is_installed;

/// All of them are made before the first runs: faults of a machine that compiles meanwhile would
/// often be the environment's.
pub(crate) static PROGRAMS: LazyLock<Programs> = LazyLock::new(Programs::make);

#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) debug: PathBuf,
    /// With debug information, but without that of types and variables.
    pub(crate) release: PathBuf,
    pub(crate) abort: PathBuf,
    /// With files and lines alone, as most people build it.
    pub(crate) lines: PathBuf,
    /// As `release`, with much debug information; `None` where there is no C compiler.
    pub(crate) large: Option<PathBuf>,
    /// The same as `release`, without debug information; `None` where there is no `strip`.
    pub(crate) undebugged: Option<PathBuf>,
    /// And without symbols.
    pub(crate) stripped: Option<PathBuf>,
}

impl Programs {
    fn make() -> Self {
        // Has the same file as `release`, and so goes first.
        let large = large::objects().map(|objects| copy(&build("release", &objects), "large"));
        let [debug, release, abort, lines] =
            ["dev", "release", "release-abort", "release-lines"].map(|profile| build(profile, &[]));
        let undebugged = strip(&release, "--strip-debug");
        let stripped = strip(&release, "--strip-all");
        Self { debug, release, abort, lines, large, undebugged, stripped }
    }
}

/// Builds it, with more `objects` linked to it.
fn build(profile: &str, objects: &[PathBuf]) -> PathBuf {
    let package = env!("CARGO_PKG_NAME");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--package", package, "--bin", package, "--profile", profile]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let link = objects.iter().map(|object| format!("-Clink-arg={}", object.display()));
    cargo.arg("--").args(link);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "the profile {profile} builds");
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let mut messages =
        messages.lines().map(|line| serde_json::from_str::<Value>(line).expect("a message"));
    let program = messages.find_map(|message| Some(message["executable"].as_str()?.into()));
    program.expect("a program was built")
}

/// A copy of the program in a folder of that name.
fn copy(program: &Path, folder: &str) -> PathBuf {
    let copied = place(program, folder);
    std::fs::copy(program, &copied).expect("disk space");
    copied
}

/// Where a program of another form goes.
fn place(program: &Path, folder: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(program.file_name().expect("a file"))
}

fn strip(program: &Path, how: &str) -> Option<PathBuf> {
    if !is_installed("strip") {
        return None;
    }
    let stripped = place(program, how.trim_start_matches('-'));
    let status = Command::new("strip").arg(how).arg("-o").args([&stripped, program]).status();
    assert!(status.expect("strip runs").success());
    Some(stripped)
}
