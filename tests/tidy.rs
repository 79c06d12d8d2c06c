//! The structure of the source: who may import whom, and rules that a compiler does not hold.

#[path = "tidy/circles.rs"]
mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each top-level module, its rank, and exactly what it imports. What is imported has a lower
/// rank, so there is no cycle. Most rules of the architecture are absences: the detector knows no
/// metrics, the watchdog no log and no admin server, the layer no watchdog.
const MODULES: &[(&str, u32, &[&str])] = &[
    ("clock", 0, &[]),
    ("inner_service", 0, &[]),
    ("log_status", 0, &[]),
    ("sync", 0, &[]),
    ("sys", 0, &[]),
    ("label", 1, &["sync"]),
    ("owned_thread", 1, &["sync"]),
    ("procfs", 1, &["clock", "sys"]),
    ("slot", 1, &["sync"]),
    ("vitals", 1, &["clock", "sync"]),
    ("labels", 2, &["clock", "label", "slot", "sync"]),
    ("stall", 3, &["clock", "label", "labels", "sync"]),
    ("cause", 4, &["clock", "procfs", "stall", "sys"]),
    ("runtime", 4, &["clock", "label", "labels", "log_status", "slot", "stall", "sync", "vitals"]),
    ("stack", 4, &["clock", "owned_thread", "procfs", "stall", "sync", "sys", "vitals"]),
    ("text", 4, &["clock", "label", "labels", "log_status", "stall", "vitals"]),
    ("health", 5, &["clock", "runtime", "stall", "sync", "text", "vitals"]),
    ("mark", 5, &["clock", "labels", "runtime", "slot", "sync", "sys"]),
    ("metrics", 5, &["clock", "label", "labels", "runtime", "stall", "vitals"]),
    (
        "watchdog",
        5,
        &["cause", "clock", "labels", "procfs", "runtime", "slot", "stack", "stall", "vitals"],
    ),
    ("layer", 6, &["clock", "inner_service", "labels", "mark", "runtime", "slot"]),
    ("page", 6, &["clock", "health", "label", "runtime", "stall", "sync", "text", "vitals"]),
    ("profile", 6, &["clock", "label", "runtime", "stall", "text"]),
    (
        "report",
        6,
        &[
            "cause",
            "clock",
            "label",
            "log_status",
            "metrics",
            "runtime",
            "stall",
            "sync",
            "text",
            "vitals",
        ],
    ),
    ("ticker", 6, &["clock", "mark", "runtime"]),
    ("delayed", 7, &["clock", "inner_service", "runtime", "stall", "text"]),
    ("config", 7, &["health", "labels", "report", "stack"]),
    ("shed", 7, &["inner_service", "layer", "runtime"]),
    (
        "admin",
        8,
        &[
            "clock",
            "config",
            "health",
            "owned_thread",
            "page",
            "profile",
            "runtime",
            "sync",
            "sys",
            "vitals",
        ],
    ),
    (
        "detector",
        9,
        &[
            "admin",
            "cause",
            "clock",
            "config",
            "delayed",
            "health",
            "labels",
            "layer",
            "mark",
            "metrics",
            "owned_thread",
            "profile",
            "report",
            "runtime",
            "shed",
            "stack",
            "stall",
            "sync",
            "ticker",
            "watchdog",
        ],
    ),
    ("testing", 10, &["clock", "detector", "layer", "mark", "stall", "sync", "sys"]),
];

/// Where `unsafe` and libc live.
const SYSTEM: &str = "sys/";
/// Where clocks are read.
const CLOCK: &str = "clock.rs";
const MOST_LINES: usize = 450;

struct Source {
    /// Below `src/`.
    path: String,
    text: String,
}

impl Source {
    /// The lines before the unit tests, without comments.
    fn code(&self) -> impl Iterator<Item = &str> {
        const TESTS: [&str; 3] = ["#[cfg(test)]", "#[cfg(all(test", "#![cfg(test)]"];
        let is_code = |line: &&str| !TESTS.iter().any(|begin| line.starts_with(begin));
        let lines = self.text.lines().take_while(is_code);
        lines.map(|line| line.split("//").next().unwrap_or_default())
    }

    /// The top-level module the file belongs to; `None` for `lib.rs`.
    fn module(&self) -> Option<&str> {
        let module = self.path.split('/').next()?;
        let module = module.strip_suffix(".rs").unwrap_or(module);
        (module != "lib").then_some(module)
    }

    /// What comes after each `crate::`, as far as the first segment.
    fn imports(&self) -> BTreeSet<String> {
        let code = self.code().collect::<Vec<_>>().join("\n");
        let mut imports = BTreeSet::new();
        for path in code.split("crate::").skip(1) {
            let group = path.strip_prefix('{').and_then(|group| group.split_once("};"));
            match group {
                None => imports.extend(segment(path)),
                Some((group, _)) => {
                    imports.extend(group.split(',').filter_map(|path| segment(path.trim())))
                }
            }
        }
        imports
    }
}

fn segment(path: &str) -> Option<String> {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(path.len());
    (end > 0).then(|| path[..end].to_owned())
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).expect("it is below");
                let below = below.to_string_lossy().replace('\\', "/");
                sources
                    .push(Source { path: below, text: fs::read_to_string(&path).expect("text") });
            }
        }
    }
    assert!(sources.len() > 20, "the source was found");
    sources
}

/// Fails with all lines of code for which `is_wrong` holds.
#[track_caller]
fn no_line(rule: &str, is_wrong: impl Fn(&Source, &str) -> bool) {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.code().enumerate().filter(|(_, line)| is_wrong(&source, line));
        wrong.extend(lines.map(|(at, line)| format!("src/{}:{}: {line}", source.path, at + 1)));
    }
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

#[test]
fn modules_import_what_the_table_says() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        if let Some(module) = source.module() {
            let imports = found.entry(module.to_owned()).or_default();
            imports.extend(source.imports());
            imports.remove(module);
        }
    }
    let table: BTreeMap<String, BTreeSet<String>> = MODULES
        .iter()
        .map(|(module, _, imports)| {
            ((*module).to_owned(), imports.iter().map(|import| (*import).to_owned()).collect())
        })
        .collect();
    assert_eq!(found, table, "what is found, and what the table in this file allows");
}

#[test]
fn imports_go_down_in_rank() {
    let rank = |name: &str| {
        let row = MODULES.iter().find(|(module, ..)| *module == name);
        row.unwrap_or_else(|| panic!("{name} has a row")).1
    };
    for (module, own, imports) in MODULES {
        for import in *imports {
            assert!(rank(import) < *own, "{module} imports {import}");
        }
    }
}

#[test]
fn nothing_goes_around_the_table() {
    no_line("a module names another by `crate::`, not by `super::`", |source, line| {
        let top = source.path.ends_with("/mod.rs") || !source.path.contains('/');
        line.contains("super::super::") || (top && line.contains("super::"))
    });
}

#[test]
fn each_file_says_what_it_is_for() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "src/{} begins with `//!`", source.path);
    }
}

#[test]
fn files_stay_short() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(lines <= MOST_LINES, "src/{} has {lines} lines", source.path);
    }
}

#[test]
fn unsafe_code_and_libc_have_one_home() {
    no_line("unsafe and libc live in src/sys", |source, line| {
        let is_unsafe = line.contains("libc::")
            || ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe("]
                .iter()
                .any(|form| line.contains(form));
        is_unsafe && !source.path.starts_with(SYSTEM)
    });
}

#[test]
fn one_file_reads_clocks() {
    no_line("clocks are read in src/clock.rs", |source, line| {
        let reads = ["Instant::now", "SystemTime::now", "UNIX_EPOCH.elapsed"];
        reads.iter().any(|read| line.contains(read)) && source.path != CLOCK
    });
}

#[test]
fn nothing_unwraps() {
    no_line("`expect` says why it holds", |_, line| line.contains(".unwrap()"));
}

#[test]
fn imports_are_found_in_all_their_forms() {
    let text = "//! use crate::docs;\nuse crate::one::{A, B};\nuse crate::{two, three::C};\n\
                fn f() -> crate::four::D { crate::five() } // crate::six\n\
                #[cfg(test)]\nmod tests { use crate::seven; }\n";
    let source = Source { path: "some/file.rs".into(), text: text.into() };
    let expected = ["five", "four", "one", "three", "two"].map(str::to_owned);
    assert_eq!(source.imports(), BTreeSet::from(expected));
    assert_eq!(source.module(), Some("some"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources: Vec<_> = sources().into_iter().map(|source| (source.path, source.text)).collect();
    let circles: Vec<_> =
        circles::circles(&sources).into_iter().map(|circle| circle.join(" -> ")).collect();
    assert!(circles.is_empty(), "circles of imports:\n{}", circles.join("\n"));
}
