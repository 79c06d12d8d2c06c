//! All sentences about stalls and runtimes: in the log, by the health routes and on the page.

#[cfg(feature = "admin")]
mod page;

use std::fmt;
use std::time::Duration;

use crate::clock::{Nanos, human, human_nanos};
use crate::label::printable;
use crate::labels::UNATTRIBUTED;
use crate::log_status::LogStatus;
use crate::stall::{Cause, HeldBy, LaterSample, NO_DEBUG_INFO, Site, StackDetail, Stall};
use crate::vitals::{Condition, OwnThread, ThreadReport};
#[cfg(feature = "admin")]
pub(crate) use page::*;

/// The name of the program's file.
#[cfg(any(feature = "admin", feature = "profile"))]
pub(crate) fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_name());
    name.map_or_else(|| "?".to_owned(), |name| name.to_string_lossy().into_owned())
}

pub(crate) fn handler(stall: &Stall) -> &str {
    name(&stall.handler)
}

fn name(handler: &str) -> &str {
    if handler == UNATTRIBUTED { "a task without a name" } else { handler }
}

pub(crate) fn whom(stall: &Stall) -> String {
    stall.worker.map_or_else(|| "its thread".to_owned(), |worker| format!("worker {worker}"))
}

pub(crate) fn place(site: Option<&Site>) -> String {
    site.map_or_else(String::new, |site| format!(" at {site}"))
}

/// Where a stall is, or where the last one of the same kind was.
pub(crate) fn place_of(stall: &Stall) -> String {
    match (&stall.site, &stall.last_seen) {
        (None, Some(last)) => format!(", last seen at {last}"),
        (site, _) => place(site.as_ref()),
    }
}

pub(crate) fn why(stall: &Stall) -> String {
    why_at(stall.cause, stall.detail.as_deref(), "")
}

/// Why and where. Time lost to the environment comes after that: it was not lost at that place. Last comes what
/// it did later.
pub(crate) fn why_and_where(stall: &Stall) -> String {
    let first = why_at(stall.cause, stall.detail.as_deref(), &place_of(stall));
    and_later(first, stall)
}

/// What a stall did first, and then last.
fn and_later(first: String, stall: &Stall) -> String {
    match stall.later.last() {
        None => first,
        Some(last) => format!("{first}; {last}"),
    }
}

/// What a stall did later.
#[cfg(feature = "admin")]
pub(crate) fn why_later(sample: &LaterSample) -> String {
    why_at(sample.cause, sample.detail.as_deref(), "")
}

fn why_at(cause: Cause, detail: Option<&str>, place: &str) -> String {
    let (waits_for, lost) = detail.map_or((None, None), parts);
    let mut why = match (waits_for, cause) {
        (None, cause) if cause.is_environment() && lost.is_some() => String::new(),
        (Some(waits_for), cause) => format!("{cause} ({waits_for})"),
        (None, Cause::Unknown) => "unknown cause".to_owned(),
        (None, cause) => cause.to_string(),
    };
    why += place;
    if let Some(lost) = lost {
        why += if why.is_empty() { "" } else { "; " };
        why += lost;
    }
    why
}

/// A detail: what the thread waited for, and the time that it lost to the environment.
fn parts(detail: &str) -> (Option<&str>, Option<&str>) {
    let tells_lost_time = |part: &str| {
        let mut causes = Cause::ALL.iter().filter(|cause| cause.is_environment());
        causes.any(|cause| {
            part.strip_prefix(cause.lost()).is_some_and(|rest| rest.starts_with(" for "))
        })
    };
    match detail.rsplit_once("; ") {
        Some((waits_for, lost)) if tells_lost_time(lost) => (Some(waits_for), Some(lost)),
        _ if tells_lost_time(detail) => (None, Some(detail)),
        _ => (Some(detail), None),
    }
}

/// How many of the workers are stalled.
pub(crate) fn share(stalled: usize, workers: usize) -> String {
    match workers {
        1 => "the only worker is stalled".to_owned(),
        _ => format!("{stalled} of {workers} workers stalled"),
    }
}

/// Who blocks whom, for how long, why and where.
pub(crate) fn blocks(stall: &Stall) -> String {
    format!(
        "{} has blocked {} of runtime {:?} for {}: {}",
        handler(stall),
        whom(stall),
        stall.runtime,
        human(stall.duration),
        why_and_where(stall)
    )
}

/// For how long a runtime has been frozen.
pub(crate) fn frozen(runtime: &str, time: Duration) -> String {
    format!("runtime {runtime:?} has been frozen for {}", human(time))
}

/// What is watched: runtimes with their workers.
pub(crate) fn watching(
    runtimes: &[(&str, usize)],
    threshold: Nanos,
    detail: Option<StackDetail>,
) -> String {
    let named = runtimes.iter().map(|(name, workers)| {
        format!("runtime {name:?} ({workers} worker{})", if *workers == 1 { "" } else { "s" })
    });
    let whom = match runtimes {
        [] => "each runtime that polls something marked".to_owned(),
        _ => named.collect::<Vec<_>>().join(", "),
    };
    let stacks = detail.map_or_else(String::new, |detail| format!("; {}", stacks(detail)));
    format!("watching {whom}: a poll of more than {} is a stall{stacks}", human_nanos(threshold))
}

/// What stacks show, and what to do about it.
pub(crate) fn stacks(detail: StackDetail) -> String {
    let show = match detail {
        StackDetail::Lines => "stacks show functions, files and lines",
        StackDetail::Functions(_) => "stacks show functions",
        StackDetail::Offsets(_) => "stacks show offsets in the program",
        StackDetail::Nothing(_) => "no stacks are taken",
    };
    let why = detail.why().map_or_else(String::new, |why| format!(", {why}"));
    let strips = matches!(detail, StackDetail::Offsets(NO_DEBUG_INFO));
    let advice = if strips { ", and strip = \"none\"" } else { "" };
    format!("{show}{why}{advice}")
}

/// How to be without the line that tells of a log without our warnings.
pub(crate) const LOG_CHECK_OFF: &str = "TOWER_STALL_LOG_CHECK=off leaves this line out";

/// What to do about a log that has no line of ours; `None` where it has.
pub(crate) fn log_notice(status: LogStatus) -> Option<&'static str> {
    match status {
        LogStatus::Unknown | LogStatus::Taken => None,
        LogStatus::FilteredOut => Some(
            "no stall is logged, since the filter of the tracing subscriber drops warnings of the target \
             `tower_stall`: add \"tower_stall=info\" to the filter",
        ),
        LogStatus::NoSubscriber => Some(
            "no stall is logged, since no tracing subscriber is installed: \
             tracing_subscriber::fmt().init() installs one",
        ),
    }
}

/// What keeps the log and the stacks from being whole, and what to do about it.
pub(crate) fn notices(log: LogStatus, detail: Option<StackDetail>) -> Vec<String> {
    let no_lines = detail.filter(|detail| detail.why() == Some(NO_DEBUG_INFO));
    let log = log_notice(log).map(str::to_owned);
    log.into_iter().chain(no_lines.map(stacks)).collect()
}

/// What has become of a thread of the detector.
pub(crate) fn thread(report: ThreadReport) -> String {
    let name = report.thread.as_str();
    let missing = match report.thread {
        OwnThread::Watchdog => "no stall is found",
        OwnThread::Reporter => {
            "no line is logged, no hook is called, no metric goes to your recorder"
        }
        OwnThread::Capture => "no stack is taken",
        OwnThread::Symbols => "no stack gets names",
        OwnThread::Admin => "no page and no probe is answered",
    };
    let panics = match report.panics {
        0 => String::new(),
        1 => ", a panic before that".to_owned(),
        panics => format!(", {panics} panics before that"),
    };
    match report.condition {
        Condition::Works => {
            let times = if report.panics == 1 { "" } else { "s" };
            format!("{name} panicked {} time{times} and goes on: please report it", report.panics)
        }
        Condition::Stuck(time) => {
            format!("{name} has been stuck for {}{panics}: {missing} meanwhile", human_nanos(time))
        }
        Condition::Lost => {
            format!("{name} has ended{panics}: {missing} until the process restarts")
        }
    }
}

pub(crate) fn started(stall: &Stall) -> String {
    if stall.cause.is_environment() {
        let (whom, time, why) = (whom(stall), human(stall.duration), why(stall));
        return format!("{whom} of runtime {:?} could not run for {time}: {why}", stall.runtime);
    }
    let (blocks, share) = (blocks(stall), share(stall.workers_stalled, stall.workers));
    let requests = match stall.requests_in_flight {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    };
    format!("{blocks} · {share} · {requests} in flight")
}

/// What was missing in the first line of a stall.
pub(crate) fn located(stall: &Stall) -> String {
    format!("stall {} is {}{}", stall.id, handler(stall), place(stall.site.as_ref()))
}

/// Who has what a stall waits for.
pub(crate) fn held_by(stall: &Stall, held_by: &HeldBy) -> String {
    format!("stall {}: {} waits: {}", stall.id, handler(stall), printable(&held_by.to_string()))
}

/// What a stall does by now, which is something else than before.
pub(crate) fn moved(stall: &Stall, now: &LaterSample) -> String {
    let (id, whom, now) = (stall.id, whom(stall), now.to_string());
    format!("stall {id}: {} blocks {whom} elsewhere: {}", handler(stall), printable(&now))
}

pub(crate) fn continues(stall: &Stall) -> String {
    let (id, whom, time) = (stall.id, whom(stall), human(stall.duration));
    match stall.cause.is_environment() {
        true => format!("stall {id}: {whom} could still not run after {time}"),
        false => format!("stall {id}: {} still blocks {whom} after {time}", handler(stall)),
    }
}

/// From here on stalls of a handler are not logged one by one.
pub(crate) fn holds_back(handler: &str, of_one: u32, in_all: u32, told_after: Duration) -> String {
    format!(
        "stalls of {} are held back, as there were {of_one} of them within a minute, or {in_all} in all: \
         a line a minute sums them up, and one that lasts for {} has lines of its own",
        name(handler),
        human(told_after)
    )
}

/// Stalls of a minute that were not logged one by one.
pub(crate) struct StallSum<'a> {
    pub(crate) whose: &'a str,
    pub(crate) stalls: u64,
    pub(crate) time: Duration,
    /// The id and the time of the longest.
    pub(crate) longest: (u64, Duration),
    pub(crate) cause: Cause,
    pub(crate) site: Option<&'a Site>,
}

impl fmt::Display for StallSum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, stalls, time, longest: (id, longest), cause, site } = self;
        let plural = if *stalls == 1 { "" } else { "s" };
        write!(f, "{stalls} more stall{plural} of {} in the last minute, ", name(whose))?;
        write!(
            f,
            "{} in all; the longest, stall {id}, lasted {}: ",
            human(*time),
            human(*longest)
        )?;
        write!(f, "{cause}{}", place(*site))
    }
}

/// What a request has waited for, as far as is known.
pub(crate) fn delayed(stall: &Stall, time: Duration, of: Duration, stalls: usize) -> String {
    let more = match stalls {
        0 | 1 => String::new(),
        2 => ", and another stall meanwhile".to_owned(),
        _ => format!(", and {} other stalls meanwhile", stalls - 1),
    };
    format!(
        "for {} of the {} of this request {} blocked {}{}{more}",
        human(time),
        human(of),
        handler(stall),
        whom(stall),
        place_of(stall)
    )
}

pub(crate) fn ended(stall: &Stall) -> String {
    let what = match stall.cause.is_environment() {
        true => format!("{} could not run", whom(stall)),
        false => culprit(stall),
    };
    format!("stall {} ended after {}: {what}", stall.id, human(stall.duration))
}

fn culprit(stall: &Stall) -> String {
    and_later(format!("{}{}", handler(stall), place_of(stall)), stall)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::tests::stall;

    #[test]
    fn the_lines_say_who_blocks_what_and_for_how_long() {
        let stall = Stall { id: 17, requests_in_flight: 27, worker: Some(2), ..stall(17) };
        assert_eq!(
            started(&stall),
            "GET /hello has blocked worker 2 of runtime \"main\" for 100 ms: unknown cause · 1 of 4 workers stalled · 27 requests in flight"
        );
        let read = Stall {
            cause: Cause::FileIo,
            detail: Some("read of /data/big.csv".into()),
            ..stall.clone()
        };
        assert!(started(&read).contains("for 100 ms: file_io (read of /data/big.csv) · 1 of"));
        let later = Stall { duration: Duration::from_millis(209), ..stall.clone() };
        assert_eq!(continues(&later), "stall 17: GET /hello still blocks worker 2 after 209 ms");
        let over = Stall { duration: Duration::from_millis(5003), ..stall };
        assert_eq!(ended(&over), "stall 17 ended after 5.003 s: GET /hello");
        let site = Site { function: "app::load".into(), file: None, line: None };
        let named = Stall { site: Some(site), ..over };
        assert!(ended(&named).ends_with(": GET /hello at app::load"));
    }

    #[test]
    fn what_is_watched_is_told_with_what_stacks_show_and_how_they_show_more() {
        let threshold = 100_000_000;
        assert_eq!(
            watching(&[("main", 4), ("jobs", 1)], threshold, Some(StackDetail::Lines)),
            "watching runtime \"main\" (4 workers), runtime \"jobs\" (1 worker): a poll of more than \
             100 ms is a stall; stacks show functions, files and lines"
        );
        assert_eq!(
            watching(&[], threshold, None),
            "watching each runtime that polls something marked: a poll of more than 100 ms is a stall"
        );
        assert_eq!(
            stacks(StackDetail::Functions(NO_DEBUG_INFO)),
            "stacks show functions, no lines: the program has no debug information: add \
             debug = \"limited\" to the profile"
        );
        assert!(stacks(StackDetail::Offsets(NO_DEBUG_INFO)).ends_with(", and strip = \"none\""));
        let off = StackDetail::Nothing("the mode is off");
        assert_eq!(stacks(off), "no stacks are taken, the mode is off");
    }

    #[test]
    fn what_has_no_name_is_told_as_such() {
        let stall = Stall { handler: UNATTRIBUTED.into(), ..stall(3) };
        assert!(started(&stall).starts_with("a task without a name has blocked"));
        assert!(ended(&stall).ends_with(": a task without a name"));
    }

    #[test]
    fn the_environment_is_told_in_other_words() {
        let stopped = Stall {
            cause: Cause::Suspended,
            detail: Some("suspended for 500 ms of 531 ms".into()),
            handler: "environment".into(),
            worker: Some(2),
            ..stall(3)
        };
        assert_eq!(
            started(&stopped),
            "worker 2 of runtime \"main\" could not run for 100 ms: suspended for 500 ms of 531 ms"
        );
        assert!(ended(&stopped).ends_with("worker 2 could not run"));
    }

    #[test]
    fn time_without_a_cpu_is_no_part_of_the_cause() {
        let told =
            |cause, detail: &str| why(&Stall { cause, detail: Some(detail.into()), ..stall(1) });
        let lost = "without a CPU for 27 ms of 128 ms";
        assert_eq!(told(Cause::Cpu, lost), format!("cpu; {lost}"));
        assert_eq!(told(Cause::Lock, &format!("futex; {lost}")), format!("lock (futex); {lost}"));
        assert_eq!(
            told(Cause::Starved, &format!("futex; {lost}")),
            format!("starved (futex); {lost}")
        );
        assert_eq!(told(Cause::FileIo, "read of a; b"), "file_io (read of a; b)");
        let site = Site { function: "app::load".into(), file: None, line: None };
        let placed = Stall { detail: Some(lost.into()), site: Some(site), ..stall(1) };
        let placed = Stall { cause: Cause::Cpu, ..placed };
        assert_eq!(why_and_where(&placed), format!("cpu at app::load; {lost}"));
    }

    #[test]
    fn a_root_future_has_a_thread_and_no_worker() {
        let root = Stall { worker: None, ..stall(1) };
        assert!(continues(&root).contains("still blocks its thread after"));
    }
}
