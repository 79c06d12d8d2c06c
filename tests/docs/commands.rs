//! What the pages tell people to run is there: scripts, examples, packages, benches, tests.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");

/// The text of all pages.
fn pages() -> String {
    let mut paths = vec![Path::new(ROOT).to_owned(), Path::new(ROOT).join("tests")];
    paths.extend(["docs", "docs/fix"].map(|folder| Path::new(ROOT).join(folder)));
    let files = paths.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    let files = files.map(|entry| entry.expect("an entry").path());
    let pages = files.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages = pages.map(|path| fs::read_to_string(path).expect("a page"));
    pages.collect::<Vec<_>>().join("\n")
}

/// The words that follow this one in a text, up to what ends a name.
fn named_after<'a>(text: &'a str, word: &str) -> BTreeSet<&'a str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let rests = text.match_indices(word).map(|(at, _)| &text[at + word.len()..]);
    let names = rests.filter_map(|rest| rest.split(|c| !is_of_name(c)).next());
    // In capitals, or with a star behind it, it stands for any.
    names
        .filter(|name| !name.is_empty() && !name.ends_with('-') && *name == name.to_lowercase())
        .collect()
}

#[test]
fn each_script_that_is_named_exists() {
    let pages = pages();
    let scripts = named_after(&pages, "`scripts/");
    assert!(scripts.len() > 15, "{scripts:?}");
    let entries = fs::read_dir(Path::new(ROOT).join("scripts")).expect("a folder");
    let there = entries.map(|entry| entry.expect("an entry").path());
    let there: BTreeSet<_> = there.filter_map(|path| Some(path.file_stem()?.to_owned())).collect();
    for script in scripts {
        assert!(there.contains(OsStr::new(script)), "scripts/{script}");
    }
}

#[test]
fn each_target_of_cargo_that_is_named_exists() {
    let metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeSet<_> =
        packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let targets =
        packages.iter().flat_map(|package| package["targets"].as_array().expect("targets"));
    let targets: BTreeSet<_> = targets
        .map(|target| (target["kind"][0].as_str().expect("a kind"), target["name"].as_str()))
        .collect();

    let pages = pages();
    for (option, kind) in [("--example ", "example"), ("--bench ", "bench"), ("--test ", "test")] {
        let named = named_after(&pages, option);
        assert!(!named.is_empty(), "{option}");
        for name in named {
            assert!(targets.contains(&(kind, Some(name))), "{option}{name}");
        }
    }
    for package in named_after(&pages, "-p ").into_iter().filter(|it| it.starts_with("tower")) {
        assert!(names.contains(package), "-p {package}");
    }
}

/// The text of all Rust files below, with their paths.
fn sources(folder: &Path) -> String {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let text = |path: std::path::PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(rs) if rs == "rs" => {
            let text = fs::read_to_string(&path).expect("a file of text");
            format!("{}\n{text}", path.display())
        }
        _ => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn each_name_of_a_test_that_is_asked_for_exists() {
    let pages = pages();
    for (words, folder) in [
        ("cargo test --lib ", "src"),
        ("--all-features --lib ", "src"),
        ("-p tower-stall-faults ", "tests/faults"),
    ] {
        let names = named_after(&pages, words);
        assert!(!names.is_empty(), "{words}");
        let sources = sources(&Path::new(ROOT).join(folder));
        for name in names {
            // The name of a function, or of the file that it is in.
            let is_function = |line: &str| {
                let function = line.trim().strip_prefix("fn ").and_then(|it| it.split('(').next());
                function.is_some_and(|function| function.contains(name))
            };
            let is_there =
                sources.contains(&format!("/{name}")) || sources.lines().any(is_function);
            assert!(is_there, "{words}{name} finds no test below {folder}");
        }
    }
}

/// The quick start's manifest makes a service whose crates are found, with the versions of this workspace.
#[test]
fn the_dependencies_of_the_quick_start_resolve() {
    let section = README.split("## Quick start").nth(1).expect("the section");
    let block = section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let manifest = block.expect("a block of TOML").replace("../tower-stall", ROOT);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quick-start");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let package = "[package]\nname = \"service\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
    fs::write(folder.join("Cargo.toml"), format!("{package}\n{manifest}\n[workspace]\n"))
        .expect("a manifest");
    fs::write(folder.join("src/main.rs"), include_str!("../../examples/quickstart.rs"))
        .expect("a program");
    fs::copy(Path::new(ROOT).join("Cargo.lock"), folder.join("Cargo.lock")).expect("a lock file");
    let tree = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--offline", "--prefix", "none", "--depth", "1", "--edges", "normal"])
        .current_dir(&folder)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    for crate_ in ["tower-stall", "axum", "tokio", "tracing-subscriber"] {
        assert!(said.contains(&format!("{crate_} v")), "{said}");
    }
    let _ = fs::remove_dir_all(&folder);
}
