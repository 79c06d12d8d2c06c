//! Runs a fault, and checks what the detector has said of it. `tests/platform` includes this file too.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::needs::skip;
use crate::table::{Expected, FIXES, HINTS, HOLDERS, Kind};

/// What the program prints of a fault.
#[derive(Debug)]
pub(crate) struct Report {
    expected: Expected,
    printed: Value,
}

/// What is known of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    FunctionAndLine,
    /// The same, but of an inlined async function the file and a number.
    LineTables,
    Function,
    Nothing,
}

impl Known {
    pub(crate) fn has_lines(self) -> bool {
        matches!(self, Self::FunctionAndLine | Self::LineTables)
    }
}

/// Where cargo compiles, so that the names of files are short.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in it").to_owned()
}

/// Runs the program and returns what it prints.
fn commit(program: &Path, fault: &str) -> Value {
    let mut command = Command::new(program);
    for (inherited, _) in std::env::vars_os() {
        if inherited.to_string_lossy().starts_with("TOWER_STALL") {
            command.env_remove(inherited);
        }
    }
    let output = command.arg(fault).current_dir(workspace()).output();
    let output = output.expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {:?}\n{errors}", fault, output.status);
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

impl Report {
    /// `None` where the fault cannot be committed here.
    pub(crate) fn of(program: &Path, expected: Expected) -> Option<Self> {
        Self::read(expected, commit(program, expected.name))
    }

    /// Of what the program has printed.
    pub(crate) fn read(expected: Expected, printed: Value) -> Option<Self> {
        if let Some(why) = printed["skipped"].as_str() {
            skip(&format!("{}: {why}", expected.name));
            return None;
        }
        Some(Self { expected, printed })
    }

    /// How many bytes of memory the process took more than before the fault, at that time.
    pub(crate) fn memory(&self, when: &str) -> u64 {
        self.printed["memory"][when].as_u64().expect("a number")
    }

    /// Whether the machine left the thread, or those that looked at it, without a CPU meanwhile.
    pub(crate) fn is_disturbed(&self) -> bool {
        let says = |field: &str, words: &[&str]| {
            let text = self.printed[field].as_str().unwrap_or_default();
            words.iter().any(|word| text.contains(word))
        };
        // Nobody is found where there is no time for a look at all threads.
        let has_holder = HOLDERS.iter().any(|(name, _)| *name == self.expected.name);
        let tells = has_holder && self.printed["tells_holders"] == true;
        if tells && self.printed["held_by"]["degree"] != "certain" {
            return true;
        }
        // A child that is started has no CPU yet.
        says("detail", &["without a CPU for", "suspended for", "throttled for", "clone"])
            || says("stack_missing", &["in time"])
    }

    pub(crate) fn frames(&self) -> &[Value] {
        self.printed["frames"].as_array().expect("a list")
    }

    /// Whether the fault has a line of its own.
    pub(crate) fn has_place(&self) -> bool {
        self.expected.kind != Kind::Awaits
    }

    /// File and line of the fault.
    pub(crate) fn place(&self) -> (&str, u64) {
        let place = &self.printed["expected"];
        (place["file"].as_str().expect("a file"), place["line"].as_u64().expect("a line"))
    }

    /// The name of the function with the fault.
    pub(crate) fn function(&self) -> &str {
        self.expected.function.rsplit("::").next().expect("a name")
    }

    /// All that does not depend on how the program was built, and the site.
    pub(crate) fn check(&self, known: Known) {
        let Self { expected, printed } = self;
        let handler = match expected.kind {
            Kind::Task => "unattributed".to_owned(),
            _ => format!("GET /{}", expected.name),
        };
        assert_eq!(printed["handler"], handler, "{self:#?}");
        assert_eq!(printed["count"], 1, "nothing else is blamed: {self:#?}");
        assert_eq!(printed["cause"], expected.cause, "{self:#?}");
        let detail = printed["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(expected.detail), "{self:#?}");
        self.check_fix(known);
        // A thread between two naps, on a machine that is busy, may take either way.
        if expected.cause != "sleep" {
            assert_eq!(printed["by_signal"], expected.cause == "cpu", "{self:#?}");
        }
        self.check_site(known);
        self.check_stack(known);
        self.check_holder(known);
    }

    /// The one who holds the lock is named for certain, where that can be known, and nobody else.
    fn check_holder(&self, known: Known) {
        let Self { expected, printed } = self;
        let held_by = &printed["held_by"];
        let holder = HOLDERS.iter().find(|(name, _)| *name == expected.name);
        let Some((_, function)) = holder.filter(|_| printed["tells_holders"] == true) else {
            return assert!(held_by["role"] != "holds", "nobody holds it: {self:#?}");
        };
        if known == Known::Nothing {
            return assert!(held_by["thread"].is_null(), "{self:#?}");
        }
        assert_eq!(held_by["holder"], "other_thread", "{self:#?}");
        assert_eq!(held_by["degree"], "certain", "{self:#?}");
        assert_eq!(held_by["role"], "holds", "{self:#?}");
        assert_eq!(held_by["thread"], "keeper", "{self:#?}");
        let site = held_by["function"].as_str().unwrap_or_default();
        assert_eq!(site.strip_prefix("tower_stall_faults::"), Some(*function), "{self:#?}");
    }

    fn check_fix(&self, known: Known) {
        let Self { expected, printed } = self;
        let (_, of_cause) = FIXES.iter().find(|(of, _)| *of == expected.cause).expect("a row");
        let hint = HINTS.iter().find(|(name, _)| *name == expected.name).map(|(_, hint)| *hint);
        let fix = printed["fix"].as_str().expect("a line");
        let fits = match (known, hint) {
            (Known::FunctionAndLine | Known::LineTables, Some(hint)) => fix.contains(hint),
            // What was inlined does not show; functions of the C library do in a stripped program too.
            (Known::Function | Known::Nothing, Some(hint)) => {
                fix.contains(hint) || fix.contains(of_cause)
            }
            _ => fix.contains(of_cause),
        };
        assert!(fits, "{self:#?}");
    }

    fn check_site(&self, known: Known) {
        let site = &self.printed["site"];
        let missing = self.printed["site_missing"].as_str();
        assert_eq!(missing.is_some(), site.is_null(), "{self:#?}");
        if self.expected.kind == Kind::Awaits {
            assert!(site.is_null(), "{self:#?}");
            let why = "your own code on the stack only awaits what blocked";
            return assert!(!known.has_lines() || missing == Some(why), "{self:#?}");
        }
        let (file, line) = self.place();
        let function = site["function"].as_str().unwrap_or_default();
        match known {
            Known::Nothing => return assert!(site.is_null(), "{self:#?}"),
            Known::FunctionAndLine | Known::LineTables => {
                assert_eq!(site["file"], file, "{self:#?}");
                assert_eq!(site["line"], line, "{self:#?}");
            }
            Known::Function => {
                assert!(site["file"].is_null() && site["line"].is_null(), "{self:#?}");
                if self.expected.kind == Kind::Inlined && site.is_null() {
                    return; // Nobody else is blamed.
                }
            }
        }
        if known == Known::LineTables && self.expected.kind == Kind::Inlined {
            return assert_eq!(function, "sleep::{async_fn#0}", "{self:#?}");
        }
        let function = function.trim_start_matches('<');
        let short = function.strip_prefix("tower_stall_faults::");
        assert_eq!(short, Some(self.expected.function), "{self:#?}");
    }

    /// Whole from the system call to the begin of the thread, or said not to be.
    fn check_stack(&self, known: Known) {
        let Self { expected, printed } = self;
        let partial = expected.kind == Kind::Partial;
        assert_eq!(printed["partial"], partial, "{self:#?}");
        let missing = printed["stack_missing"].as_str();
        match (partial, known) {
            (true, _) => assert!(missing.is_some(), "{self:#?}"),
            (false, _) if known.has_lines() => assert_eq!(missing, None, "{self:#?}"),
            (false, _) => {
                let expected = Some(
                    "no lines: the program has no debug information: add debug = \"limited\" to the profile",
                );
                assert_eq!(missing, expected, "{self:#?}");
            }
        }
        if partial {
            return;
        }
        let module = |frame: &Value| frame["module"].as_str().unwrap_or_default().to_owned();
        let outermost = self.frames().last().expect("a frame");
        // Where threads begin.
        let libc = if printed["static"] == true { "tower-stall-faults" } else { "libc" };
        assert!(module(outermost).starts_with(libc), "{self:#?}");
        if known == Known::Nothing {
            return;
        }
        let has = |frame: &Value, name: &str| {
            frame["function"].as_str().is_some_and(|function| function.contains(name))
        };
        let find = |name: &str| self.frames().iter().position(|frame| has(frame, name));
        let handler = self.frames().iter().position(|frame| frame["own"] == true);
        // Line tables have the last parts of names alone.
        let worker = find("worker::Context::run_task").or_else(|| find("run_task"));
        assert!(worker.is_some(), "{self:#?}");
        let order = [find("tower_stall::layer"), find("hyper::"), worker];
        if known.has_lines() && expected.kind != Kind::Task {
            assert!(order.is_sorted(), "layer, server, worker: {self:#?}");
            let is_inside = handler.is_some() && handler < order[0];
            assert!(is_inside || expected.kind == Kind::Awaits, "{self:#?}");
        }
    }
}
