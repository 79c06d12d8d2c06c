//! The log: fields, text, limits, and where it goes.

use std::sync::Arc;

use tracing::Level;

use crate::support::events::{Event, Events};
use crate::support::{LIMIT, Rig, THRESHOLD, block_until, is_own, wait_until};

fn rig_with_log(workers: usize) -> (Rig, Events) {
    let events = Events::default();
    let rig = events.with(|| Rig::new(workers, |builder| builder));
    (rig, events)
}

#[test]
fn a_stall_is_told_at_its_start_at_doublings_from_a_second_on_and_at_its_end() {
    let (rig, events) = rig_with_log(2);
    let log = events.clone();
    let name = "import";
    rig.run(rig.stall.watched(name, async move {
        block_until(|| {
            let told = |event| {
                log.named(event).iter().filter(|seen| seen.field("handler") == name).count()
            };
            told("stall_continues") >= 2
        });
    }));
    let ended = |log: &Events| log.of(name).iter().any(|seen| seen.field("event") == "stall_ended");
    wait_until(LIMIT, || ended(&events));

    // A site that comes after the first line has a line of its own, whenever that is.
    let (located, told): (Vec<_>, Vec<_>) =
        events.of(name).into_iter().partition(|seen| seen.field("event") == "stall_located");
    let comes_late = told[0].field("code.function.name").is_empty();
    assert!(located.len() <= usize::from(comes_late), "{located:#?}");
    let sequence: Vec<_> = told.iter().map(|seen| (seen.field("event"), seen.level)).collect();
    assert_eq!(sequence.first(), Some(&("stall_started", Level::WARN)));
    assert_eq!(sequence.last(), Some(&("stall_ended", Level::INFO)));
    let between = &sequence[1..sequence.len() - 1];
    assert!(between.len() >= 2, "{sequence:?}");
    assert!(between.iter().all(|told| *told == ("stall_continues", Level::WARN)));

    assert!(told.iter().all(|event| event.number("stall") == told[0].number("stall")));
    for event in &told[1..told.len() - 1] {
        let fields: Vec<_> = event.fields.keys().copied().collect();
        assert_eq!(fields, ["blocked_ms", "event", "handler", "message", "stall"], "it is short");
    }
    for event in [&told[0], &told[told.len() - 1]] {
        assert_eq!((event.field("runtime"), event.field("cause")), ("main", "sleep"));
        assert_eq!(event.number("workers"), 2);
        assert!(event.number("workers_stalled") >= 1 && event.number("worker") < 2);
        assert!(event.field("fix").contains("tokio::time::sleep"));
        assert!(!event.fields.contains_key("trace_id"), "it has none");
    }
    let threshold = u64::try_from(THRESHOLD.as_millis()).expect("it is short");
    let lasted: Vec<_> = told.iter().map(|event| event.number("blocked_ms")).collect();
    assert!(lasted[0] >= threshold, "{lasted:?}");
    // Doublings are those of the threshold (800 ms, 1,600, 3,200): one may come late, and the next in
    // time.
    assert!(lasted[1] >= 1_000 && lasted[2] >= 16 * threshold, "doublings: {lasted:?}");
    assert!(lasted[3..].iter().all(|lasted| *lasted >= 32 * threshold), "doublings: {lasted:?}");
    assert!(lasted.is_sorted(), "{lasted:?}");
}

#[test]
fn it_says_at_start_what_is_watched_and_what_a_stack_shows() {
    let (rig, events) = rig_with_log(2);
    wait_until(LIMIT, || !events.named("watching").is_empty());
    let told = events.named("watching").remove(0);
    assert_eq!(told.level, Level::INFO);
    assert_eq!(told.number("threshold_ms"), THRESHOLD.as_millis() as u64);
    assert_eq!(told.number("workers"), 2);
    let capture = cfg!(feature = "capture");
    assert_eq!(told.field("capture"), if capture { "auto" } else { "off" });
    let message = told.message();
    assert!(message.starts_with("watching runtime \"main\" (2 workers): "), "{message}");
    let shows = match () {
        () if !capture => "no stacks are taken, the feature `capture` is not built in",
        () if cfg!(all(
            target_os = "linux",
            any(target_arch = "aarch64", target_arch = "x86_64")
        )) =>
        {
            "stacks show functions, files and lines"
        }
        () => "no stacks are taken, unsupported on this system",
    };
    assert!(message.ends_with(shows), "{message}");
    drop(rig);
    assert_eq!(events.named("watching").len(), 1, "once");
}

#[test]
fn the_lines_read_well_by_themselves() {
    let (rig, events) = rig_with_log(2);
    let block = rig.block("import");
    rig.run(rig.stall.watched("import", async move { block.run() }));
    rig.one_stall("import");
    wait_until(LIMIT, || {
        events.of("import").iter().any(|seen| seen.field("event") == "stall_ended")
    });
    let told = events.of("import");
    let started = told[0].message();
    let (worker, id) = (told[0].number("worker"), told[0].number("stall"));
    let begins = format!("import has blocked worker {worker} of runtime \"main\" for ");
    assert!(started.starts_with(&begins), "{started}");
    assert!(started.ends_with("0 requests in flight"), "{started}");
    assert!(started.contains("1 of 2 workers stalled"), "{started}");
    let over = told[told.len() - 1].message();
    assert!(over.starts_with(&format!("stall {id} ended after ")), "{over}");
    let who = over.split_once(": ").map(|(_, who)| who);
    assert!(who.is_some_and(|who| who == "import" || who.starts_with("import at ")), "{over}");
}

#[test]
fn that_a_runtime_is_dead_is_the_last_word_about_it() {
    let events = Events::default();
    let dead_after = 5 * THRESHOLD;
    let rig = events.with(|| Rig::new(0, |builder| builder.dead_after(dead_after)));
    let (log, stall) = (events.clone(), Arc::clone(&rig.stall));
    rig.run(rig.stall.watched("import", async move {
        let lasted = || {
            let stalls = stall.stalls().into_iter();
            stalls.filter(is_own).map(|stall| stall.duration).max().unwrap_or_default()
        };
        block_until(|| !log.named("dead").is_empty());
        let doubled = 3 * lasted();
        block_until(|| lasted() > doubled);
    }));
    let is_over = |seen: &Event| seen.field("event") == "stall_ended";
    wait_until(LIMIT, || events.of("import").iter().any(is_over));
    let told = events.of("import");
    let at = told.iter().position(|seen| seen.field("event") == "dead").expect("it was told");
    assert_eq!(told[at].level, Level::ERROR);
    let mut after: Vec<_> = told[at + 1..].iter().map(|seen| seen.field("event")).collect();
    // On a busy machine the line may come later than the end.
    if told[at + 1].field("code.line.number").is_empty() {
        after.retain(|event| *event != "stall_located");
    }
    assert_eq!(after, ["stall_ended"], "{told:#?}");
    let lasted = told[at + 1].number("blocked_ms");
    assert!(lasted > 2 * told[at].number("frozen_ms"), "a doubling has passed: {told:#?}");
}

#[test]
fn a_current_thread_runtime_has_one_worker_and_that_is_stalled() {
    let (rig, events) = rig_with_log(0);
    let block = rig.block("import");
    rig.run(rig.stall.watched("import", async move { block.run() }));
    wait_until(LIMIT, || !events.of("import").is_empty());
    let started = events.of("import")[0].message().to_owned();
    assert!(started.contains("the only worker is stalled"), "{started}");
}

#[cfg(all(feature = "admin", feature = "axum"))]
#[test]
fn the_trace_id_is_a_field() {
    use tower::ServiceExt;

    let (rig, events) = rig_with_log(2);
    let block = rig.block("GET /block");
    let app = axum::Router::new()
        .route("/block", axum::routing::get(async move || block.run()))
        .layer(rig.stall.layer());
    let traceparent = "00-0bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = http::Request::get("/block").header("traceparent", traceparent);
    drop(rig.run(app.oneshot(request.body(axum::body::Body::empty()).expect("a request"))));
    wait_until(LIMIT, || !events.of("GET /block").is_empty());
    let started = &events.of("GET /block")[0];
    assert_eq!(started.field("trace_id"), "0bf92f3577b34da6a3ce929d0e0e4736");
    assert!(started.message().ends_with("1 request in flight"), "{}", started.message());
}

#[cfg(feature = "admin")]
#[test]
fn a_handler_has_ten_stalls_a_minute_each_with_its_end_and_the_rest_is_summed_up() {
    use std::collections::BTreeSet;

    let events = Events::default();
    let short = std::time::Duration::from_millis(5);
    let rig = events.with(|| Rig::new(2, |builder| builder.threshold(short)));
    let block_once = |name: &'static str| {
        let before = rig.stall.stalls().first().map_or(0, |newest| newest.id);
        let stall = std::sync::Arc::clone(&rig.stall);
        rig.run(rig.stall.watched(name, async move {
            block_until(|| {
                let seen = stall.stalls();
                seen.iter().any(|stall| stall.handler == name && stall.id > before)
            });
        }));
    };
    let suppressed = || rig.metric("tower_stall_reports_suppressed_total", &[]).unwrap_or(0.0);
    let mut blocks = 0;
    // What was the environment's at first is told as the program's too, so ten may not be enough. A start
    // and an end each are held back.
    while blocks < 17 || suppressed() < 4.0 {
        assert!(blocks < 1000, "all are told");
        block_once("noisy");
        blocks += 1;
    }
    block_once("quiet");
    wait_until(LIMIT, || !events.of("quiet").is_empty());
    let of_noisy = |event: &str| {
        let seen = events.of("noisy").into_iter();
        seen.filter(|seen| seen.field("event") == event).collect::<Vec<_>>()
    };
    let held_back = || 2.0 * (f64::from(blocks) - of_noisy("stall_started").len() as f64);
    wait_until(LIMIT, || suppressed() >= held_back());
    let numbers = |seen: &[Event]| seen.iter().map(|seen| seen.number("stall")).collect();
    let (limited, ended) = (of_noisy("stall_started"), of_noisy("stall_ended"));
    let (starts, ends): (BTreeSet<_>, BTreeSet<_>) = (numbers(&limited), numbers(&ended));
    assert!(starts.len() >= 10, "{starts:?}");
    assert_eq!(starts, ends, "each that began has ended");
    let held_back = of_noisy("stalls_held_back");
    assert_eq!(held_back.len(), 1, "it says when it begins to hold back");
    let told = "stalls of noisy are held back, as there were 10 of them within a minute";
    assert!(held_back[0].message().starts_with(told), "{}", held_back[0].message());
    let located = of_noisy("stall_located");
    // A site that comes late has a line, where the stall had one.
    let is_told = |seen: &Event| {
        let starts = limited.iter().filter(|seen| seen.field("event") == "stall_started");
        starts.filter(|start| start.number("stall") == seen.number("stall")).count() == 1
    };
    assert!(located.iter().all(is_told), "{located:#?}\n{limited:#?}");
    let ids: BTreeSet<_> = numbers(&located);
    assert_eq!(ids.len(), located.len(), "one each");
    let told = events.of("noisy");
    for (at, seen) in
        told.iter().enumerate().filter(|(_, seen)| seen.field("event") == "stall_located")
    {
        let is_end_of = |end: &&Event| {
            end.field("event") == "stall_ended" && end.number("stall") == seen.number("stall")
        };
        let end = told[..at].iter().find(is_end_of);
        assert!(
            end.is_none_or(|end| end.field("code.line.number").is_empty()),
            "told twice: {seen:#?}"
        );
    }
    let labels = [("runtime", "main"), ("handler", "noisy")];
    let counted = rig.metric("tokio_stalls_total", &labels).unwrap_or(0.0);
    assert!(counted >= f64::from(blocks), "counters have no limit");

    // At the end the sum does not wait for its minute.
    assert_eq!(rig.stall.shutdown(3 * LIMIT), Ok(()));
    let sums = of_noisy("stalls_summed_up");
    let [sum] = &sums[..] else { panic!("one: {sums:#?}") };
    assert_eq!(sum.number("stalls") as f64, counted - starts.len() as f64);
    let begins = format!("{} more stalls of noisy in the last minute, ", sum.number("stalls"));
    assert!(sum.message().starts_with(&begins), "{}", sum.message());
    assert!(sum.number("blocked_ms") >= sum.number("longest_ms"));
    let longest = rig.stall.stalls();
    let longest = longest.iter().find(|stall| stall.id == sum.number("longest"));
    assert!(longest.is_some_and(|stall| stall.handler == "noisy" && !starts.contains(&stall.id)));
}

#[test]
fn control_characters_are_escaped_everywhere() {
    let (rig, events) = rig_with_log(2);
    let label = "evil\\n\\u{1b}[31mname";
    let block = rig.block(label);
    rig.run(rig.stall.watched("evil\n\u{1b}[31mname", async move { block.run() }));
    rig.one_stall(label);
    wait_until(LIMIT, || events.of(label).len() >= 2);
    for event in events.all() {
        let clean = event.fields.values().all(|value| !value.contains(char::is_control));
        assert!(clean, "{event:?}");
    }
}

#[test]
fn each_detector_logs_where_it_was_started() {
    let (first, first_log) = rig_with_log(1);
    let (second, second_log) = rig_with_log(1);
    for (rig, name) in [(&first, "first"), (&second, "second")] {
        let block = rig.block(name);
        rig.run(rig.stall.watched(name, async move { block.run() }));
    }
    for (log, own, other) in [(&first_log, "first", "second"), (&second_log, "second", "first")] {
        wait_until(LIMIT, || !log.of(own).is_empty());
        assert!(log.of(other).is_empty());
    }
}
