//! Where the code of a frame is from, as its function and its file tell.
//!
//! A symbol has the whole path of a function. Of an inlined one line tables have the last part alone
//! (`run_task`, `{closure#0}`), and the file, which has the crate and the module in it.

use std::borrow::Cow;

use super::frames::Frame;

/// Code that cargo or rustup has fetched, or that was vendored: told by its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched<'a> {
    /// As code calls it: `serde_json`.
    pub(crate) name: Cow<'a, str>,
    /// From the root of the crate: `sync/mpsc.rs`.
    file: &'a str,
}

/// Where the source of this crate lies, wherever it is built.
const OUR_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
/// The standard library: as rustup's is built, and as its source is installed.
const BUILT: &str = "/rustc/";
const INSTALLED: &str = "/rustlib/src/rust/";
/// Folders in which each crate has a folder of its name, with its version or without.
const VENDORED: &[&str] = &["/vendor/", "/third_party/", "/third-party/", "/rust/deps/"];

/// The crate that a file belongs to; `None` if it lies where people keep their own.
pub(crate) fn fetched(file: &str) -> Option<Fetched<'_>> {
    if let Some(file) = file.strip_prefix(OUR_SOURCE) {
        return Some(Fetched { name: "tower_stall".into(), file });
    }
    if let Some((_, rest)) = file.split_once("/git/checkouts/") {
        // `REPOSITORY-HASH/REVISION/…/CRATE/src/…`
        let (folders, file) = rest.split_once("/src/").unwrap_or((rest, ""));
        let mut folders = folders.split('/');
        let repository = folders.next()?.rsplit_once('-').map_or("", |(name, _)| name);
        return Some(of_folder(folders.skip(1).last().unwrap_or(repository), file));
    }
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        // `INDEX/CRATE-VERSION/…`
        let rest = rest.split_once('/').map_or(rest, |(_, rest)| rest);
        let (folder, file) = rest.split_once('/').unwrap_or((rest, ""));
        let file = file.strip_prefix("src/").unwrap_or(file);
        return Some(of_folder(unversioned(folder).unwrap_or(folder), file));
    }
    // `…/CRATE-VERSION/src/…`, wherever a packager has put it.
    if let Some((folders, file)) = file.rsplit_once("/src/")
        && let Some(name) = folders.rsplit('/').next().and_then(unversioned)
    {
        return Some(of_folder(name.rsplit("__").next().unwrap_or(name), file));
    }
    if let Some(file) = CodePath::in_std(file) {
        let (folders, file) = file.rsplit_once("/src/").unwrap_or((file, ""));
        return Some(of_folder(folders.rsplit('/').next().unwrap_or("std"), file));
    }
    let (_, rest) = VENDORED.iter().find_map(|place| file.rsplit_once(place))?;
    let (folders, file) = rest.rsplit_once("/src/")?;
    Some(of_folder(folders.rsplit('/').next().unwrap_or(folders), file))
}

fn of_folder<'a>(folder: &'a str, file: &'a str) -> Fetched<'a> {
    let name = if folder.contains('-') { folder.replace('-', "_").into() } else { folder.into() };
    Fetched { name, file }
}

/// `serde_json` of `serde_json-1.0.149`; `None` without a version.
fn unversioned(folder: &str) -> Option<&str> {
    let is_version = |text: &str| {
        let mut numbers =
            text.split('.').map(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        (0..3).all(|_| numbers.next() == Some(true))
    };
    let at = folder.match_indices('-').find(|(at, _)| is_version(&folder[at + 1..]))?.0;
    Some(&folder[..at])
}

impl Fetched<'_> {
    /// The module of the file: `tokio::runtime::task::core`.
    fn module(&self) -> String {
        let mut module = self.name.clone().into_owned();
        let file = self.file.strip_suffix(".rs").unwrap_or(self.file);
        let file = file.strip_suffix("/mod").unwrap_or(file);
        let file = if ["lib", "mod"].contains(&file) { "" } else { file };
        for part in file.split('/').filter(|part| !part.is_empty()) {
            module.push_str("::");
            module.push_str(part);
        }
        module
    }
}

/// The paths that lead to the code of a frame.
#[derive(Clone, Debug)]
pub(crate) struct CodePath<'a> {
    /// Of the function itself, or of its type.
    of_type: &'a str,
    of_trait: &'a str,
    of_file: Option<String>,
}

impl CodePath<'_> {
    /// The path of a file of the standard library, below the folder that it was built in.
    pub(crate) fn in_std(file: &str) -> Option<&str> {
        let installed = || file.split_once(INSTALLED).map(|(_, rest)| rest);
        if let Some(rest) = file.strip_prefix(BUILT).or_else(installed) {
            return Some(rest.find("library/").map_or(rest, |at| &rest[at..]));
        }
        // As distributions build it: `/usr/src/rustc-1.96.0/library/…`, `/build/rustc-1.83.0-src/library/…`.
        file.match_indices("/rustc-").find_map(|(at, _)| {
            let (folder, rest) = file[at + 1..].split_once('/')?;
            let is_of_rust = unversioned(folder).is_some() || folder.ends_with("-src");
            (is_of_rust && rest.starts_with("library/")).then_some(rest)
        })
    }

    /// Whether the function, its type, its trait or its file lies in a module, by the path of that:
    /// `std::sync::mpsc`. A path may lead to a type or a function, too, if a symbol may tell it.
    pub(crate) fn is_in(&self, module: &str) -> bool {
        begins(self.of_type, module)
            || begins(self.of_trait, module)
            || self.of_file.as_deref().is_some_and(|path| begins(path, module))
    }
}

impl Frame {
    pub(crate) fn code_path(&self) -> CodePath<'_> {
        let (of_type, of_trait) = paths(self.function.as_deref().unwrap_or_default());
        let of_file = self.file.as_deref().and_then(fetched).map(|fetched| fetched.module());
        CodePath { of_type, of_trait, of_file }
    }

    /// The last part of the function's name, without what it is generic over: that of the function
    /// that a closure is in, where that is known.
    pub(crate) fn name(&self) -> &str {
        let mut name = ungeneric(self.function.as_deref().unwrap_or_default());
        loop {
            let (path, last) = name.rsplit_once("::").unwrap_or(("", name));
            if !last.starts_with('{') || path.is_empty() {
                return last;
            }
            name = ungeneric(path);
        }
    }

    /// The last part of the function's name as it is: `{async_block#0}` of one in a function.
    pub(crate) fn last_segment(&self) -> &str {
        let name = ungeneric(self.function.as_deref().unwrap_or_default());
        name.rsplit_once("::").map_or(name, |(_, last)| last)
    }

    /// Whether it is a closure, or the body of an async block or function.
    pub(crate) fn is_closure(&self) -> bool {
        let name = ungeneric(self.function.as_deref().unwrap_or_default());
        name.ends_with('}')
    }
}

fn begins(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The paths in the name of a function: its own or that of its type, and that of the trait.
fn paths(function: &str) -> (&str, &str) {
    // `<Type as Trait>::method` begins with the type, after references and the like.
    let Some(implementation) = function.strip_prefix('<') else { return (function, "") };
    let (of_type, of_trait) = split_as(implementation).unwrap_or((implementation, ""));
    (bare_type(of_type), of_trait)
}

/// Without the angle brackets at its end.
fn ungeneric(name: &str) -> &str {
    let mut end = name;
    while end.ends_with('>') && !end.ends_with("->") {
        let mut depth = 0_usize;
        let mut begin = None;
        for (at, c) in end.char_indices().rev() {
            match c {
                // Not the arrow of a function type.
                '>' if !end[..at].ends_with('-') => depth += 1,
                '<' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                begin = Some(at);
                break;
            }
        }
        // All of it: a type and no more.
        match begin.filter(|at| *at > 0) {
            Some(at) => end = end[..at].trim_end_matches(':'),
            None => break,
        }
    }
    end
}

/// The crate in the name of a function; `None` for a name without a path.
pub(crate) fn crate_of(function: &str) -> Option<&str> {
    let Some(implementation) = function.strip_prefix('<') else {
        return crate_of_path(function);
    };
    // `<Type as Trait>::method`: the crate of the type, or of the trait if the type has none.
    match split_as(implementation) {
        Some((of_type, of_trait)) => {
            crate_of_path(bare_type(of_type)).or_else(|| crate_of_path(of_trait))
        }
        None => crate_of_path(bare_type(implementation)),
    }
}

/// Skips what comes before the path of a type: references, pointers, slices, `dyn`, `impl`.
fn bare_type(mut name: &str) -> &str {
    loop {
        let before = name;
        name = name.trim_start_matches(['&', '*', '[', '(', '<', ' ']);
        for word in ["mut ", "const ", "dyn ", "impl "] {
            name = name.strip_prefix(word).unwrap_or(name);
        }
        if name == before {
            return name;
        }
    }
}

fn crate_of_path(path: &str) -> Option<&str> {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    // The crate may have its hash in brackets.
    let rest = &path[end..];
    let rest = match rest.strip_prefix('[') {
        Some(hash) => hash.split_once(']')?.1,
        None => rest,
    };
    (end > 0 && rest.starts_with("::")).then(|| &path[..end])
}

/// Splits at the ` as ` that belongs to the outermost angle bracket.
fn split_as(implementation: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut last = ' ';
    for (at, c) in implementation.char_indices() {
        match c {
            '<' => depth += 1,
            // Not the arrow of a function type.
            '>' if last != '-' => depth = depth.checked_sub(1)?,
            ' ' if depth == 0 => {
                if let Some(of_trait) = implementation[at..].strip_prefix(" as ") {
                    return Some((&implementation[..at], of_trait));
                }
            }
            _ => {}
        }
        last = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_of_a_function_is_found_in_all_forms_of_names() {
        for (function, name) in [
            ("app::handler", Some("app")),
            ("app[0123456789abcdef]::handler", Some("app")),
            ("<app::Thing>::method", Some("app")),
            ("<app::Thing as core::fmt::Debug>::fmt", Some("app")),
            ("<core::pin::Pin<P> as core::future::future::Future>::poll", Some("core")),
            ("<alloc::vec::Vec<<app::T as app::U>::V> as std::io::Write>::write", Some("alloc")),
            ("<F as axum::handler::Handler<(M,T1),S>>::call", Some("axum")),
            ("<&mut app::Thing as core::iter::Iterator>::next", Some("app")),
            ("<&mut dyn app::Trait as core::any::Any>::type_id", Some("app")),
            ("<[app::Thing] as app::Sort>::sort", Some("app")),
            ("<fn(u32) -> u32 as app::Call>::call", Some("app")),
            ("<u32 as app::Trait>::method", Some("app")),
            ("<*const app::Thing>::read", Some("app")),
            ("app::module::<impl core::fmt::Debug for app::Thing>::fmt", Some("app")),
            ("poll<axum::routing::route::RouteFuture<E>>", None),
            ("{closure#0}<app::Thing>", None),
            ("main", None),
            ("__libc_start_main", None),
            ("<", None),
            ("", None),
        ] {
            assert_eq!(crate_of(function), name, "{function}");
        }
    }

    #[test]
    fn the_name_of_a_function_is_its_last_part() {
        for (function, name) in [
            ("run_task", "run_task"),
            ("tokio::task::core::Core<T,S>::poll", "poll"),
            ("<F as axum::handler::Handler<((),),S>>::call::{{closure}}", "call"),
            ("core::result::Result<T, E>>::and_then::<U, <app::T>::f::{closure#0}>", "and_then"),
            ("block_in_place<app::f::{closure_env#1}, fn() -> u8>", "block_in_place"),
            ("{closure#0}<(), app::f::{closure_env#0}>", "{closure#0}"),
            ("app::f::{{closure}}::{{closure}}", "f"),
            ("core::ops::function::FnOnce::call_once{{vtable.shim}}", "call_once{{vtable.shim}}"),
            ("app::f::{closure#0}::<app::T>", "f"),
            ("->", "->"),
            (">", ">"),
            ("", ""),
        ] {
            let frame = Frame { function: Some(function.into()), ..Frame::default() };
            assert_eq!(frame.name(), name, "{function}");
        }
    }

    #[test]
    fn a_file_tells_its_crate_and_its_module() {
        let cargo = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c";
        let git = "/home/me/.cargo/git/checkouts/axum-4a1b/9c3d";
        let rustc = "/rustc/5980/library";
        for (file, module) in [
            (
                format!("{cargo}/tokio-1.54.1/src/runtime/task/core.rs"),
                "tokio::runtime::task::core",
            ),
            (format!("{cargo}/serde_json-1.0.149/src/lib.rs"), "serde_json"),
            (format!("{cargo}/hyper-util-0.1.21/src/service/mod.rs"), "hyper_util::service"),
            (
                format!("{cargo}/zstd-sys-2.0.15+zstd.1.5.7/zstd/lib/x.c"),
                "zstd_sys::zstd::lib::x.c",
            ),
            (format!("{git}/axum-core/src/body.rs"), "axum_core::body"),
            (format!("{git}/src/lib.rs"), "axum"),
            (format!("{rustc}/std/src/sync/mpsc.rs"), "std::sync::mpsc"),
            (format!("{rustc}/std/src/../../backtrace/src/lib.rs"), "backtrace"),
            ("/usr/lib/rustlib/src/rust/library/core/src/ptr/mod.rs".into(), "core::ptr"),
            ("/usr/src/rustc-1.96.0/library/core/src/num/mod.rs".into(), "core::num"),
            ("/build/rustc-1.83.0-src/library/std/src/thread/mod.rs".into(), "std::thread"),
            ("/build/rustc-nightly-src/library/alloc/src/vec/mod.rs".into(), "alloc::vec"),
            ("/rust/deps/hashbrown-0.15.2/src/raw/mod.rs".into(), "hashbrown::raw"),
            ("/app/vendor/want/src/lib.rs".into(), "want"),
            (
                "/build/cargo-vendor-dir/tower-http-0.7.0/src/trace/a.rs".into(),
                "tower_http::trace::a",
            ),
            ("external/rules~~i~crates__mio-1.0.4/src/poll.rs".into(), "mio::poll"),
            ("/usr/share/cargo/registry/ureq-3.1.0/src/agent.rs".into(), "ureq::agent"),
            (format!("{OUR_SOURCE}layer/future.rs"), "tower_stall::layer::future"),
        ] {
            assert_eq!(fetched(&file).map(|fetched| fetched.module()).as_deref(), Some(module));
        }
        for own in [
            "src/main.rs",
            "/app/src/main.rs",
            "/app/crates/my-lib-2/src/lib.rs",
            "/srv/vendor.d/src/main.rs",
            "/build/app-1.2.3/crates/db/src/lib.rs",
            "/home/me/rustc/library/src/lib.rs",
            "/srv/rustc-tools/library/core/src/lib.rs",
            "/srv/rustc-1.2.3/crates/db/src/lib.rs",
            "",
        ] {
            assert_eq!(fetched(own), None, "{own}");
        }
    }

    #[test]
    fn modules_hold_by_function_type_trait_and_file() {
        let frame = |function: &str, file: &str| Frame {
            function: Some(function.into()),
            file: Some(file.into()),
            ..Frame::default()
        };
        let by_name = frame("<&mut flate2::gz::GzDecoder<R> as std::io::Read>::read", "");
        let by_name = by_name.code_path();
        assert!(by_name.is_in("flate2::gz") && by_name.is_in("std::io") && by_name.is_in("flate2"));
        assert!(!by_name.is_in("flate") && !by_name.is_in("flate2::gz::Gz"));
        let by_file = frame("recv<()>", "/rustc/5980/library/std/src/sync/mpsc.rs");
        let by_file = by_file.code_path();
        assert!(by_file.is_in("std::sync::mpsc") && by_file.is_in("std::sync"));
        assert!(!by_file.is_in("std::sync::mpsc::Receiver") && !by_file.is_in("std::sync::mp"));
    }
}
