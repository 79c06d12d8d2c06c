//! The faults of `tests/faults`, what is expected of each, and where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::families::FAMILIES;
use crate::scene::Fault;
use crate::service::Moment;
use crate::table::{self, Expected, Kind};

/// Faults that no service commits over and over beside others.
const LEFT_OUT: &[(&str, &str)] = &[
    ("argon2", "takes 19 MB each time, among which no leak would show"),
    ("dns-lookup", "its server's thread and the worker's resolver stay as they are afterwards"),
    ("handle-block-on", "blocks only where the pool of the service has one thread"),
    ("middleware-outside", "goes around the layer of the whole service"),
    ("println-full-pipe", "takes the standard output away"),
];

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) expected: Expected,
}

impl Row {
    pub(crate) fn is_task(&self) -> bool {
        self.expected.kind == Kind::Task
    }

    /// The handler that its stall is counted for.
    pub(crate) fn handler(&self) -> String {
        if self.is_task() { "unattributed".to_owned() } else { format!("GET {}", self.path()) }
    }

    pub(crate) fn path(&self) -> String {
        format!("/fault/{}", self.expected.name)
    }

    /// The function of the site; none where own code only awaits.
    pub(crate) fn function(&self) -> Option<&'static str> {
        (self.expected.kind != Kind::Awaits).then_some(self.expected.function)
    }
}

/// Those that are committed.
pub(crate) fn rows() -> Vec<Row> {
    let left_out: BTreeSet<_> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    let faults = FAMILIES.into_iter().flatten().filter(|(name, _)| !left_out.contains(name));
    let row = |fault: &Fault| {
        let expected = table::FAULTS.iter().find(|expected| expected.name == fault.0);
        Row { fault: *fault, expected: *expected.expect("each fault has a row") }
    };
    faults.map(row).collect()
}

/// File and line of each fault that was committed, and when it began last, by its function.
static PLACES: Mutex<BTreeMap<String, (String, u32, Moment)>> = Mutex::new(BTreeMap::new());

/// Notes where the fault of a function is, which begins now; see `here!`.
pub(crate) fn note(inside: &str, file: &str, line: u32) {
    let function = inside.trim_end_matches("::inside").trim_end_matches("::{{closure}}");
    // Sites have no lifetimes.
    let function = short(&function.replace("<'_>", "")).to_owned();
    let place = (plain(file), line, Moment::now());
    PLACES.lock().expect("not poisoned").insert(function, place);
}

/// Where the fault of a function is, once it was committed, and when it began last.
pub(crate) fn place(function: &str) -> Option<(String, u32, Moment)> {
    PLACES.lock().expect("not poisoned").get(function).cloned()
}

/// A function without the name of this crate.
pub(crate) fn short(function: &str) -> &str {
    let function = function.trim_start_matches('<');
    function.strip_prefix("tower_stall_soak::").unwrap_or(function)
}

/// A path without the ways up and down again in it.
pub(crate) fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_there() {
        let names: BTreeSet<_> = table::FAULTS.iter().map(|expected| expected.name).collect();
        assert!(LEFT_OUT.iter().all(|(name, _)| names.contains(name)));
        assert_eq!(rows().len(), names.len() - LEFT_OUT.len());
    }

    #[test]
    fn places_are_known_by_the_function() {
        note("<tower_stall_soak::sleep::A<'_> as Drop>::drop::inside", "t/a/src/../../b/c.rs", 7);
        let known = |function| place(function).map(|(file, line, _)| (file, line));
        assert_eq!(known("sleep::A as Drop>::drop"), Some(("t/b/c.rs".to_owned(), 7)));
        note("tower_stall_soak::sleep::b::{{closure}}::inside", "b.rs", 8);
        assert_eq!(known("sleep::b"), Some(("b.rs".to_owned(), 8)));
    }
}
