//! What deploy/ has, against a real Prometheus that scrapes three examples with different faults:
//! rules, alerts, every query of the dashboard, the ranking, and the commands of docs/runbook.md.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::child::{Server, has, wait_for};
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
            ("for: 30m", "for: 1s"),
            ("for: 10m", "for: 1s"),
            ("for: 5m", "for: 1s"),
            ("for: 2m", "for: 1s"),
            ("offset 15m", "offset 10s"),
            ("offset 5m", "offset 15s"),
            ("[5m]", "[15s]"),
            ("/ 300", "/ 15"),
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
        let cadvisor = cadvisor();
        let target = |pod: usize, labels| Target {
            url: pods[pod].admin.as_deref().expect("an admin server"),
            labels,
        };
        let targets = [
            target(0, "{namespace: shop, pod: cart-1}"),
            target(1, "{namespace: shop, pod: cart-2}"),
            target(2, "{}"),
            Target { url: &cadvisor, labels: "{job: cadvisor}" },
        ];
        let prometheus = Prometheus::start_with("1s", &targets, &rules());
        let fleet = Self { pods, prometheus };
        fleet.wait_for(
            "count(cluster_namespace_job_endpoint:tower_stall_build_info:count offset 10s)",
            |_| true,
        );
        fleet
    }

    #[track_caller]
    fn wait_for(&self, query: &str, is: impl Fn(f64) -> bool) -> f64 {
        let start = Instant::now();
        loop {
            if let Some(value) = self.prometheus.query(query).filter(|value| is(*value)) {
                return value;
            }
            if start.elapsed() > LIMIT {
                let all = "%7B__name__=~%22tokio_stall.*_total|tower_stall_captures_total%22%7D";
                let there = self.prometheus.api(&format!("query?query={all}"));
                panic!("did not happen within {LIMIT:?}: {query}\nthere is {there:#?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
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

/// The queries of each panel, by its title.
fn queries_of_the_dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| {
            let title = panel["title"].as_str().expect("a title").to_owned();
            let query = target["expr"].as_str().expect("a query").to_owned();
            (title, filled_in(query))
        })
    });
    queries.collect()
}

/// A query with what Grafana would put in for "All", and short intervals.
fn filled_in(query: String) -> String {
    let variables = ["$cluster", "$namespace", "$job", "$pod", "$runtime", "$handler"];
    let query = variables.iter().fold(query, |query, variable| query.replace(variable, ".*"));
    query
        .replace("$__rate_interval", "1m")
        .replace("$__range:1m", "10m:1s")
        .replace("$__range", "10m")
}

/// How many values each variable has, by its name. No pod of the fleet is in a cluster with a name.
fn variables_of_the_dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let queried = variables.iter().filter(|variable| variable["type"] == "query");
    let queried = queried.filter(|variable| variable["name"] != "cluster").map(|variable| {
        let name = variable["name"].as_str().expect("a name").to_owned();
        let query = filled_in(variable["query"]["query"].as_str().expect("a query").to_owned());
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inside.and_then(|it| it.rsplit_once(", ")).expect("its two parts");
        assert_eq!(label, name, "{query}");
        let count = format!("count(count by ({label}) ({series}))");
        (name, count)
    });
    let queried: Vec<_> = queried.collect();
    assert!(queried.len() >= 5, "{queried:?}");
    queried
}

/// A page of metrics like that of cAdvisor about a pod of the fleet, whose quota is used up now and then.
/// Returns its address.
fn cadvisor() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for (scrapes, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let labels = r#"{namespace="shop",pod="cart-1",container="server"}"#;
            let body = format!(
                "container_cpu_cfs_periods_total{labels} {}\n\
                 container_cpu_cfs_throttled_periods_total{labels} {scrapes}\n",
                10 * scrapes
            );
            // The request first: who closes with unread bytes resets the connection.
            let asked = BufReader::new(&stream).lines().map_while(Result::ok);
            asked.take_while(|line| !line.is_empty()).for_each(drop);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            drop((&stream).write_all(answer.as_bytes()));
        }
    });
    url
}

/// What is drawn over the panels.
fn annotations_of_the_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations");
    let queries = annotations.iter().filter_map(|annotation| annotation["expr"].as_str());
    queries.map(|query| filled_in(query.to_owned())).collect()
}

#[test]
fn a_fleet_is_ranked_shown_and_alerted_on() {
    if !has("prometheus") {
        return;
    }
    let mut fleet = Fleet::start();

    // None of them ends by itself. The sleeps began before the lock, so together they are longer,
    // and each alone may not be.
    let for_ever = "ms=3600000";
    let sleeps = r#"tokio_stalled_seconds_total{handler="GET /blocking"}"#;
    for pod in &fleet.pods[..2] {
        pod.get_in_background(&format!("/async?{for_ever}"));
        pod.get_in_background(&format!("/blocking?{for_ever}"));
    }
    fleet.wait_for(&format!("min({sleeps}) and count({sleeps}) == 2"), |seconds| seconds >= 1.0);
    fleet.pods[2].get_in_background(&format!("/lock?{for_ever}"));
    // On a busy machine the environment has most of it.
    let computes = r#"tokio_stall_site_seconds_total{site="server::routes::computes"}"#;
    while fleet.prometheus.query(computes).is_none_or(|seconds| seconds < 1.0) {
        assert_eq!(fleet.pods[0].get("/cpu?ms=2000").0, 200);
    }

    fleet.wait_for_alert("TowerStallLong", &[("pod", "cart-1")], "GET /blocking (sleep)");
    fleet.wait_for_alert("TowerStallLong", &[], "GET /lock (lock)");
    fleet.wait_for_alert("TowerStallFrozen", &[], "GET /lock (lock)");
    fleet.wait_for_alert("TowerStallOften", &[("handler", "GET /blocking")], "runtime \"main\"");
    // Of three ticking runtimes one is frozen.
    fleet.wait_for_alert("TowerStallLag", &[], "runtime \"main\"");
    for handler in ["GET /blocking", "GET /lock", "GET /cpu"] {
        // Over by now, perhaps.
        let alert = format!(r#"ALERTS{{alertname="TowerStallFirst",handler="{handler}"}}"#);
        fleet.wait_for(&format!("max_over_time({alert}[10m])"), |_| true);
    }
    check_rankings(&fleet);
    let ranked =
        r#"cluster_namespace_job_handler_cause:tokio_stalled_seconds:increase1h{cause="sleep"}"#;
    fleet.wait_for(&format!("sum({ranked}) / sum({sleeps})"), |share| (0.8..1.25).contains(&share));

    for (title, query) in queries_of_the_dashboard() {
        // All pods, also the one without labels for it.
        let all = |pods| title != "Detectors" || pods == 3.0;
        fleet.wait_for(&query, |value| value.is_finite() && all(value));
    }
    for (name, query) in variables_of_the_dashboard() {
        fleet.wait_for(&query, |values| values >= if name == "handler" { 3.0 } else { 1.0 });
    }
    for query in annotations_of_the_dashboard() {
        fleet.wait_for(&format!("max_over_time(({query})[10m:1s])"), |value| value >= 1.0);
    }
    check_rules(&fleet.prometheus);

    fleet.pods[1].process.signal("KILL");
    fleet.pods[1].process.wait_for_end();
    fleet.wait_for_alert("TowerStallTargetDown", &[("pod", "cart-2")], "");
    check_rankings(&fleet);
}

/// Over all pods it is the sleep, whoever is killed.
fn check_rankings(fleet: &Fleet) {
    let sites = "cluster_namespace_job_handler_site_cause:tokio_stall_site_seconds:increase1h";
    for (ranking, labels) in [
        (
            "cluster_namespace_job_handler_cause:tokio_stalled_seconds:increase1h",
            r#"cause="sleep""#,
        ),
        (sites, r#"cause="sleep",site="server::routes::sleeps""#),
    ] {
        let first = format!("topk(1, {ranking})");
        let it = format!(
            r#"{ranking}{{namespace="shop",job="server",handler="GET /blocking",{labels}}}"#
        );
        fleet.wait_for(&format!("{it} and on (handler, namespace) {first}"), |_| true);
    }
    for (handler, site, cause) in [
        ("GET /lock", "server::routes::locks", "lock"),
        ("GET /cpu", "server::routes::computes", "cpu"),
    ] {
        let series = format!(r#"{sites}{{handler="{handler}",site="{site}",cause="{cause}"}}"#);
        fleet.wait_for(&series, |seconds| seconds >= 1.0);
    }
    let victims = "cluster_namespace_job_handler:tokio_stall_delayed_requests:increase1h";
    fleet.wait_for(&format!(r#"{victims}{{handler="GET /blocking"}}"#), |requests| requests >= 1.0);
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
    if !has("promtool") || !has("prometheus") {
        return;
    }
    let fleet = Fleet::start();
    let pod = &fleet.pods[0];
    // The first stack reads the program, which takes its time on a busy machine.
    let locks = r#"site="server::routes::locks""#;
    while pod.metric("tokio_stall_site_seconds_total", &[locks]).is_none() {
        assert_eq!(pod.get("/lock?ms=1000").0, 200);
    }
    let mut log = String::new();
    let is_told = |log: &str, what: &str| {
        let handler = r#"handler="GET /blocking""#;
        log.lines().any(|line| line.contains(handler) && line.contains(what))
    };
    // Of a stall that has no stack, since what stacks may take is spent, the log has no line.
    let start = Instant::now();
    while !is_told(&log, "code.line.number") {
        assert!(start.elapsed() < LIMIT, "{log}");
        assert_eq!(pod.get("/blocking?ms=5000").0, 200);
        let mut of_this = String::new();
        while !is_told(&of_this, r#"event="stall_ended""#) {
            of_this.push_str(&pod.line("").0);
            of_this.push('\n');
        }
        log.push_str(&of_this);
    }
    let site = r#"tokio_stall_site_seconds:increase1h{site="server::routes::sleeps"}"#;
    fleet.wait_for(&format!("cluster_namespace_job_handler_site_cause:{site} >= 1"), |_| true);
    let file = fleet.prometheus.folder.join("server.log");
    std::fs::write(&file, &log).expect("a file");

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
        let command = command.replace("[=:m]1(", &format!("[=:m]{stall}("));
        let ran = Command::new("sh")
            .args(["-c", &command])
            .env("PROMETHEUS", &fleet.prometheus.url)
            .env("LOG", &file)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&ran.stdout);
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(said.contains(expected), "{command}\n{said}{errors}\n{log}");
        let number = said.split(" stall=").nth(1).and_then(|rest| rest.split(' ').next());
        stall = number.map_or(stall, str::to_owned);
    }
}
