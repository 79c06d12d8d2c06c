//! What is written is true: the documentation (tables of metrics, settings and probes, the quick
//! start, links, commands), `deploy/`, the preset for clippy.
#![cfg(all(feature = "axum", feature = "admin", feature = "capture"))]

mod comparison;
mod deploy;
mod known_commands;
mod links;
#[path = "../support/needs.rs"]
mod needs;
mod prevent;
mod probes;
mod quick_start;
mod runbook;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tower_stall::{METRICS, MetricKind, StallDetector, allow_blocking};

/// Kind and labels by name.
type Table = BTreeMap<String, (String, BTreeSet<String>)>;

fn kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
        _ => panic!("a kind that the tables do not know"),
    }
}

fn table_of_the_code() -> Table {
    let row = |info: &tower_stall::MetricInfo| {
        let labels = info.labels.iter().map(|label| (*label).to_owned()).collect();
        (info.name.to_owned(), (kind(info.kind).to_owned(), labels))
    };
    METRICS.iter().map(row).collect()
}

/// Reads the rows of a Markdown table whose first cell is the name of a metric.
fn table_of_the_docs(page: &str) -> Table {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let row = |cells: Vec<String>| {
        let labels = cells[2].split(',').map(|label| label.trim().to_owned());
        (cells[0].clone(), (cells[1].clone(), labels.filter(|label| !label.is_empty()).collect()))
    };
    page.lines().filter(|line| line.starts_with("| `to")).map(cells).map(row).collect()
}

/// Reads the Prometheus text format; histograms count once, without `le`.
fn table_of_a_scrape(page: &str) -> Table {
    let mut table = Table::new();
    let mut kinds = BTreeMap::new();
    for line in page.lines() {
        if let Some(named) = line.strip_prefix("# TYPE ") {
            let (name, kind) = named.split_once(' ').expect("a name and a type");
            kinds.insert(name, kind);
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let series = &line[..line.rfind(' ').expect("a value")];
        let (sample, labels) = series.split_once('{').unwrap_or((series, "}"));
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| sample.strip_suffix(suffix))
            .find(|name| kinds.get(name) == Some(&"histogram"));
        let name = of_histogram.unwrap_or(sample);
        let kind = kinds.get(name).expect("a type before the series");
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let names = labels.map(|label| label.split('=').next().unwrap_or_default().to_owned());
        let row = table.entry(name.to_owned()).or_insert(((*kind).to_owned(), BTreeSet::new()));
        row.1.extend(names.filter(|label| label != "le"));
    }
    table
}

#[test]
fn the_table_of_the_docs_is_the_table_of_the_code() {
    assert_eq!(table_of_the_docs(include_str!("../../docs/metrics.md")), table_of_the_code());
}

#[test]
fn a_detector_emits_each_metric_of_the_table_and_no_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let page = runtime.block_on(async {
        let stall = StallDetector::builder()
            .threshold(Duration::from_millis(20))
            .admin(([127, 0, 0, 1], 0))
            .start()
            .expect("the settings are right");
        let stall = Arc::new(stall);
        let seen = Arc::clone(&stall);
        let blocking = stall.watched("blocking", async move {
            // As long as a watchdog that has no CPU needs to see it.
            while seen.stalls().is_empty() {
                std::thread::sleep(Duration::from_millis(200));
            }
            allow_blocking("meant", || ());
        });
        tokio::spawn(blocking).await.expect("it does not panic");
        let address = stall.admin_addr().expect("an admin server");
        tokio::task::spawn_blocking(move || scrape_until_ended(address)).await.expect("a page")
    });
    assert_eq!(table_of_a_scrape(&page), table_of_the_code());
}

/// The page, once the stall's end and the allowed block are in it.
fn scrape_until_ended(address: std::net::SocketAddr) -> String {
    let url = format!("http://{address}/metrics");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(120) {
        let mut answer = ureq::get(&url).call().expect("the admin server answers");
        let page = answer.body_mut().read_to_string().expect("text");
        let last = ["tower_stall_allowed_total{", "duration_seconds_count", "site_seconds_total{"];
        if last.iter().all(|last| page.contains(last)) {
            return page;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the stall and the allowed block do not show");
}

#[test]
fn the_quick_start_of_the_readme_is_the_example() {
    let readme = include_str!("../../README.md");
    let section = readme.split("## Quick start").nth(1).expect("the section");
    let code = section.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = include_str!("../../examples/quickstart.rs");
    assert!(example.lines().count() <= 40, "a quick start is short");
    let comment = |line: &&str| line.starts_with("//!");
    let body: Vec<_> = example.lines().skip_while(comment).collect();
    assert_eq!(code.expect("a block of code").trim(), body.join("\n").trim());
}

/// The events that the pages explain are those that the code logs.
#[test]
fn each_event_of_the_log_is_explained() {
    let page = include_str!("../../docs/report.md");
    let (_, table) = page.split_once("| `event` | level | when |").expect("the table");
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix("| `"));
    let explained: BTreeSet<_> = rows.filter_map(|row| row.split('`').next()).collect();
    let code = concat!(
        include_str!("../../src/delayed/future.rs"),
        include_str!("../../src/report/log.rs"),
    );
    let starts = ["WARN, \"", "INFO, \"", "event = \""];
    let names = starts.iter().flat_map(|start| code.split(start).skip(1));
    let logged = names.filter_map(|rest| rest.split('"').next());
    assert_eq!(explained, logged.collect::<BTreeSet<_>>());
}

#[test]
fn reasons_for_a_missing_stack_are_those_of_the_code() {
    let page = include_str!("../../docs/capture.md");
    let (_, table) = page.split_once("| text | what it means |").expect("the table");
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix("| `"));
    let reasons: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    assert!(reasons.len() > 5, "{reasons:?}");
    let code = [
        include_str!("../../src/stack/native/take.rs"),
        include_str!("../../src/stack/limits.rs"),
        include_str!("../../src/stack/raw.rs"),
        include_str!("../../src/stack/unsupported.rs"),
        include_str!("../../src/procfs/thread_files.rs"),
        include_str!("../../src/stall/live.rs"),
        include_str!("../../src/stall/record.rs"),
        include_str!("../../src/stall/stack_result.rs"),
        include_str!("../../src/stall/totals.rs"),
    ];
    for reason in reasons {
        let literal = format!("\"{reason}\"");
        assert!(code.iter().any(|text| text.contains(&literal)), "{reason}");
    }
}

#[test]
fn the_map_of_the_tests_has_each_binary_and_package() {
    let map = include_str!("../README.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let mut found = 0;
    for path in [entries("tests"), entries("examples"), entries("plugins")].concat() {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
        let of_package = path.strip_prefix(root).expect("it is below").display().to_string();
        let row = if path.join("Cargo.toml").exists() {
            format!("| `{of_package}`, `-")
        } else if of_package.starts_with("tests/")
            && (path.join("main.rs").exists() || path.extension().is_some_and(|it| it == "rs"))
        {
            format!("| `{name}` |")
        } else {
            continue;
        };
        assert!(map.contains(&row), "tests/README.md has no row {row}");
        found += 1;
    }
    assert!(found > 10, "tests and packages were found");
}
