//! How the page and the flame graph name frames.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::label::printable;
use crate::stall::{CodePath, Frame};

/// A frame whose file is named without the folder that the program was started in, as sites are, and without
/// those where cargo and rustup keep the code of others: they tell nothing of a stall, but who built it.
pub(super) fn short(frame: &Frame) -> Frame {
    let file = frame.file.as_deref().map(|file| short_file(file).to_owned());
    Frame { file, ..frame.clone() }
}

fn short_file(file: &str) -> &str {
    let after = |folders| file.split_once(folders).map(|(_, rest)| rest);
    let of_registry = after("/registry/src/").and_then(|rest| rest.split_once('/'));
    let of_rust = CodePath::in_std(file).and_then(|file| file.strip_prefix("library/"));
    of_registry
        .map(|(_, rest)| rest)
        .or_else(|| after("/git/checkouts/"))
        .or(of_rust)
        .or_else(|| below_here(file))
        .unwrap_or(file)
}

fn below_here(file: &str) -> Option<&str> {
    static HERE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let here = HERE.get_or_init(|| std::env::current_dir().ok()).as_ref()?;
    Path::new(file).strip_prefix(here).ok()?.to_str()
}

/// A name in the flame graph: without the separator of frames.
pub(super) fn plain(name: &str) -> String {
    printable(name).replace(';', ":")
}

/// What the flame graph is asked for to show where a function is: a regular expression, as a part of a URL.
pub(super) fn search_for(function: &str) -> String {
    let mut search = String::new();
    for byte in plain(function).bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => search.push(byte.into()),
            // A backslash makes it stand for itself.
            0..=0x7f => search += &format!("%5C%{byte:02X}"),
            _ => search += &format!("%{byte:02X}"),
        }
    }
    search
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_without_the_folders_of_a_home() {
        let here = std::env::current_dir().expect("a folder").join("src/main.rs");
        for (file, shown) in [
            (here.to_str().expect("text"), "src/main.rs"),
            ("/rustc/59807616e1fa/library/std/src/thread/mod.rs", "std/src/thread/mod.rs"),
            ("/usr/src/rustc-1.96.0/library/core/src/num/mod.rs", "core/src/num/mod.rs"),
            (
                "/home/me/.rustup/toolchains/stable/lib/rustlib/src/rust/library/core/src/pin.rs",
                "core/src/pin.rs",
            ),
            (
                "/home/me/.cargo/registry/src/index-1949/axum-0.8.9/src/lib.rs",
                "axum-0.8.9/src/lib.rs",
            ),
            (
                "/home/me/.cargo/git/checkouts/axum-12ab/34cd/src/lib.rs",
                "axum-12ab/34cd/src/lib.rs",
            ),
            ("/home/me/library/src/main.rs", "/home/me/library/src/main.rs"),
            ("src/main.rs", "src/main.rs"),
        ] {
            let frame = Frame { file: Some(file.to_owned()), line: Some(7), ..Frame::default() };
            assert_eq!(short(&frame).to_string(), format!("?+0x0 at {shown}:7"));
        }
    }

    #[test]
    fn a_search_has_no_special_characters() {
        assert_eq!(search_for("app::load"), "app%5C%3A%5C%3Aload");
        assert_eq!(search_for("<T as F>::a;b"), "%5C%3CT%5C%20as%5C%20F%5C%3E%5C%3A%5C%3Aa%5C%3Ab");
        assert_eq!(search_for("größe"), "gr%C3%B6%C3%9Fe");
    }
}
