//! Each command in README and docs is of a known kind. What it names is there: packages, targets, tests, scripts and
//! their words, folders, ports, paths. Of each line of a block it is known which test or script runs it, or why none
//! does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FOLDERS: [&str; 6] =
    ["", "docs", "docs/fix", "tests", "plugins/opentelemetry", "plugins/sentry"];

/// Who runs a line of a block.
enum Runs {
    /// This file, which has this text.
    File(&'static str, &'static str),
    /// Nobody: what it names is looked up.
    Nobody(&'static str),
}
use Runs::{File, Nobody};

const CLUSTER: &str = "wants a cluster";
const LONG: &str = "takes half an hour and more";

/// The lines of blocks: the page, how a line begins, who runs it.
const LINES: &[(&str, &str, Runs)] = &[
    (
        "README.md",
        "cargo run --release --example server",
        File("tests/server/child.rs", "join(\"server\")"),
    ),
    ("README.md", "curl ", File("tests/server/commands.rs", "commands(README")),
    ("README.md", "cargo test", File(".ci/run", "run cargo test\n")),
    ("CONTRIBUTING.md", "cargo test", File(".ci/run", "run cargo test\n")),
    ("docs/capture.md", "addr2line ", File("tests/faults/tests/it/addr2line.rs", "-fiC")),
    ("docs/corpus.md", "scripts/corpus ", Nobody(LONG)),
    ("docs/corpus.md", "cargo test ", File(".ci/run", "run cargo test -p tower-stall-corpus\n")),
    ("docs/experiments.md", "cargo run ", File("examples/slides/tests/slides.rs", "EXE_slides")),
    ("docs/kubernetes.md", "kubectl ", Nobody(CLUSTER)),
    ("docs/kubernetes.md", "curl ", File("tests/server/commands.rs", "commands(KUBERNETES")),
    (
        "docs/opentelemetry.md",
        "cargo run ",
        File("examples/otel/tests/it/support.rs", "--endpoint"),
    ),
    ("docs/page.md", "kubectl ", Nobody(CLUSTER)),
    ("docs/page.md", "curl ", File("tests/server/commands.rs", "commands(PAGE")),
    ("docs/profiles.md", "go tool pprof ", File("tests/it/profile/read.rs", "-tagfocus=")),
    ("docs/profiles.md", "curl ", File("tests/server/commands.rs", "commands(PROFILES")),
    ("docs/runbook.md", "", File("tests/server/fleet.rs", "RUNBOOK.split(\"```sh")),
    ("docs/soak.md", "scripts/soak ", File(".ci/run", "run scripts/soak 1\n")),
];

/// What is not ours, with what is asked of it. An empty list: anything.
const TOOLS: &[(&str, &[&str])] = &[
    ("addr2line", &[]),
    ("amtool", &[]),
    ("docker", &["pause"]),
    ("go", &["tool", "test"]),
    ("grep", &[]),
    ("inferno-flamegraph", &["--countname", "us"]),
    ("jq", &[]),
    ("promtool", &["query", "check", "test"]),
    ("sed", &[]),
    ("speedscope", &[]),
    ("tail", &[]),
    ("valgrind", &[]),
];

/// A line of a block, or what stands between backticks in a sentence.
#[derive(Debug)]
struct Said {
    page: String,
    text: String,
    in_block: bool,
}

fn said() -> Vec<Said> {
    let mut all = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        for path in paths.filter(|path| path.extension().is_some_and(|it| it == "md")) {
            let page = path.strip_prefix(ROOT).expect("it is below").display().to_string();
            said_on(&page, &fs::read_to_string(&path).expect("a page"), &mut all);
        }
    }
    all
}

fn said_on(page: &str, text: &str, all: &mut Vec<Said>) {
    let mut is_shell = false;
    let mut add = |text: &str, in_block| {
        all.push(Said { page: page.to_owned(), text: text.to_owned(), in_block });
    };
    for event in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                is_shell = ["sh", "bash", "console", "shell"].contains(&&*language);
            }
            Event::End(TagEnd::CodeBlock) => is_shell = false,
            Event::Text(block) if is_shell => {
                let lines = block.lines().filter(|line| !words(line).is_empty());
                lines.for_each(|line| add(line, true));
            }
            Event::Code(code) if is_command(&code) => add(&code, false),
            _ => {}
        }
    }
}

/// Whether it begins as a command does.
fn is_command(code: &str) -> bool {
    let words = words(code);
    let mut words = words.iter().skip_while(|word| is_assignment(word)).map(String::as_str);
    let Some(first) = words.next() else { return false };
    let alone = words.next().is_none();
    let ours = first.starts_with("scripts/") || first == ".ci/run";
    let is_option = ["-p", "--bench", "--example", "--test"].contains(&first);
    let is_tool = ["cargo", "kubectl", "curl"].contains(&first)
        || TOOLS.iter().any(|(name, _)| *name == first);
    ours || (!alone && (is_option || is_tool))
}

fn is_assignment(word: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_of_name))
}

/// The words of a line for the shell, without comments. Operators are words.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            // In the middle of a word it says what else the word may be.
            (None, '|' | '>') if word.is_none() => words.push(c.to_string()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Stands for any: `NAME`, `N`, `bench-*`, `hello-…`.
fn is_placeholder(word: &str) -> bool {
    word.contains(['*', '…']) || word.chars().all(|c| c.is_ascii_uppercase() || c == '-')
}

/// What commands may name.
struct There {
    packages: BTreeSet<String>,
    /// Kind and name.
    targets: BTreeSet<(String, String)>,
    features: BTreeSet<String>,
    profiles: Vec<String>,
    /// All Rust files.
    sources: String,
    /// All scripts that CI or people run.
    scripts: Vec<(String, String)>,
    routes: String,
    manifest: String,
}

impl There {
    fn find() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let metadata = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(ROOT)
            .output()
            .expect("cargo runs");
        let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let packages = metadata["packages"].as_array().expect("packages");
        let targets = packages.iter().flat_map(|it| it["targets"].as_array().expect("targets"));
        let read = |path: &str| fs::read_to_string(Path::new(ROOT).join(path)).expect("a file");
        let features = packages.iter().flat_map(|it| it["features"].as_object().expect("features"));
        let manifest = read("Cargo.toml");
        let profiles = manifest.split("[profile.").skip(1);
        let scripts = fs::read_dir(Path::new(ROOT).join("scripts")).expect("a folder");
        let scripts = scripts.map(|entry| entry.expect("an entry").path());
        let scripts = scripts.chain([Path::new(ROOT).join(".ci/run")]);
        Self {
            packages: packages.iter().map(|package| text(&package["name"])).collect(),
            targets: targets.map(|it| (text(&it["kind"][0]), text(&it["name"]))).collect(),
            features: features.map(|(name, _)| name.clone()).collect(),
            profiles: profiles.filter_map(|it| Some(it.split_once(']')?.0.to_owned())).collect(),
            sources: ["src", "tests", "examples", "macros", "plugins", "benches", "fuzz/targets"]
                .map(|folder| sources(&Path::new(ROOT).join(folder)))
                .concat(),
            scripts: scripts
                .map(|path| {
                    let name = path.strip_prefix(ROOT).expect("below").display().to_string();
                    (name, fs::read_to_string(&path).unwrap_or_default())
                })
                .collect(),
            routes: sources(&Path::new(ROOT).join("src/admin"))
                + &read("examples/server/routes.rs")
                + &read("examples/quickstart.rs"),
            manifest: read("deploy/kubernetes/deployment.yaml"),
        }
    }

    /// What is wrong with a command; each part of a pipe is one.
    fn judge(&self, text: &str) -> Result<(), String> {
        let words = words(text);
        let parts = words.split(|word| ["|", "&&", "&"].contains(&&**word));
        parts.into_iter().filter(|part| !part.is_empty()).try_for_each(|part| self.part(part))
    }

    fn part(&self, words: &[String]) -> Result<(), String> {
        let written = words.iter().position(|word| word == ">").unwrap_or(words.len());
        let words: Vec<&str> = words[..written].iter().map(String::as_str).collect();
        let begin = words.iter().position(|word| !is_assignment(word)).unwrap_or(words.len());
        for variable in words[..begin].iter().filter(|word| word.starts_with("STALL_")) {
            let name = variable.split('=').next().unwrap_or_default();
            let scripts = self.scripts.iter().any(|(_, text)| text.contains(name));
            need(self.sources.contains(name) || scripts, || format!("nobody reads {name}"))?;
        }
        let Some((&program, arguments)) = words[begin..].split_first() else { return Ok(()) };
        match program {
            "cargo" => self.cargo(arguments),
            "-p" | "--bench" | "--example" | "--test" => self.options(&words[begin..], None),
            "kubectl" => self.kubectl(arguments),
            "curl" => self.curl(arguments),
            ".ci/run" => need(arguments.is_empty(), || "it takes no arguments".to_owned()),
            script if script.starts_with("scripts/") => self.script(script, arguments),
            tool => {
                let tool = TOOLS.iter().find(|(name, _)| *name == tool);
                let (_, asked) = tool.ok_or(format!("{program} is of no known kind"))?;
                let first = arguments.first().copied().unwrap_or_default();
                let known = asked.is_empty() || asked.contains(&first);
                need(known, || format!("{program} {first} is of no known kind"))
            }
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Result<(), String> {
        match arguments.split_first() {
            Some((
                &("run" | "test" | "bench" | "build" | "clippy" | "doc" | "publish"),
                options,
            )) => self.options(options, Some(arguments[0])),
            Some((&("fmt" | "tree" | "package"), options)) => {
                let known = ["--all", "--check", "--list", "--workspace"];
                let unknown = options.iter().find(|option| !known.contains(option));
                need(unknown.is_none(), || format!("{unknown:?} is not known"))
            }
            Some((&("install" | "nextest" | "update" | "fuzz"), _)) => Ok(()),
            other => Err(format!("cargo {other:?} is of no known kind")),
        }
    }

    fn options(&self, options: &[&str], command: Option<&str>) -> Result<(), String> {
        let mut options = options.iter().copied();
        while let Some(option) = options.next() {
            let kind = match option {
                "--" => return options.try_for_each(|it| self.behind(it, command)),
                "-p" | "--package" => "package",
                "--example" | "--bench" | "--test" | "--bin" => &option[2..],
                "--features" => "feature",
                "--profile" => "profile",
                "--release" | "--lib" | "--doc" | "--workspace" | "--all-targets" => continue,
                "--all-features" | "--no-default-features" | "--locked" | "--no-deps" => continue,
                flag if flag.starts_with('-') => return Err(format!("{flag} is not known")),
                // What tests are asked for: part of the path of a test, or of a file's.
                test => {
                    for part in test.split("::").filter(|part| !part.is_empty()) {
                        self.test(part)?;
                    }
                    continue;
                }
            };
            let name = options.next().ok_or(format!("{option} has no name"))?;
            for name in name.split(',').filter(|name| !is_placeholder(name)) {
                self.named(kind, name)?;
            }
        }
        Ok(())
    }

    fn named(&self, kind: &str, name: &str) -> Result<(), String> {
        let there = match kind {
            "package" if name.ends_with("NAME") => true,
            "package" => self.packages.contains(name),
            "feature" => self.features.contains(name),
            "profile" => self.profiles.iter().any(|profile| profile == name),
            kind => self.targets.contains(&(kind.to_owned(), name.to_owned())),
        };
        need(there, || format!("there is no {kind} {name}"))
    }

    fn test(&self, part: &str) -> Result<(), String> {
        let is_function = |line: &str| {
            let function = line.trim().trim_start_matches("async ").strip_prefix("fn ");
            function.and_then(|it| it.split('(').next()).is_some_and(|name| name.contains(part))
        };
        let there =
            self.sources.contains(&format!("/{part}")) || self.sources.lines().any(is_function);
        need(there, || format!("there is no test {part}"))
    }

    /// What stands behind `--`: options of the program that is run, or of a test's harness.
    fn behind(&self, word: &str, command: Option<&str>) -> Result<(), String> {
        let Some(option) = word.strip_prefix("--") else { return Ok(()) };
        let option = option.split('=').next().unwrap_or_default();
        let known = match command {
            Some("test") => ["nocapture", "test-threads", "ignored", "exact"].contains(&option),
            // The field of a command line's structure.
            _ => self.sources.contains(&format!("\n    {}: ", option.replace('-', "_"))),
        };
        need(known, || format!("--{option} is not known"))
    }

    /// The script exists, and has each word that it is given.
    fn script(&self, script: &str, arguments: &[&str]) -> Result<(), String> {
        if is_placeholder(script) {
            let begin = script.trim_end_matches('*');
            let there = self.scripts.iter().any(|(name, _)| name.starts_with(begin));
            return need(there, || format!("there is no {script}"));
        }
        let found = self.scripts.iter().find(|(name, _)| name == script);
        let (_, text) = found.ok_or(format!("there is no {script}"))?;
        for word in arguments.iter().flat_map(|word| word.split(['[', ']', '|'])) {
            let word = word.trim_end_matches('.');
            let is_number = word.parse::<u64>().is_ok();
            if word.is_empty() || is_number || is_placeholder(word) {
                continue;
            }
            // A word of its own, or a case, a target, a build that the program behind it knows.
            let is_word = |text: &str| text.contains(&format!("\"{word}\""));
            let mut code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            let is_of_word = |c: char| c.is_alphanumeric() || c == '-';
            let has = code.any(|line| line.split(|c| !is_of_word(c)).any(|it| it == word));
            need(has || is_word(&self.sources), || format!("{script} does not know {word}"))?;
        }
        Ok(())
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<(), String> {
        match arguments {
            ["apply", "-k", folder] => {
                let file = Path::new(ROOT).join(folder).join("kustomization.yaml");
                need(file.exists(), || format!("{folder} has no kustomization"))
            }
            ["port-forward", what, port] => {
                let named = what.strip_prefix("deploy/").is_none_or(|name| {
                    self.manifest
                        .contains(&format!("kind: Deployment\nmetadata:\n  name: {name}\n"))
                });
                need(named, || format!("there is no {what}"))?;
                let opens = self.manifest.contains(&format!("containerPort: {port}"));
                need(opens, || format!("the pod has no port {port}"))
            }
            ["port-forward" | "exec"] | ["get" | "describe", "pod", ..] | ["logs", ..] => Ok(()),
            other => Err(format!("kubectl {other:?} is of no known kind")),
        }
    }

    /// Each address is one of the examples', and its path is answered.
    fn curl(&self, arguments: &[&str]) -> Result<(), String> {
        for argument in arguments.iter().filter(|argument| !argument.starts_with('-')) {
            let rest = ["http://127.0.0.1:3000", "http://127.0.0.1:9099"]
                .iter()
                .find_map(|address| argument.strip_prefix(address));
            let path = rest.ok_or(format!("nothing of ours is at {argument}"))?;
            let path = path.split('?').next().unwrap_or_default();
            let answered = self.routes.contains(&format!("\"{path}\""));
            need(answered, || format!("{path} is not answered"))?;
        }
        Ok(())
    }
}

fn need(holds: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(wrong()) }
}

/// The text of all Rust files below, each behind its path.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder");
    let text = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        // It has what is not there.
        _ if path.ends_with(file!()) => String::new(),
        Some(rs) if rs == "rs" => {
            let text = fs::read_to_string(&path).expect("a file of text");
            format!("{}\n{text}", path.display())
        }
        _ => String::new(),
    };
    entries.map(|entry| text(entry.expect("an entry").path())).collect()
}

#[test]
fn each_command_is_of_a_known_kind_and_names_what_is_there() {
    let (there, said) = (There::find(), said());
    assert!(said.len() > 150, "{} commands were found", said.len());
    let wrong = said.iter().filter_map(|Said { page, text, .. }| {
        there.judge(text).err().map(|wrong| format!("{page}: {text}: {wrong}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_there_is_noticed() {
    let there = There::find();
    for (command, wrong) in [
        ("cargo run --example sever", "there is no example sever"),
        ("cargo test -p tower-stall-corpse", "there is no package tower-stall-corpse"),
        ("cargo test --lib no_such_test_of_ours_", "there is no test"),
        ("cargo test --test it -- --nocaptur", "--nocaptur is not known"),
        ("cargo run -p tower-stall-otel-example -- --endpint a", "--endpint is not known"),
        ("cargo build --features flame", "there is no feature flame"),
        ("cargo bech", "of no known kind"),
        ("--bench linez", "there is no bench linez"),
        ("STALL_SOAK_SECOND_S=1 cargo test", "nobody reads STALL_SOAK_SECOND_S"),
        ("scripts/corpse 3", "there is no scripts/corpse"),
        ("scripts/compare costs", "scripts/compare does not know costs"),
        ("kubectl apply -k deploy/kubernets", "deploy/kubernets has no kustomization"),
        ("kubectl port-forward deploy/hello 9098", "the pod has no port 9098"),
        ("kubectl port-forward deploy/hullo 9099", "there is no deploy/hullo"),
        ("kubectl aply -k deploy/kubernetes", "of no known kind"),
        ("curl http://127.0.0.1:9099/metric", "/metric is not answered"),
        ("curl http://127.0.0.1:9098/metrics", "nothing of ours is at"),
        ("curl -s http://127.0.0.1:9099/metrics | jk .", "jk is of no known kind"),
        ("make", "make is of no known kind"),
    ] {
        let said = there.judge(command).expect_err(command);
        assert!(said.contains(wrong), "{command}: {said}");
    }
}

#[test]
fn of_each_line_of_a_block_it_is_known_who_runs_it() {
    let said = said();
    let lines: Vec<_> = said.iter().filter(|said| said.in_block).collect();
    let is_of = |said: &Said, (page, begin, _): &(&str, &str, Runs)| {
        said.page == *page && said.text.starts_with(begin)
    };
    for line in &lines {
        assert!(LINES.iter().any(|row| is_of(line, row)), "nobody runs {line:?}");
    }
    for row in LINES {
        let (page, begin, runs) = row;
        assert!(lines.iter().any(|line| is_of(line, row)), "{page} has no line {begin:?}");
        match runs {
            File(file, text) => {
                let found = fs::read_to_string(Path::new(ROOT).join(file)).expect(file);
                assert!(found.contains(text), "{file} does not run {page}: {begin}");
            }
            Nobody(why) => assert!([CLUSTER, LONG].contains(why)),
        }
    }
}

/// Scripts that CI does not run either.
#[test]
fn each_script_can_be_read_and_names_what_is_there() {
    let there = There::find();
    let mut shells = 0;
    for (name, text) in &there.scripts {
        if text.starts_with("#!/usr/bin/env bash") {
            let read = Command::new("bash").arg("-n").arg(Path::new(ROOT).join(name)).output();
            let read = read.expect("bash");
            assert!(read.status.success(), "{name}: {}", String::from_utf8_lossy(&read.stderr));
            shells += 1;
        }
        // A workspace of its own has packages and targets of its own.
        if ["scripts/compare", "scripts/fuzz"].contains(&name.as_str()) {
            continue;
        }
        let calls = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        for line in calls.filter(|line| line.contains("cargo ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2) {
                let kind = match pair[0] {
                    "-p" | "--package" => "package",
                    "--example" | "--bench" | "--test" | "--bin" => &pair[0][2..],
                    _ => continue,
                };
                let is_name =
                    |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
                if pair[1].chars().all(is_name) {
                    there.named(kind, pair[1]).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
                }
            }
        }
    }
    assert!(shells > 15, "{shells} scripts for the shell");
}
