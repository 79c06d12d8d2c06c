//! The commands of README and docs, as they stand there, against the examples that they are for.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::child::{LIMIT, Process, Server, has, try_get, wait_for};
use crate::support::wait_until;

const README: &str = include_str!("../../README.md");
const PAGE: &str = include_str!("../../docs/page.md");
const PROFILES: &str = include_str!("../../docs/profiles.md");
const KUBERNETES: &str = include_str!("../../docs/kubernetes.md");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// The commands of the first block of a text that has this one.
fn commands<'a>(text: &'a str, one_of_them: &str) -> Vec<&'a str> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.into_iter().find(|block| block.contains(one_of_them));
    let lines = block.expect("a block with it").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What a command prints; it has to end well.
#[track_caller]
fn run(command: &str) -> String {
    let mut shell = Command::new("sh");
    let ran = shell.args(["-c", command]).stdin(Stdio::null()).output().expect("a shell");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{command}\n{said}{}", String::from_utf8_lossy(&ran.stderr));
    said
}

/// The same for the example's own addresses.
#[track_caller]
fn run_at(server: &Server, command: &str) -> String {
    let admin = server.admin.as_deref().expect("an admin server");
    let command = command.replace("http://127.0.0.1:3000", &server.url);
    run(&command.replace("http://127.0.0.1:9099", admin))
}

#[test]
fn the_commands_of_the_readme_show_what_it_says() {
    if !has("curl") {
        return;
    }
    let server = Server::start(&["--workers", "4"]);
    let commands = commands(README, "/blocking?ms=1000");
    let [blocking, stream, waits, metrics, probes] = commands[..] else {
        panic!("{commands:?}");
    };
    let stalls = |handler: &str| {
        server.metric("tokio_stalls_total", &[&format!("handler=\"{handler}\"")]).unwrap_or(0.0)
    };

    run_at(&server, blocking);
    server.line("GET /blocking has blocked worker");
    server.line("ended after");
    let before = stalls("GET /stream");
    run_at(&server, stream);
    wait_until(LIMIT, || stalls("GET /stream") >= before + 3.0);
    run_at(&server, waits);
    assert!(run_at(&server, metrics).contains("tokio_stalls_total{"));
    assert_eq!(stalls("GET /async"), 0.0);
    assert_eq!(run_at(&server, probes).matches("ok").count(), 2);
}

#[test]
fn the_commands_for_the_document_of_stalls_answer() {
    if !has("jq") || !has("curl") {
        return;
    }
    let server = Server::start(&["--workers", "2"]);
    let commands = commands(PAGE, "verdict.sentence");
    let [verdict, sites, chain, stack] = commands[..] else { panic!("{commands:?}") };
    // The first stack reads the program, which takes its time on a busy machine.
    wait_until(LIMIT, || {
        assert_eq!(server.get("/blocking?ms=1000").0, 200);
        run_at(&server, sites).contains("\tGET /blocking\texamples/server/routes.rs\t")
    });
    assert!(!run_at(&server, verdict).trim().is_empty());
    wait_until(LIMIT, || run_at(&server, stack).contains("server::routes::sleeps"));
    wait_until(LIMIT, || {
        let links = run_at(&server, chain);
        links.contains("async\tserver::routes::sleeps\texamples/server/routes.rs\t")
    });
}

/// Of what reads profiles, `go tool pprof` and inferno read them in `tests/it/profile`.
#[test]
fn the_commands_for_profiles_and_pods_answer() {
    if !has("curl") {
        return;
    }
    let server = Server::start(&["--workers", "2"]);
    for probe in commands(KUBERNETES, "/livez").into_iter().filter(|it| it.starts_with("curl")) {
        assert!(run_at(&server, probe).contains("ok"), "{probe}");
    }
    let commands = commands(PROFILES, "/stalls.folded").into_iter();
    let [graph, scope, firefox] =
        commands.filter(|it| it.starts_with("curl")).collect::<Vec<_>>()[..]
    else {
        panic!("three commands");
    };
    // The first stack reads the program, which takes its time on a busy machine.
    let answer = |command: &str| {
        let asks = command.split(['|', '>']).next().expect("what asks");
        run_at(&server, asks)
    };
    wait_until(LIMIT, || {
        assert_eq!(server.get("/blocking?ms=1000").0, 200);
        answer(graph).lines().any(|line| line.contains("server::routes::sleeps"))
    });
    assert!(answer(scope).contains("GET /blocking;"));
    assert!(answer(firefox).contains("\"preprocessedProfileVersion\""));
}

/// A free port for the admin server of an example that says none.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The searches of the runbook find the quick start's stall in its own log, with file and line.
#[test]
fn the_searches_of_the_runbook_find_a_stall_in_the_log_of_the_quick_start() {
    if TcpListener::bind(("127.0.0.1", 3000)).is_err() {
        super::support::needs::skip("port 3000, which the quick start takes, is not free");
        return;
    }
    let log = std::env::temp_dir().join(format!("tower-stall-quickstart-{}", std::process::id()));
    let test = std::env::current_exe().expect("this test");
    let examples = test.parent().and_then(|deps| deps.parent()).expect("target/…").join("examples");
    let child = Command::new(examples.join("quickstart"))
        .env("TOWER_STALL_ADMIN", format!("127.0.0.1:{}", free_port()))
        .stdout(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("the example: plain `cargo test` makes it");
    let _process = Process(child);
    let said = || std::fs::read_to_string(&log).expect("the log");

    // The first stack reads the program, which takes its time on a busy machine.
    wait_until(2 * LIMIT, || {
        wait_for(LIMIT, || try_get("http://127.0.0.1:3000/hello").ok());
        let is_whole = |line: &str| line.contains("stall_ended") && line.contains("code.line");
        said().lines().any(is_whole)
    });
    let searches = commands(RUNBOOK, "kubectl logs").into_iter();
    let searches: Vec<_> = searches.filter(|line| line.starts_with("kubectl logs")).collect();
    assert!(searches.len() >= 2, "{searches:?}");
    let mut stall = "stall=1 ".to_owned();
    for search in searches {
        let logs = search.split(" | ").next().expect("the command for the log");
        let search = search.replace(logs, &format!("cat {}", log.display()));
        let found = run(&search.replace("GET /blocking", "GET /hello").replace("stall=1 ", &stall));
        assert!(found.contains(r#"code.file.path="examples/quickstart.rs""#), "{search}\n{found}");
        let number = found.split(" stall=").nth(1).and_then(|rest| rest.split(' ').next());
        stall = format!("stall={} ", number.expect("its number"));
    }
    let _ = std::fs::remove_file(&log);
}
