//! The commands of docs/runbook.md find a stall in each form of log that `tracing_subscriber::fmt()` writes.
//! (tests/server runs all of them against a Prometheus and the example.)
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tower_stall::StallDetector;
use tracing::Dispatch;

const RUNBOOK: &str = include_str!("../../docs/runbook.md");
const LIMIT: Duration = Duration::from_secs(60);

/// A log that is kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

/// What a subscriber logs of stalls of two handlers, the second of which is the runbook's.
fn logged(subscriber: impl FnOnce(Log) -> Dispatch) -> String {
    let log = Log::default();
    let dispatch = subscriber(log.clone());
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    // Its log is the subscriber that is there when it starts.
    let stall = tracing::dispatcher::with_default(&dispatch, || {
        StallDetector::builder().threshold(Duration::from_millis(100)).start()
    });
    let stall = stall.expect("a detector");
    for handler in ["GET /other", "GET /blocking"] {
        let seen = stall.clone();
        let is_over = |log: &Log| {
            let text = log.text();
            text.lines().any(|line| line.contains("stall_ended") && line.contains(handler))
        };
        let blocks = stall.watched(handler, async move {
            let is_it =
                |stall: &tower_stall::Stall| stall.handler == handler && stall.site.is_some();
            let start = Instant::now();
            while !seen.stalls().iter().any(is_it) && start.elapsed() < LIMIT {
                std::thread::sleep(Duration::from_millis(150));
            }
        });
        runtime.block_on(runtime.spawn(blocks)).expect("no panic");
        let start = Instant::now();
        while !is_over(&log) {
            assert!(start.elapsed() < LIMIT, "{}", log.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    log.text()
}

/// The lines of a log that a command of the runbook shows.
fn shown(command: &str, log: &str) -> Vec<String> {
    let name = format!("tower-stall-runbook-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, log).expect("a file");
    let command = command.replace("kubectl logs -l app=cart --tail=-1", "cat \"$LOG\"");
    let ran =
        Command::new("sh").args(["-c", &command]).env("LOG", &file).output().expect("a shell");
    std::fs::remove_file(&file).expect("it is there");
    let said = String::from_utf8(ran.stdout).expect("text");
    said.lines().map(str::to_owned).collect()
}

/// The number of a stall in a line of text, of coloured text, or of JSON.
fn number(line: &str) -> u64 {
    let mut plain = line.to_owned();
    while let Some(at) = plain.find('\u{1b}') {
        let end = plain[at..].find('m').expect("a colour's end");
        plain.replace_range(at..=at + end, "");
    }
    let rest = plain.split_once("stall=").or_else(|| plain.split_once("\"stall\":"));
    let digits = rest.unwrap_or_else(|| panic!("no number: {plain}")).1;
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn the_commands_find_a_stall_in_each_form_of_log() {
    let commands = RUNBOOK.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let commands: Vec<_> = commands.expect("a block of commands").lines().collect();
    let (line, story) = (commands[1], commands[2]);
    // One after the other: no two detectors watch at once.
    let logs = [
        ("plain", logged(|log| fmt(log, false))),
        ("coloured", logged(|log| fmt(log, true))),
        ("JSON", logged(json)),
    ];
    for (form, log) in logs {
        assert_eq!(log.contains('\u{1b}'), form == "coloured", "{log}");
        let found = shown(line, &log);
        assert_eq!(found.len(), 1, "{form}: {found:?}\n{log}");
        assert!(found[0].contains("\"GET /blocking\""), "{form}: {found:?}");
        assert!(found[0].contains("tests/docs/runbook.rs"), "{form}: {found:?}");

        let number = number(&found[0]);
        let story = story.replace("[=:m]1(", &format!("[=:m]{number}("));
        let of_it = shown(&story, &log);
        let of_handler = log.lines().filter(|line| line.contains("\"GET /blocking\""));
        let of_handler: Vec<_> = of_handler.filter(|line| self::number(line) == number).collect();
        assert!(of_handler.len() >= 2, "{form}: its start and its end\n{log}");
        // Where the machine was busy, it was the environment's at first, under the same number.
        let of_environment = |line: &&String| line.contains("\"environment\"");
        let of_it: Vec<_> = of_it.iter().filter(|line| !of_environment(line)).collect();
        assert_eq!(of_it, of_handler, "{form}");
    }
}

fn fmt(log: Log, colours: bool) -> Dispatch {
    let builder = tracing_subscriber::fmt().with_ansi(colours);
    Dispatch::new(builder.with_writer(move || log.clone()).finish())
}

fn json(log: Log) -> Dispatch {
    Dispatch::new(tracing_subscriber::fmt().json().with_writer(move || log.clone()).finish())
}
