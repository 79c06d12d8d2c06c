//! The page in Chromium, driven by Playwright: before, during and after a stall, and with all the
//! records there can be.

#[path = "../../support/needs.rs"]
mod needs;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use needs::skip;
use support::Scene;

/// What the verdict is: on a busy machine the environment may be to blame at the moment.
const ANY: &str = "";

/// Of `scripts/install-tools`, or named by `STALL_VENV`.
fn python() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv");
    let venv = std::env::var_os("STALL_VENV").map_or_else(own, PathBuf::from);
    venv.join("bin/python")
}

/// Whether there is a browser and what drives it.
fn can_look() -> bool {
    let modules = ["-c", "import axe_playwright_python, html5lib, playwright.sync_api"];
    let ran = |command: &mut Command| command.output().is_ok_and(|ran| ran.status.success());
    let can = ran(Command::new(python()).args(modules))
        && ran(Command::new("/usr/bin/chromium").arg("--version"));
    if !can {
        skip("no Chromium, or no Playwright in target/venv (scripts/install-tools)");
    }
    can
}

/// Looks at a page whose verdict has `expected` in it. Pictures go to `STALL_PICTURES`, if set.
#[track_caller]
fn look(scene: &Scene, path: &str, expected: &str, name: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("look.py");
    let mut command = Command::new(python());
    command.arg(script).arg(format!("http://{}{path}", scene.admin)).arg(expected);
    if let Some(pictures) = std::env::var_os("STALL_PICTURES") {
        let folder = Path::new(&pictures).join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        command.arg(folder);
    }
    let output = command.output().expect("python runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {errors}");
}

#[test]
fn with_no_stall() {
    if can_look() {
        look(&Scene::new(4), "/stalls", ANY, "none");
    }
}

#[test]
fn during_stalls_and_after_them() {
    if !can_look() {
        return;
    }
    let scene = Scene::new(4);
    let first = scene.block("GET /first");
    scene.end(first);
    let open = scene.block("GET /hello/{with}/a/rather/long/template/that/has/to/be/broken");
    look(&scene, "/stalls", "blocks 1 of 4 workers now, for", "during");
    let id = scene.document()["in_progress"][0]["id"].clone();
    look(&scene, &format!("/stalls/{id}"), "blocks 1 of 4 workers now, for", "one");
    scene.end(open);
    look(&scene, "/stalls", ANY, "after");
}

#[test]
fn with_all_the_records_there_can_be() {
    if can_look() {
        let scene = Scene::new(8);
        scene.fill(256);
        look(&scene, "/stalls", ANY, "full");
    }
}
