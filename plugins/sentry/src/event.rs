//! The event of a stall.

use std::time::Duration;

use sentry_core::Level;
use sentry_core::protocol::{
    Addr, Context, Event, Exception, Frame, Map, Mechanism, Stacktrace, ThreadId, TraceContext,
    Value,
};
use tower_stall::{STALL_BUCKETS, Stack, Stall};

use crate::limits::Issue;

/// What Sentry keeps of the value of a tag.
const MOST_OF_A_TAG: usize = 200;

/// Cause and place: where in the own code, or the handler.
pub(crate) fn issue(stall: &Stall) -> Issue {
    let place = stall.site.as_ref().map_or(&*stall.handler, |site| &site.function);
    [stall.cause.to_string(), place.to_owned()]
}

/// With how many stalls of the issue had no event since the last one.
pub(crate) fn event(stall: &Stall, held_back: u64) -> Event<'static> {
    let [cause, place] = issue(stall);
    let stacktrace = stall.stack.as_deref().map(stacktrace);
    let exception = Exception {
        ty: format!("stall ({cause})"),
        value: Some(said(stall)),
        stacktrace,
        thread_id: stall.stack.as_ref().map(|stack| ThreadId::Int(stack.thread.into())),
        mechanism: Some(Mechanism {
            ty: "tower-stall".to_owned(),
            handled: Some(true),
            ..Mechanism::default()
        }),
        ..Exception::default()
    };
    let is_environment = stall.cause.is_environment();
    Event {
        level: if is_environment { Level::Warning } else { Level::Error },
        fingerprint: vec!["tower-stall".into(), cause.into(), place.into()].into(),
        transaction: Some(stall.handler.to_string()),
        logger: Some("tower_stall".to_owned()),
        platform: "native".into(),
        timestamp: stall.started_at,
        contexts: [
            ("stall".to_owned(), Context::Other(context(stall, held_back))),
            ("trace".to_owned(), trace(stall).into()),
        ]
        .into(),
        exception: vec![exception].into(),
        tags: tags(stall),
        ..Event::default()
    }
}

/// Without a trace, one of its own: that of the main hub is of no request.
fn trace(stall: &Stall) -> TraceContext {
    let context = TraceContext { op: Some("stall".to_owned()), ..TraceContext::default() };
    match stall.trace_id {
        Some(trace) => TraceContext { trace_id: trace.to_be_bytes().into(), ..context },
        None => context,
    }
}

fn said(stall: &Stall) -> String {
    let ms = stall.duration.as_millis();
    let blocked = if stall.in_progress { "has blocked" } else { "blocked" };
    let worker = stall.worker.map_or_else(|| "the thread".to_owned(), |it| format!("worker {it}"));
    let detail = stall.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let site = stall.site.as_ref().map(|site| format!(" at {site}")).unwrap_or_default();
    format!(
        "{} {blocked} {worker} of runtime \"{}\" for {ms} ms{site}{detail}",
        stall.handler, stall.runtime
    )
}

/// Texts that a search finds, few of each.
fn tags(stall: &Stall) -> Map<String, String> {
    let site = stall.site.as_ref().map(|site| &*site.function);
    let duration = range(stall.duration);
    let tags = [
        ("stall.cause", Some(stall.cause.as_str())),
        ("stall.handler", Some(&*stall.handler)),
        ("stall.site", site),
        ("stall.runtime", Some(&*stall.runtime)),
        ("stall.fix", Some(&*stall.fix)),
        ("stall.duration", Some(&*duration)),
        ("stall.in_progress", Some(if stall.in_progress { "true" } else { "false" })),
    ];
    let tags = tags.into_iter().filter_map(|(name, value)| Some((name.to_owned(), tag(value?))));
    tags.filter(|(_, value)| !value.is_empty()).collect()
}

fn tag(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable).take(MOST_OF_A_TAG).collect::<String>().trim().to_owned()
}

/// Between two bounds of the metric of durations.
fn range(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let above = STALL_BUCKETS.iter().rfind(|bound| **bound < seconds);
    let below = STALL_BUCKETS.iter().find(|bound| **bound >= seconds);
    match (above, below) {
        (Some(above), Some(below)) => format!("{above} s to {below} s"),
        (None, Some(below)) => format!("at most {below} s"),
        (Some(above), None) => format!("over {above} s"),
        (None, None) => String::new(),
    }
}

fn context(stall: &Stall, held_back: u64) -> Map<String, Value> {
    let ms = u64::try_from(stall.duration.as_millis()).unwrap_or(u64::MAX);
    let text = |text: &dyn ToString| Value::from(text.to_string());
    let known = [
        ("id", Some(Value::from(stall.id))),
        ("runtime", Some(text(&stall.runtime))),
        ("worker", stall.worker.map(Value::from)),
        ("handler", Some(text(&stall.handler))),
        ("cause", Some(text(&stall.cause))),
        ("detail", stall.detail.as_ref().map(|it| text(it))),
        ("fix", Some(text(&stall.fix))),
        ("duration_ms", Some(Value::from(ms))),
        ("in_progress", Some(Value::from(stall.in_progress))),
        ("workers", Some(Value::from(stall.workers))),
        ("workers_stalled", Some(Value::from(stall.workers_stalled))),
        ("requests_in_flight", Some(Value::from(stall.requests_in_flight))),
        ("delayed_requests", Some(Value::from(stall.delayed_requests))),
        ("site", stall.site.as_ref().map(|it| text(it))),
        ("site_missing", stall.site_missing.as_ref().map(|it| text(it))),
        ("last_seen", stall.last_seen.as_ref().map(|it| text(it))),
        ("later", stall.later.last().map(|it| text(it))),
        ("stack_missing", stall.stack_missing.as_ref().map(|it| text(it))),
        ("stack_partial", stall.stack.as_ref().map(|stack| Value::from(stack.partial))),
        ("held_back", Some(Value::from(held_back))),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The outermost frame first, as Sentry has them.
fn stacktrace(stack: &Stack) -> Stacktrace {
    Stacktrace {
        frames: stack.frames.iter().rev().map(|it| frame(it)).collect(),
        ..Stacktrace::default()
    }
}

fn frame(frame: &tower_stall::Frame) -> Frame {
    let short = |path: &String| path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned();
    let guessed = frame.guessed.then(|| ("guessed".to_owned(), Value::from(true)));
    Frame {
        function: frame.function.clone(),
        symbol: frame.function.clone(),
        package: frame.module.as_deref().map(str::to_owned),
        filename: frame.file.as_ref().map(short),
        abs_path: frame.file.clone(),
        lineno: frame.line.map(u64::from),
        in_app: Some(frame.own),
        instruction_addr: (frame.address != 0).then_some(Addr(frame.address)),
        vars: guessed.into_iter().collect(),
        ..Frame::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_a_range_of_the_metric() {
        for (ms, expected) in [
            (50, "at most 0.1 s"),
            (100, "at most 0.1 s"),
            (101, "0.1 s to 0.25 s"),
            (2_000, "1 s to 2.5 s"),
            (120_001, "over 120 s"),
        ] {
            assert_eq!(range(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn tags_are_one_line_of_what_sentry_keeps() {
        assert_eq!(tag(" a\nb\t"), "a b");
        assert_eq!(tag(&"ä".repeat(300)), "ä".repeat(200));
    }

    #[test]
    fn frames_say_what_is_known_of_them() {
        let bare = frame(&tower_stall::Frame::default());
        assert_eq!(bare, Frame { in_app: Some(false), ..Frame::default() });
        let mut known = tower_stall::Frame::default();
        known.function = Some("app::handler".to_owned());
        known.file = Some("/build/app/src/main.rs".to_owned());
        (known.line, known.address, known.own, known.guessed) = (Some(31), 0x5234, true, true);
        known.module = Some("app".into());
        let shown = frame(&known);
        assert_eq!(shown.filename.as_deref(), Some("main.rs"));
        assert_eq!(shown.abs_path.as_deref(), Some("/build/app/src/main.rs"));
        assert_eq!((shown.lineno, shown.in_app), (Some(31), Some(true)));
        assert_eq!(shown.instruction_addr, Some(Addr(0x5234)));
        assert_eq!(shown.package.as_deref(), Some("app"));
        assert_eq!(shown.vars["guessed"], true);
    }
}
