//! dial9: its trace, read with its own reader and its own rule for long polls, and with a rule of ours for those
//! under way: begun in a segment, and not ended by its last event. Either can be read once the segment that has
//! it is closed. The stacks of the samples in it are its names, lines and cause.

use std::collections::{BTreeMap, HashMap, HashSet};

use dial9::analysis::analysis_events::{
    CpuSampleEvent, CpuSampleSource, CustomEvent, Dial9Event, PollStartEvent,
};
use dial9::analysis::{LongPoll, TraceReader, detect_long_polls};
use dial9::format::types::FieldValue;
use tower_stall_compare::THRESHOLD_MS;

use super::{Finding, number_of_segment, segments_below};
use crate::run::Recording;

const THRESHOLD: u64 = THRESHOLD_MS * 1_000_000;
/// As it samples unless told otherwise.
const SAMPLES_A_SECOND: f64 = 99.0;

/// Symbols by address: function and place, inlined ones too.
type Symbols = HashMap<u64, Vec<(String, String)>>;

pub(super) fn findings(recording: &Recording) -> Vec<Finding> {
    let segments: BTreeMap<_, _> = segments_below(&recording.folder)
        .iter()
        .filter_map(|path| {
            let read = TraceReader::new(path.to_str()?).ok()?;
            Some((number_of_segment(path)?, read.all_events))
        })
        .collect();
    let mut all: Vec<_> = segments.values().flatten().cloned().collect();
    all.sort_by_key(|event| time(event).unwrap_or(0));
    let symbols = symbols(&all);
    let threads = threads(&all);
    let mut polls = detect_long_polls(&all, THRESHOLD);
    let known: HashSet<_> = polls.iter().map(|poll| (poll.worker_id, poll.start_ns)).collect();
    let under_way = segments.values().flat_map(|events| under_way(events));
    polls.extend(under_way.filter(|poll| !known.contains(&(poll.worker_id, poll.start_ns))));
    let finding = |poll: &LongPoll| {
        let readable = segments.iter().find(|(_, events)| shows(events, poll));
        let at = readable.and_then(|(number, _)| recording.segments.get(number))?;
        let (names, cause) = stacks(&all, poll, &threads, &symbols);
        let text = format!(
            "a poll of {} ms, spawned at {}{names}",
            poll.duration_ns / 1_000_000,
            poll.spawn_loc
        );
        Some(Finding { at: *at, text, cause })
    };
    polls.iter().filter_map(finding).collect()
}

/// Polls that have begun in a segment, and not ended by its last event, long after.
fn under_way(events: &[Dial9Event]) -> Vec<LongPoll> {
    let mut events: Vec<_> = events.iter().collect();
    events.sort_by_key(|event| time(event).unwrap_or(0));
    let last = events.iter().filter_map(|event| time(event)).max().unwrap_or(0);
    let mut begun = HashMap::new();
    for event in events {
        match event {
            Dial9Event::PollStartEvent(event) => {
                begun.insert(event.worker_id, event);
            }
            Dial9Event::PollEndEvent(event) => {
                begun.remove(&event.worker_id);
            }
            _ => {}
        }
    }
    let is_long = |event: &&PollStartEvent| last >= event.timestamp_ns + THRESHOLD;
    let of_event = |event: &PollStartEvent| LongPoll {
        worker_id: event.worker_id,
        start_ns: event.timestamp_ns,
        end_ns: last,
        duration_ns: last - event.timestamp_ns,
        task_id: event.task_id,
        spawn_loc: event.spawn_loc.clone(),
    };
    begun.into_values().filter(is_long).map(of_event).collect()
}

/// Whether a segment has the end of a poll, or its begin and something that is later by the threshold.
fn shows(events: &[Dial9Event], poll: &LongPoll) -> bool {
    let has = |at| {
        events.iter().any(|event| match event {
            Dial9Event::PollStartEvent(event) => {
                event.worker_id == poll.worker_id && event.timestamp_ns == at
            }
            Dial9Event::PollEndEvent(event) => {
                event.worker_id == poll.worker_id && event.timestamp_ns == at
            }
            _ => false,
        })
    };
    let last = events.iter().filter_map(time).max().unwrap_or(0);
    has(poll.end_ns) || has(poll.start_ns) && last >= poll.start_ns + THRESHOLD
}

fn time(event: &Dial9Event) -> Option<u64> {
    match event {
        Dial9Event::PollStartEvent(event) => Some(event.timestamp_ns),
        Dial9Event::PollEndEvent(event) => Some(event.timestamp_ns),
        Dial9Event::WorkerParkEvent(event) => Some(event.timestamp_ns),
        Dial9Event::WorkerUnparkEvent(event) => Some(event.timestamp_ns),
        Dial9Event::TaskSpawnEvent(event) => Some(event.timestamp_ns),
        Dial9Event::CpuSampleEvent(event) => Some(event.timestamp_ns),
        _ => None,
    }
}

/// Which threads have been which worker.
fn threads(events: &[Dial9Event]) -> HashMap<u64, HashSet<u32>> {
    let mut threads: HashMap<u64, HashSet<u32>> = HashMap::new();
    for event in events {
        let (worker, thread) = match event {
            Dial9Event::WorkerParkEvent(event) => (event.worker_id, event.tid),
            Dial9Event::WorkerUnparkEvent(event) => (event.worker_id, event.tid),
            _ => continue,
        };
        threads.entry(worker.as_u64()).or_default().insert(thread);
    }
    threads
}

/// What the samples in a poll show: all functions with their places, those of the longest pause first; and why
/// it lasted, which is a computation where it was sampled on a CPU for as long as the threshold, else the functions
/// where it left the CPU for longest.
fn stacks(
    events: &[Dial9Event],
    poll: &LongPoll,
    threads: &HashMap<u64, HashSet<u32>>,
    symbols: &Symbols,
) -> (String, String) {
    let of_worker = threads.get(&poll.worker_id.as_u64());
    let mut samples: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Dial9Event::CpuSampleEvent(sample) => Some(sample),
            _ => None,
        })
        .filter(|sample| (poll.start_ns..=poll.end_ns).contains(&sample.timestamp_ns))
        .filter(|sample| of_worker.is_some_and(|threads| threads.contains(&sample.tid)))
        .collect();
    let on_cpu = samples.iter().filter(|it| it.source == CpuSampleSource::CpuProfile).count();
    let is_cpu = on_cpu as f64 / SAMPLES_A_SECOND * 1e9 >= THRESHOLD as f64;
    let ends = samples.iter().skip(1).map(|sample| sample.timestamp_ns).chain([poll.end_ns]);
    let pauses = samples.iter().zip(ends).map(|(sample, end)| end - sample.timestamp_ns);
    let longest = pauses.enumerate().max_by_key(|(_, pause)| *pause).map(|(at, _)| at);
    if let Some(longest) = longest {
        samples.swap(0, longest);
    }
    let frames = |sample: &&CpuSampleEvent| {
        let frames = sample.callchain.iter().filter_map(|address| symbols.get(address)).flatten();
        frames.cloned().collect::<Vec<_>>()
    };
    // A function of the service has the name of the fault, which is no cause.
    let cause = match samples.first() {
        _ if is_cpu => "cpu".to_owned(),
        Some(sample) if sample.source == CpuSampleSource::SchedEvent => frames(sample)
            .into_iter()
            .map(|(function, _)| function)
            .filter(|function| !function.contains("faults"))
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    };
    let (mut seen, mut names) = (HashSet::new(), String::new());
    for (function, place) in samples.iter().flat_map(frames) {
        if seen.insert((function.clone(), place.clone())) {
            names.push_str(&format!("; {function} {place}"));
        }
    }
    (names, cause)
}

/// The entries of its table of symbols.
fn symbols(events: &[Dial9Event]) -> Symbols {
    let mut symbols = Symbols::new();
    for event in events {
        let Dial9Event::Custom(entry) = event else { continue };
        if entry.name != "SymbolTableEntry" {
            continue;
        }
        let (Some(address), Some(name)) = (number(entry, "addr"), text(entry, "symbol_name"))
        else {
            continue;
        };
        let file = text(entry, "source_file").unwrap_or_default();
        let line = number(entry, "source_line").unwrap_or(0);
        let names = symbols.entry(address).or_default();
        let name = (name, format!("{file}:{line}"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    symbols
}

fn number(entry: &CustomEvent, field: &str) -> Option<u64> {
    match entry.fields.get(field)? {
        FieldValue::Varint(number) => Some(*number),
        FieldValue::I64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn text(entry: &CustomEvent, field: &str) -> Option<String> {
    match entry.fields.get(field)? {
        FieldValue::String(text) => Some(text.clone()),
        _ => None,
    }
}
