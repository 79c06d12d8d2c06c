//! What deploy/ has, against a real Prometheus that scrapes three examples with different faults:
//! rules, alerts, every query of the dashboard, the ranking, and the commands of docs/runbook.md.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::child::{Server, is_installed, wait_for};
use super::prometheus::{Prometheus, Target};

/// For what a Prometheus that scrapes each second must see, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);
const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");
const ALERTS: &str = include_str!("../../deploy/prometheus/alerts.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/tower-stall.json");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// The files of deploy/prometheus, in a hurry: seconds for minutes. What counts by the hour does so.
fn rules() -> [(&'static str, String); 2] {
    let hurried = |text: &str| {
        let times = [
            ("interval: 1m", "interval: 1s"),
            ("for: 10m", "for: 1s"),
            ("for: 5m", "for: 1s"),
            ("for: 2m", "for: 1s"),
            ("offset 15m", "offset 10s"),
            ("[5m]", "[15s]"),
        ];
        times.iter().fold(text.to_owned(), |text, (slow, fast)| text.replace(slow, fast))
    };
    [("ours", hurried(RULES)), ("alerts", hurried(ALERTS))]
}

/// Three pods, and who scrapes them. The last has neither namespace nor pod, as outside Kubernetes.
struct Fleet {
    pods: [Server; 3],
    prometheus: Prometheus,
}

impl Fleet {
    fn start() -> Self {
        let pods = [
            Server::start(&["--workers", "2"]),
            Server::start(&["--workers", "2"]),
            Server::start(&["--runtime", "current-thread"]),
        ];
        let target = |pod: usize, labels| Target {
            url: pods[pod].admin.as_deref().expect("an admin server"),
            labels,
        };
        let targets = [
            target(0, "{namespace: shop, pod: cart-1}"),
            target(1, "{namespace: shop, pod: cart-2}"),
            target(2, "{}"),
        ];
        let prometheus = Prometheus::start_with("1s", &targets, &rules());
        let fleet = Self { pods, prometheus };
        fleet.wait_for(
            "count(namespace_job_endpoint:tower_stall_build_info:count offset 10s)",
            |_| true,
        );
        fleet
    }

    #[track_caller]
    fn wait_for(&self, query: &str, is: impl Fn(f64) -> bool) -> f64 {
        wait_for(LIMIT, || self.prometheus.query(query).filter(|value| is(*value)))
    }

    /// Waits until the alert fires with these labels and says that in its description.
    #[track_caller]
    fn wait_for_alert(&self, name: &str, labels: &[(&str, &str)], says: &str) {
        let fires = |alert: &&Value| {
            let is = |label: &str, value: &str| alert["labels"][label] == value;
            alert["state"] == "firing"
                && is("alertname", name)
                && labels.iter().all(|(label, value)| is(label, value))
                && alert["annotations"]["description"].as_str().is_some_and(|it| it.contains(says))
        };
        let alert = wait_for(LIMIT, || {
            let alerts = self.prometheus.api("alerts")?;
            alerts["alerts"].as_array()?.iter().find(fires).cloned()
        });
        assert!(!alert.to_string().contains("error expanding"), "{alert:#}");
    }
}

/// The queries of each panel, with what Grafana would put in for "All", and a short interval.
fn queries_of_the_dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| {
            let title = panel["title"].as_str().expect("a title").to_owned();
            let query = target["expr"].as_str().expect("a query").to_owned();
            let variables = ["$job", "$namespace", "$pod", "$runtime"];
            let query =
                variables.iter().fold(query, |query, variable| query.replace(variable, ".*"));
            (title, query.replace("$__rate_interval", "1m"))
        })
    });
    queries.collect()
}

#[test]
fn a_fleet_is_ranked_shown_and_alerted_on() {
    if !is_installed("prometheus") {
        return;
    }
    let mut fleet = Fleet::start();

    // On each pod alone the lock of the third is the longest.
    let requests = [
        fleet.pods[0].get_in_background("/blocking?ms=10000"),
        fleet.pods[1].get_in_background("/blocking?ms=10000"),
        // Waits for the other.
        fleet.pods[2].get_in_background("/async?ms=1000"),
        fleet.pods[2].get_in_background("/lock?ms=15000"),
    ];
    fleet.wait_for_alert("TowerStallInProgress", &[], "GET /lock (lock)");
    fleet.wait_for_alert("TowerStallFrozen", &[], "GET /lock (lock)");
    let cart = [("namespace", "shop"), ("handler", "GET /blocking")];
    fleet.wait_for_alert("TowerStallFirst", &cart, "");
    fleet.wait_for_alert("TowerStallFirst", &[("handler", "GET /lock")], "");
    for request in requests {
        assert_eq!(request.join().expect("no panic"), Some(200));
    }
    fleet.pods[2].get("/cpu?ms=3000");

    check_rankings(&fleet);
    for (title, query) in queries_of_the_dashboard() {
        if !query.contains("container_") {
            fleet.wait_for(&query, |value| {
                !value.is_nan() || title == "Length of stalls that ended"
            });
        }
    }
    fleet.wait_for(&format!("({})", queries_of_the_dashboard()[4].1), |pods| pods == 3.0);
    check_rules(&fleet.prometheus);

    fleet.pods[1].process.signal("KILL");
    fleet.pods[1].process.wait_for_end();
    fleet.wait_for_alert("TowerStallTargetDown", &[("pod", "cart-2")], "");
    check_rankings(&fleet);
}

/// Over all pods it is the sleep, whoever is killed; after it the lock.
fn check_rankings(fleet: &Fleet) {
    let first = |query: &str, labels: &str| {
        let first = format!("topk(1, {query})");
        fleet.wait_for(&format!("{query}{labels} == on () group_left () {first}"), |_| true)
    };
    let handlers = "namespace_job_handler_cause:tokio_stalled_seconds:increase1h";
    let seconds =
        first(handlers, r#"{namespace="shop",job="server",handler="GET /blocking",cause="sleep"}"#);
    assert!((16.0..30.0).contains(&seconds), "{seconds}");
    let sites = "namespace_job_handler_site_cause:tokio_stall_site_seconds:increase1h";
    for (handler, site, cause, from, to) in [
        ("GET /blocking", "server::routes::sleeps", "sleep", 16.0, 30.0),
        ("GET /lock", "server::routes::locks", "lock", 12.0, 20.0),
        ("GET /cpu", "server::routes::computes", "cpu", 1.0, 9.0),
    ] {
        let series = format!(r#"{sites}{{handler="{handler}",site="{site}",cause="{cause}"}}"#);
        fleet.wait_for(&series, |seconds| (from..to).contains(&seconds));
    }
    let victims = "namespace_job_handler:tokio_stall_delayed_requests:increase1h";
    fleet.wait_for(&format!(r#"{victims}{{handler="GET /lock"}}"#), |requests| requests >= 1.0);
}

fn check_rules(prometheus: &Prometheus) {
    let rules = prometheus.api("rules").expect("the rules");
    let groups = rules["groups"].as_array().expect("groups");
    let rules: Vec<_> =
        groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    let named = |text: &str| text.matches("- record:").count() + text.matches("- alert:").count();
    assert_eq!(rules.len(), named(RULES) + named(ALERTS));
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        assert!(rule["lastError"].as_str().is_none_or(str::is_empty), "{rule:#}");
    }
}

/// The commands of the runbook, as they stand there.
#[test]
fn the_commands_of_the_runbook_lead_to_the_line() {
    if !is_installed("promtool") || !is_installed("prometheus") {
        return;
    }
    let fleet = Fleet::start();
    let pod = &fleet.pods[0];
    let (status, _) = pod.get("/blocking?ms=3000");
    assert_eq!(status, 200);
    let sites = "namespace_job_handler_site_cause:tokio_stall_site_seconds:increase1h";
    fleet.wait_for(&format!("{sites} >= 1"), |_| true);
    let mut log = String::new();
    while !log.contains(r#"event="stall_ended""#) {
        log.push_str(&pod.line("").0);
        log.push('\n');
    }
    let file = fleet.prometheus.folder.join("server.log");
    std::fs::write(&file, log).expect("a file");

    let commands = RUNBOOK.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let commands = commands
        .expect("a block of commands")
        .replace("kubectl logs -l app=cart --tail=-1", "cat \"$LOG\"");
    let commands: Vec<_> = commands.lines().filter(|line| !line.is_empty()).collect();
    assert!((3..=4).contains(&commands.len()), "{commands:?}");
    let expected = [
        r#"site="server::routes::sleeps""#,
        r#"code.file.path="examples/server/routes.rs""#,
        "ended after",
        "thread::sleep(time);",
    ];
    let mut stall = String::new();
    for (command, expected) in commands.iter().zip(expected) {
        // On a busy machine the environment may have had the first number.
        let command = command.replace("stall=1 ", &stall);
        let ran = Command::new("sh")
            .args(["-c", &command])
            .env("PROMETHEUS", &fleet.prometheus.url)
            .env("LOG", &file)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&ran.stdout);
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(said.contains(expected), "{command}\n{said}{errors}");
        let number = said.split(" stall=").nth(1).and_then(|rest| rest.split(' ').next());
        stall = number.map_or(stall, |number| format!("stall={number} "));
    }
}
