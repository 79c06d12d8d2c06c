//! What deploy/ and its docs say fits together: metrics that exist, an alert's section in the
//! runbook, a dashboard that can be read. (tests/server asks a real Prometheus.)

use std::collections::BTreeSet;

use serde_json::Value;
use tower_stall::{METRICS, MetricInfo, MetricKind};

const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const PROMETHEUS_RULE: &str = include_str!("../../deploy/kubernetes/rules/prometheusrule.yaml");
const ALERTMANAGER: &str = include_str!("../../deploy/prometheus/alertmanager.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/tower-stall.json");
const FLEET: &str = include_str!("../../docs/fleet.md");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// The values of a key, one a line, as our YAML has them.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let key = format!("{key}: ");
    let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(&key)).collect()
}

/// All series of ours that a text may name: the table's, and what the rules record.
fn known() -> BTreeSet<String> {
    let samples = |info: &MetricInfo| match info.kind {
        MetricKind::Histogram => {
            ["_bucket", "_count", "_sum"].map(|suffix| format!("{}{suffix}", info.name)).to_vec()
        }
        _ => vec![info.name.to_owned()],
    };
    let recorded = values(RULES, "record").into_iter().map(str::to_owned);
    METRICS.iter().flat_map(samples).chain(recorded).collect()
}

/// The words of a text that begin as names of ours do.
fn named(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_name(c)).map(|word| word.trim_end_matches(':'));
    let starts = ["tokio_", "tower_stall_", "cluster_namespace_job"];
    words.filter(|word| starts.iter().any(|start| word.starts_with(start))).collect()
}

#[test]
fn each_metric_that_is_named_exists() {
    let known = known();
    // Part of a pattern, and of a name without its suffix.
    let others = ["tokio_", "tower_stall_", "tokio_stall_duration_seconds", "tower_stall"];
    for (file, text) in [
        ("rules.yml", RULES),
        ("alerts.yml", ALERTS),
        ("tests.yml", include_str!("../../deploy/prometheus/tests.yml")),
        ("tower-stall.json", DASHBOARD),
        ("fleet.md", FLEET),
        ("runbook.md", RUNBOOK),
    ] {
        let names = named(text);
        assert!(names.len() > 2, "{file}: {names:?}");
        for name in names {
            assert!(known.contains(name) || others.contains(&name), "{file}: {name}");
        }
    }
}

#[test]
fn each_series_is_on_the_dashboard_or_in_an_alert() {
    let shown: BTreeSet<_> = named(DASHBOARD).into_iter().chain(named(ALERTS)).collect();
    let recorded = values(RULES, "record");
    let through_rules: BTreeSet<_> =
        named(RULES).into_iter().filter(|name| !recorded.contains(name)).collect();
    // What one sees only where it is set on purpose.
    let others = ["tower_stall_threshold_seconds", "tower_stall_allowed_total"];
    for metric in METRICS.iter().filter(|metric| !others.contains(&metric.name)) {
        let is_it = |name: &&&str| name.starts_with(metric.name);
        let found = shown.iter().chain(&through_rules).find(is_it);
        assert!(found.is_some(), "nothing shows {}", metric.name);
    }
}

#[test]
fn each_alert_has_its_section_in_the_runbook() {
    let alerts: Vec<String> = values(ALERTS, "alert").into_iter().map(str::to_owned).collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    let sections: Vec<&str> =
        RUNBOOK.lines().filter_map(|line| line.strip_prefix("# TowerStall")).collect();
    let of_sections: Vec<String> =
        sections.iter().map(|section| format!("TowerStall{section}")).collect();
    assert_eq!(of_sections, alerts);
    let page = "https://docs.rs/tower-stall/latest/tower_stall/_documentation/runbook/index.html";
    let urls: Vec<String> =
        alerts.iter().map(|name| format!("{page}#{}", name.to_lowercase())).collect();
    assert_eq!(values(ALERTS, "runbook_url"), urls);
    assert!(include_str!("../../src/lib.rs").contains("pub mod runbook {}"), "docs.rs has it");
    // Only where Grafana is differs from place to place.
    let dashboards: BTreeSet<&str> = values(ALERTS, "dashboard_url").into_iter().collect();
    assert_eq!(dashboards.len(), 1, "{dashboards:?}");
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let uid = dashboard["uid"].as_str().expect("a uid");
    let to = dashboards.first().expect("one");
    assert!(
        to.starts_with("'https://") && to.contains(&format!("/d/{uid}/{uid}?var-job=")),
        "{to}"
    );
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    for set in to.split(['?', '&']).filter_map(|part| part.strip_prefix("var-")) {
        let name = set.split('=').next().expect("a name");
        assert!(variables.iter().any(|variable| variable["name"] == name), "{name}");
    }
    for key in ["for", "severity", "summary", "description", "dashboard_url"] {
        assert_eq!(values(ALERTS, key).len(), alerts.len(), "{key}");
    }
}

/// `scripts/rules` makes it of the two files.
#[test]
fn the_rules_of_the_operator_are_those_of_the_files() {
    let groups = [RULES, ALERTS].map(|text| text.split_once("\ngroups:\n").expect("groups").1);
    let indented = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("  {line}\n"),
    };
    let expected: String = groups.iter().flat_map(|text| text.lines()).map(indented).collect();
    let (_, found) = PROMETHEUS_RULE.split_once("\n  groups:\n").expect("groups");
    assert!(found == expected, "run scripts/rules");
}

#[test]
fn what_inhibits_exists() {
    let alerts = values(ALERTS, "alert");
    let of_rules = ALERTMANAGER.split_once("inhibit_rules:").expect("rules").1;
    for matcher in of_rules.split("alertname=").skip(1) {
        let pattern = matcher.trim_start_matches('~').split('"').nth(1).expect("a name");
        let (before, names) = pattern.split_once('(').unwrap_or((pattern, ""));
        for name in names.trim_end_matches(')').split('|') {
            let name = format!("{before}{name}");
            assert!(alerts.contains(&&*name), "{name} is no alert");
        }
    }
}

#[test]
fn alerts_name_the_causes_of_the_environment() {
    let causes = tower_stall::Cause::ALL.into_iter().filter(|cause| cause.is_environment());
    let causes: BTreeSet<String> = causes.map(|cause| cause.to_string()).collect();
    for (file, text) in [("rules.yml", RULES), ("alerts.yml", ALERTS), ("dashboard", DASHBOARD)] {
        let patterns = text.split("cause").filter_map(|rest| {
            let rest = rest.strip_prefix("!~").or_else(|| rest.strip_prefix("=~"))?;
            rest.trim_start_matches(['\\', '"']).split(['\\', '"']).next()
        });
        let patterns: Vec<&str> = patterns.collect();
        assert!(!patterns.is_empty(), "{file}");
        for pattern in patterns {
            let named: BTreeSet<String> = pattern.split('|').map(str::to_owned).collect();
            assert_eq!(named, causes, "{file}");
        }
    }
}

#[test]
fn the_first_row_answers_who_where_and_since_when() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let first: Vec<_> = panels.iter().skip(1).take_while(|panel| panel["type"] != "row").collect();
    let has = |text: &str| first.iter().any(|panel| panel.to_string().contains(text));
    for text in ["Handler", "Since", "Site", "Pod", "/explore?", "${page}/stalls"] {
        assert!(has(text), "{text}");
    }
    // What links name is there: columns of the panel, variables of the dashboard.
    for panel in &first {
        let columns = panel["transformations"].to_string();
        for named in panel["fieldConfig"].to_string().split("${__data.fields.").skip(1) {
            let column = named.split(['}', ':']).next().expect("a name");
            assert!(columns.contains(&format!("\"{column}\"")), "{}: {column}", panel["title"]);
        }
    }
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations");
    let names: Vec<_> = annotations.iter().map(|it| it["name"].as_str()).collect();
    assert!(names.contains(&Some("Alerts")) && names.contains(&Some("Restarts")), "{names:?}");
    assert!(panels.iter().any(|panel| panel["title"] == "Sites not known"));
}

#[test]
fn each_panel_says_what_it_shows_and_where_from() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|variable| variable["name"].as_str().expect("a name"))
        .collect();
    let of_series = ["cluster", "namespace", "job", "pod", "runtime", "handler"];
    assert_eq!(variables, [&["datasource"], &of_series[..], &["logs", "page"]].concat());
    for variable in &dashboard["templating"]["list"].as_array().expect("variables")[1..=6] {
        // Matches series without the label too.
        assert_eq!((&variable["allValue"], &variable["includeAll"]), (&".*".into(), &true.into()));
    }

    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().filter(|title| !title.is_empty()).expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| {
            panel["gridPos"][side].as_u64().unwrap_or_else(|| panic!("{title}: {side}"))
        });
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies on another at {place:?}");
        }
        if panel["type"] == "row" {
            continue;
        }
        for text in [&panel["description"], &panel["fieldConfig"]["defaults"]["unit"]] {
            assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{title}");
        }
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty(), "{title}");
        for part in targets.iter().chain([panel]) {
            assert_eq!(part["datasource"]["uid"], "${datasource}", "{title}");
        }
        for target in targets {
            let query = target["expr"].as_str().expect("a query");
            let others = query.contains("container_");
            let chosen = |variable: &str| query.contains(&format!("=~\"${variable}\""));
            assert!(chosen("cluster") && chosen("namespace"), "{title}: {query}");
            assert!(others || chosen("job"), "{title}: {query}");
            let of_handlers =
                ["tokio_stalls", "tokio_stalled_", "_site_seconds", "_busy_", "_delayed_"];
            let all = query.contains("unknown_ratio");
            let has = of_handlers.iter().any(|name| query.contains(name));
            assert!(all || !has || query.contains("handler=~\"$handler\""), "{title}: {query}");
        }
    }
}
