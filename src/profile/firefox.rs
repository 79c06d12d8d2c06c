//! The Firefox Profiler's processed format: the last stalls, on a track for each worker.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, MarkerFieldFlags,
    MarkerFieldFormat, MarkerLocations, MarkerTiming, Profile, ReferenceTimestamp,
    SamplingInterval, StackHandle, StaticSchemaMarker, StaticSchemaMarkerField, StringHandle,
    ThreadHandle, Timestamp, WeightType,
};

use super::data::Data;
use super::names::{NO_STACK, title};
use crate::clock::nanos;
use crate::label::printable;
use crate::stall::{Cause, Stall};

pub(super) fn write(profile: &Data) -> String {
    let begin = profile.taken - profile.span;
    let first = profile.recent.first().map_or(begin, |stall| stall.started_at.min(begin));
    let mut writer = Writer::new(profile, first);
    for stall in &profile.recent {
        writer.stall(stall);
    }
    writer.profile.set_symbolicated(true);
    // It has no maps with keys that JSON cannot have.
    serde_json::to_string(&writer.profile).unwrap_or_default()
}

struct Writer {
    profile: Profile,
    /// Times count from it.
    first: SystemTime,
    process: fxprof_processed_profile::ProcessHandle,
    category: CategoryHandle,
    threads: HashMap<(String, Option<usize>), ThreadHandle>,
}

impl Writer {
    fn new(of: &Data, first: SystemTime) -> Self {
        let since_epoch = first.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let reference = ReferenceTimestamp::from_duration_since_unix_epoch(since_epoch);
        // Nothing is taken at intervals; a poll is in it from this length on.
        let interval = SamplingInterval::from_nanos(nanos(of.threshold).max(1));
        let mut profile = Profile::new(&of.program, reference, interval);
        let begin = Timestamp::from_nanos_since_reference(0);
        let process = profile.add_process(&of.program, std::process::id(), begin);
        let category = profile.add_category("Stall", CategoryColor::Red);
        Self { profile, first, process, category, threads: HashMap::new() }
    }

    fn stall(&mut self, stall: &Stall) {
        let thread = self.thread(stall);
        let begin = stall.started_at.duration_since(self.first).unwrap_or_default();
        let end = begin.saturating_add(stall.duration);
        let stack = self.stack(thread, stall);
        // What the thread did from then on, and nothing that is known afterwards.
        let weight = i32::try_from(stall.duration.as_millis()).unwrap_or(i32::MAX).max(1);
        self.profile.add_sample(thread, at(begin), stack, CpuDelta::ZERO, weight);
        let ran = match stall.cause {
            Cause::Cpu => CpuDelta::from_nanos(nanos(stall.duration)),
            _ => CpuDelta::ZERO,
        };
        self.profile.add_sample(thread, at(end), None, ran, 0);
        let marker = self.marker(stall);
        let timing = match stall.in_progress {
            true => MarkerTiming::IntervalStart(at(begin)),
            false => MarkerTiming::Interval(at(begin), at(end)),
        };
        let marker = self.profile.add_marker(thread, timing, marker);
        self.profile.set_marker_stack(thread, marker, stack);
    }

    fn thread(&mut self, stall: &Stall) -> ThreadHandle {
        let Self { profile, threads, process, .. } = self;
        let of = (stall.runtime.clone().into_owned(), stall.worker);
        let next = threads.len() as u32 + 1;
        let add = || {
            let begin = Timestamp::from_nanos_since_reference(0);
            // The kernel's number is known of stalls with a stack alone.
            let thread = profile.add_thread(*process, next, begin, false);
            let name = match stall.worker {
                Some(worker) => format!("{} worker {worker}", stall.runtime),
                None => format!("{} root", stall.runtime),
            };
            profile.set_thread_name(thread, &name);
            profile.set_thread_samples_weight_type(thread, WeightType::TracingMs);
            profile.set_thread_show_markers_in_timeline(thread, true);
            profile.add_initial_visible_thread(thread);
            thread
        };
        *threads.entry(of).or_insert_with(add)
    }

    fn stack(&mut self, thread: ThreadHandle, stall: &Stall) -> Option<StackHandle> {
        let root = printable(&stall.handler).into_owned();
        let inner: Vec<_> = match stall.stack.as_deref() {
            Some(stack) => stack.of_poll().iter().rev().map(|frame| title(frame)).collect(),
            None => vec![NO_STACK.to_owned()],
        };
        let names = std::iter::once(root).chain(inner);
        let frames: Vec<_> = names
            .map(|name| FrameInfo {
                frame: Frame::Label(self.profile.intern_string(&name)),
                category_pair: self.category.into(),
                flags: FrameFlags::empty(),
            })
            .collect();
        self.profile.intern_stack_frames(thread, frames.into_iter())
    }

    fn marker(&mut self, stall: &Stall) -> StallMarker {
        let mut text = |text: &str| self.profile.intern_string(&printable(text));
        let site = stall.site.as_ref().map(|site| site.to_string()).unwrap_or_default();
        StallMarker {
            name: text("stall"),
            category: self.category,
            texts: [
                text(&stall.handler),
                text(stall.cause.as_str()),
                text(&site),
                text(stall.detail.as_deref().unwrap_or_default()),
                text(&stall.fix),
            ],
            numbers: [stall.id as f64, stall.delayed_requests as f64],
        }
    }
}

fn at(time: Duration) -> Timestamp {
    Timestamp::from_nanos_since_reference(nanos(time))
}

/// What the profiler shows of a stall.
struct StallMarker {
    name: StringHandle,
    category: CategoryHandle,
    /// In the order of the fields.
    texts: [StringHandle; 5],
    numbers: [f64; 2],
}

const fn text(key: &'static str, label: &'static str) -> StaticSchemaMarkerField {
    let (format, flags) = (MarkerFieldFormat::String, MarkerFieldFlags::SEARCHABLE);
    StaticSchemaMarkerField { key, label, format, flags }
}

const fn number(key: &'static str, label: &'static str) -> StaticSchemaMarkerField {
    let (format, flags) = (MarkerFieldFormat::Integer, MarkerFieldFlags::empty());
    StaticSchemaMarkerField { key, label, format, flags }
}

impl StaticSchemaMarker for StallMarker {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "tower-stall";
    const LOCATIONS: MarkerLocations = MarkerLocations::MARKER_CHART
        .union(MarkerLocations::MARKER_TABLE)
        .union(MarkerLocations::TIMELINE_OVERVIEW);
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.handler}");
    const TABLE_LABEL: Option<&'static str> =
        Some("{marker.data.handler}: {marker.data.why} at {marker.data.site}");
    const TOOLTIP_LABEL: Option<&'static str> = Self::TABLE_LABEL;
    // A field may not be called `cause`.
    const FIELDS: &'static [StaticSchemaMarkerField] = &[
        text("handler", "Handler"),
        text("why", "Cause"),
        text("site", "Site"),
        text("detail", "Detail"),
        text("fix", "Fix"),
        number("stall", "Stall"),
        number("delayed", "Requests that waited, up to"),
    ];

    fn name(&self, _: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, field: u32) -> StringHandle {
        self.texts.get(field as usize).copied().unwrap_or(self.name)
    }

    fn number_field_value(&self, field: u32) -> f64 {
        let number = (field as usize).checked_sub(self.texts.len());
        number.and_then(|number| self.numbers.get(number)).copied().unwrap_or_default()
    }
}
