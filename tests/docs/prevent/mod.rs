//! The preset for clippy in `docs/clippy.toml`: it names each blocking call of std with what to
//! use instead, and lets clean code pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::needs::skip;

const PRESET: &str = include_str!("../../../docs/clippy.toml");

/// Reasons by path, those of std and others.
fn preset() -> (BTreeMap<&'static str, &'static str>, BTreeSet<&'static str>) {
    let (mut std, mut others) = (BTreeMap::new(), BTreeSet::new());
    for line in PRESET.lines().filter_map(|line| line.trim().strip_prefix("{ path = ")) {
        let [_, path, _, reason, rest] = line.splitn(5, '"').collect::<Vec<_>>()[..] else {
            panic!("a path and a reason: {line}")
        };
        // Whoever copies it does not have every crate; std is always there.
        assert_eq!(rest.contains("allow-invalid"), !path.starts_with("std::"), "{line}");
        let is_new = if path.starts_with("std::") {
            std.insert(path, reason).is_none()
        } else {
            others.insert(path)
        };
        assert!(is_new, "{path} is there twice");
    }
    assert!(std.len() > 60 && others.len() > 10, "the preset was read");
    (std, others)
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["clippy", "--quiet"]).stdin(Stdio::null());
    cargo
}

/// What clippy said of a crate.
struct Said {
    is_ok: bool,
    messages: Vec<Value>,
    errors: String,
}

/// Makes a crate of that source and the preset, and runs clippy on it.
fn clippy(name: &str, source: &str) -> Option<Said> {
    clippy_with(name, source, PRESET)
}

fn clippy_with(name: &str, source: &str, preset: &str) -> Option<Said> {
    if !cargo().arg("--version").output().is_ok_and(|output| output.status.success()) {
        skip("there is no cargo clippy (rustup component add clippy)");
        return None;
    }
    let folder = Folder::new(name);
    fs::create_dir(folder.0.join("src")).expect("a folder");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n"
    );
    for (file, text) in
        [("Cargo.toml", &*manifest), ("clippy.toml", preset), ("src/lib.rs", source)]
    {
        fs::write(folder.0.join(file), text).expect("a file");
    }
    let mut command = cargo();
    command.args(["--offline", "--message-format=json"]).current_dir(&folder.0);
    command.args(["--", "-D", "clippy::disallowed_methods"]);
    command.env("CARGO_TARGET_DIR", folder.0.join("target")).env_remove("CLIPPY_CONF_DIR");
    let output = command.output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let messages = lines.filter_map(|line| line.get("message").cloned());
    Some(Said {
        is_ok: output.status.success(),
        messages: messages.collect(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A folder of its own, gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text<'a>(message: &'a Value, key: &str) -> &'a str {
    message[key].as_str().unwrap_or_default()
}

fn code(message: &Value) -> &str {
    message["code"]["code"].as_str().unwrap_or_default()
}

#[test]
fn each_blocking_call_of_std_is_named_with_its_reason() {
    let Some(said) = clippy("blocking", include_str!("blocking.rs")) else { return };
    let is_disallowed = |message: &&Value| code(message) == "clippy::disallowed_methods";
    let named: BTreeMap<_, _> = said
        .messages
        .iter()
        .filter(is_disallowed)
        .map(|message| {
            assert_eq!(text(message, "level"), "error");
            let path = text(message, "message").split('`').nth(1).expect("a path");
            let notes = message["children"].as_array().expect("notes").iter();
            let notes: Vec<_> = notes.map(|note| text(note, "message")).collect();
            (path, notes)
        })
        .collect();
    let (expected, _) = preset();
    let unnamed: Vec<_> = expected.keys().filter(|path| !named.contains_key(*path)).collect();
    assert!(unnamed.is_empty() && named.len() == expected.len(), "{unnamed:#?}\n{}", said.errors);
    for (path, notes) in named {
        assert!(notes.contains(&expected[path]), "{path}: {notes:?}");
    }
    assert!(!said.is_ok);
    // And what clippy finds by itself.
    let codes: BTreeSet<_> = said.messages.iter().map(code).collect();
    assert!(codes.contains("clippy::await_holding_lock"), "{codes:?}");
    assert!(codes.contains("clippy::await_holding_refcell_ref"), "{codes:?}");
}

#[test]
fn clean_code_passes_and_no_entry_is_unknown_to_clippy() {
    let Some(said) = clippy("clean", include_str!("clean.rs")) else { return };
    let messages: Vec<_> = said.messages.iter().map(|message| text(message, "rendered")).collect();
    assert!(said.is_ok && messages.is_empty(), "{messages:#?}\n{}", said.errors);
}

#[test]
fn an_entry_that_does_not_exist_would_be_told() {
    let preset = PRESET.replace("std::thread::sleep\"", "std::thread::slumber\"");
    assert_ne!(preset, PRESET);
    let Some(said) = clippy_with("unknown", include_str!("clean.rs"), &preset) else { return };
    let rendered: Vec<_> = said.messages.iter().map(|message| text(message, "rendered")).collect();
    assert!(rendered.iter().any(|text| text.contains("slumber")), "{rendered:#?}");
}

#[test]
fn what_the_page_shows_of_the_list_is_in_it() {
    let page = include_str!("../../../docs/prevent.md");
    let shown: Vec<_> = page.lines().filter(|line| line.contains("{ path = ")).collect();
    assert!(shown.len() > 1 && shown.iter().all(|line| PRESET.contains(*line)), "{shown:#?}");
}
