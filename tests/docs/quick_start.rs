//! The quick start in a folder of its own, as somebody begins.

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");

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
