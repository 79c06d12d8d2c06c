//! Chains of awaits of real futures, in each build: who awaits whom, by name and by line.

use std::path::Path;

use corpus_runner::{Build, Program};
use serde_json::Value;

/// A shape, and the links of its chain that are the user's own or combinators, outermost first.
///
/// A link is `FUNCTION@TEXT`: the line that it names has this text in it. A combinator has no text. The
/// middleware around all is left out.
const SHAPES: &[(&str, &[&str])] = &[
    ("nested", &["show_order@load().await", "load@fetch().await", FETCH, HOLD]),
    (
        "block",
        &[
            "block@inner.await",
            "block::{async block}@deeper.await",
            "block::{async block}@fetch().await",
            FETCH,
            HOLD,
        ],
    ),
    (
        "method",
        &[
            "router::{async block}@Store.get().await",
            "Store::get@self.read(7).await",
            "Store::read@fetch().await",
            FETCH,
            HOLD,
        ],
    ),
    ("generic", &["retry@make().await", FETCH, HOLD]),
    ("closure", &["closure@.collect()", "closure::{closure}@hold()", HOLD]),
    (
        "future",
        &[
            "router::{async block}@Job.await",
            "<Job as core::future::future::Future>::poll@hold()",
            HOLD,
        ],
    ),
    (
        "recursion",
        &[DESCEND, BOXED, DESCEND, BOXED, "descend::{async block}@0 => fetch().await", FETCH, HOLD],
    ),
    ("boxed", &["boxed@future.await", BOXED, FETCH, HOLD]),
    (
        "async-trait",
        &[
            "by_trait@repository.find().await",
            BOXED,
            "<Store as Repository>::find::{async block}@fetch().await",
            FETCH,
            HOLD,
        ],
    ),
    ("join", &["join@tokio::join!", "tokio::join!", LOAD, FETCH, HOLD]),
    ("futures-join", &["futures_join@futures::join!", "futures::join!", LOAD, FETCH, HOLD]),
    (
        "try-join",
        &[
            "try_join@tokio::try_join!",
            "tokio::try_join!",
            "fallible@load().await",
            LOAD,
            FETCH,
            HOLD,
        ],
    ),
    ("select", &["select@tokio::select!", "tokio::select!", LOAD, FETCH, HOLD]),
    ("join-all", &["all@join_all", "join_all", LOAD, FETCH, HOLD]),
    ("unordered", &["unordered@futures.next().await", "FuturesUnordered", LOAD, FETCH, HOLD]),
    ("buffered", &["buffered@for_each", "for_each", "buffer_unordered", LOAD, FETCH, HOLD]),
    (
        "stream",
        &[
            "next_of_stream@rows.next().await",
            "<Rows as futures_core::stream::Stream>::poll_next@hold()",
            HOLD,
        ],
    ),
    ("timeout", &["in_time@timeout(", "tokio::time::timeout", LOAD, FETCH, HOLD]),
    ("instrument", &["in_span@.instrument(", "Instrumented", LOAD, FETCH, HOLD]),
    (
        "middleware",
        &["authenticate@next.run(request).await", "show_order@load().await", LOAD, FETCH, HOLD],
    ),
    ("executor", &["executor@block_on", "futures::executor::block_on", "at_once@hold()", HOLD]),
    ("local", &["local@pin!(both).await", "local::{async block}@load().await", LOAD, FETCH, HOLD]),
];

/// The same of tasks of their own and of the future that drives a runtime: there the chain begins. They are found
/// where the program has lines.
const TASKS: &[(&str, &[&str])] = &[
    ("spawned", &[LOAD, FETCH, HOLD]),
    ("join-set", &["join_set::{async block}@load().await", LOAD, FETCH, HOLD]),
    ("root", &["root@load().await", LOAD, FETCH, HOLD]),
];

const BOXED: &str = "boxed future";
const DESCEND: &str = "descend::{async block}@descend(depth - 1).await";
const FETCH: &str = "fetch@hold()";
const HOLD: &str = "hold@wait_while";
const LOAD: &str = "load@fetch().await";
const OUTERMOST: &str = "outermost@next.run(request).await";

/// Modules of the shapes, as they stand in names.
const MODULES: [&str; 2] = ["tower_stall_corpus::awaits::shapes::", "tower_stall_corpus::awaits::"];

/// Runs all shapes in this build and compares their chains.
pub(crate) fn check(program: &Program) {
    let is_stripped = program.build().is_stripped();
    let tasks = if is_stripped { &[][..] } else { TASKS };
    let names: Vec<&str> = SHAPES.iter().chain(tasks).map(|(name, _)| *name).collect();
    let printed = program.awaits(&names);
    let mut failed = Vec::new();
    for (name, links) in SHAPES.iter().chain(tasks) {
        let is_task = TASKS.iter().any(|(task, _)| task == name);
        let outermost = (!is_task).then_some(OUTERMOST);
        let mut expected: Vec<&str> = outermost.into_iter().chain(links.iter().copied()).collect();
        // Optimized for size, the poll of a box is a jump to that of what is in it, and has no frame.
        if program.build() == Build::Size {
            expected.retain(|link| *link != BOXED);
        }
        let found = printed.iter().find(|printed| printed["shape"] == *name);
        let found = found.map_or(&Value::Null, |printed| &printed["stall"]);
        let fits = match program.build() {
            Build::Fat => fits_in_part(&expected, found),
            build => fits(build, &expected, found),
        };
        if !fits {
            failed.push(format!("{name}: {expected:?}\n{:#}", found["awaits"]));
        }
    }
    assert!(failed.is_empty(), "{}: {}", program.build().name(), failed.join("\n"));
}

fn links(stall: &Value) -> Vec<&Value> {
    let links = stall["awaits"]["links"].as_array();
    let links = links.into_iter().flatten();
    links.filter(|link| link["kind"] != "library").collect()
}

/// Each link is as expected, none is missing, and none is there besides.
fn fits(build: Build, expected: &[&str], stall: &Value) -> bool {
    let links = links(stall);
    links.len() == expected.len()
        && stall["awaits"]["missing"].is_null()
        && links.iter().zip(expected).all(|(link, expected)| {
            let (name, text) = expected.split_once('@').unwrap_or((expected, ""));
            let is_combinator = text.is_empty();
            is_combinator == (link["kind"] == "combinator")
                && is_called(build, name, link)
                && (is_combinator || line(link).is_some_and(|line| line.contains(text)))
        })
}

/// What is there is in the order of what is expected, has no lines, and it is said what is missing.
fn fits_in_part(expected: &[&str], stall: &Value) -> bool {
    // A closure and an async block have the symbols of bodies of functions.
    let function = |name: &str| name.split("::{").next().unwrap_or(name).to_owned();
    let mut left = expected.iter().map(|link| function(link.split('@').next().unwrap_or(link)));
    let links = links(stall);
    let mut own = links.iter().filter(|link| link["kind"] != "combinator" && !is_of_macro(link));
    stall["awaits"]["missing"].as_str().is_some_and(|why| why.contains("debug"))
        && links.last().is_some_and(|last| short(last) == "hold")
        && own.all(|link| {
            let is_bare = link["file"].is_null() && link["line"].is_null();
            is_bare && left.any(|expected| function(&short(link)) == expected)
        })
}

/// The closure that a macro makes of its arguments.
fn is_of_macro(link: &Value) -> bool {
    let makers = ["join", "try_join", "select", "futures_join"];
    let name = short(link);
    name.strip_suffix("::{closure}").is_some_and(|function| makers.contains(&function))
}

/// Line tables have no paths of functions that were inlined: then file and line tell.
fn is_called(build: Build, expected: &str, link: &Value) -> bool {
    let found = short(link);
    let last = expected.rsplit("::").next().unwrap_or_default();
    let kind = if last.starts_with('{') { last } else { "{async fn}" };
    found == expected
        || build == Build::LineTables && (found == last || found == format!("shapes::{kind}"))
}

fn short(link: &Value) -> String {
    let name = link["function"].as_str().unwrap_or_default().to_owned();
    MODULES.iter().fold(name, |name, module| name.replace(module, ""))
}

/// The line of source that a link names.
fn line(link: &Value) -> Option<String> {
    let file = link["file"].as_str()?;
    let line = usize::try_from(link["line"].as_u64()?).ok()?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let source = std::fs::read_to_string(workspace.join(file)).ok()?;
    source.lines().nth(line.checked_sub(1)?).map(str::to_owned)
}
