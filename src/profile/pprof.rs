//! The format of pprof: `profile.proto` of github.com/google/pprof, compressed by gzip.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::data::Data;
use super::names::{NO_STACK, OTHER_STACKS};
use crate::clock::nanos;
use crate::stall::{Frame, Frames, StackKey, StackSum};

pub(super) fn write(profile: &Data) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let message = Writer::default().message(profile).encode_to_vec();
    // A vector takes all.
    let written = encoder.write_all(&message).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

/// A message under way, and what it has already.
#[derive(Default)]
struct Writer {
    message: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    /// By the frames of a location: those that were inlined, and the one that they were inlined to.
    locations: HashMap<Vec<Line>, HashMap<u64, u64>>,
    mappings: HashMap<(i64, i64, u64), u64>,
}

impl Writer {
    fn message(mut self, profile: &Data) -> Profile {
        // The first string is empty.
        self.string("");
        let (stalls, time) =
            (self.value("stalls", "count"), self.value("stall_time", "nanoseconds"));
        self.message.period_type = Some(stalls);
        self.message.period = 1;
        self.message.sample_type = vec![stalls, time];
        self.message.default_sample_type = time.kind;
        let about = format!(
            "{}: polls longer than {} ms, by tower-stall {}",
            profile.program,
            profile.threshold.as_millis(),
            env!("CARGO_PKG_VERSION")
        );
        let about = self.string(&about);
        self.message.comment.push(about);
        let since_epoch = profile.taken.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.message.time_nanos = signed(nanos(since_epoch));
        self.message.duration_nanos = signed(nanos(profile.span));
        for (key, sum) in &profile.rows {
            let sample = self.sample(key, *sum);
            self.message.sample.push(sample);
        }
        self.message
    }

    fn sample(&mut self, key: &StackKey, sum: StackSum) -> Sample {
        let location_id = match &key.frames {
            Frames::Known(frames) => self.stack(frames),
            Frames::Missing => vec![self.sign(NO_STACK)],
            Frames::Other => vec![self.sign(OTHER_STACKS)],
        };
        let labels =
            [("handler", key.handler), ("cause", key.cause.as_str()), ("runtime", key.runtime)];
        let label =
            labels.map(|(key, text)| Label { key: self.string(key), text: self.string(text) });
        Sample {
            location_id,
            value: vec![signed(sum.stalls), signed(sum.time)],
            label: label.into(),
        }
    }

    /// The locations of frames, innermost first.
    fn stack(&mut self, frames: &[Arc<Frame>]) -> Vec<u64> {
        // A frame that was not inlined ends a location.
        let parts = frames.split_inclusive(|frame| !frame.inlined);
        parts.enumerate().map(|(at, part)| self.location(part, at == 0)).collect()
    }

    fn location(&mut self, part: &[Arc<Frame>], is_innermost: bool) -> u64 {
        let Some(outer) = part.last() else { return 0 };
        let mapping_id = self.mapping(outer, part);
        let line: Vec<_> = part.iter().map(|frame| self.line(frame)).collect();
        // Where a call returns to belongs to what comes next.
        let address = outer.address.saturating_sub(u64::from(!is_innermost));
        self.known_location(Location { id: 0, mapping_id, address, line })
    }

    /// A location that only has a name.
    fn sign(&mut self, name: &str) -> u64 {
        let name = self.string(name);
        let line = vec![Line { function_id: self.function(name, 0), line: 0 }];
        self.known_location(Location { line, ..Location::default() })
    }

    fn known_location(&mut self, mut location: Location) -> u64 {
        let of_lines = self.locations.entry(location.line.clone()).or_default();
        let next = self.message.location.len() as u64 + 1;
        location.id = *of_lines.entry(location.address).or_insert(next);
        let id = location.id;
        if id == next {
            self.message.location.push(location);
        }
        id
    }

    fn line(&mut self, frame: &Frame) -> Line {
        let name = match &frame.function {
            Some(function) => self.string(function),
            None => self.string(&frame.to_string()),
        };
        let file = self.string(frame.file.as_deref().unwrap_or_default());
        Line { function_id: self.function(name, file), line: frame.line.unwrap_or(0).into() }
    }

    fn function(&mut self, name: i64, filename: i64) -> u64 {
        let next = self.message.function.len() as u64 + 1;
        let id = *self.functions.entry((name, filename)).or_insert(next);
        if id == next {
            self.message.function.push(Function { id, name, system_name: name, filename });
        }
        id
    }

    /// The program or library that a frame is of, which has these frames too.
    fn mapping(&mut self, frame: &Frame, part: &[Arc<Frame>]) -> u64 {
        let Some(module) = &frame.module else { return 0 };
        let (filename, build_id) =
            (self.string(module), self.string(frame.build_id.as_deref().unwrap_or_default()));
        let memory_start = frame.address.saturating_sub(frame.offset);
        let next = self.message.mapping.len() as u64 + 1;
        let id = *self.mappings.entry((filename, build_id, memory_start)).or_insert(next);
        if id == next {
            self.message.mapping.push(Mapping {
                id,
                memory_start,
                filename,
                build_id,
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
                ..Mapping::default()
            });
        }
        let mapping = &mut self.message.mapping[id as usize - 1];
        // As far as is known: it is not read how long it is.
        mapping.memory_limit = mapping.memory_limit.max(frame.address.saturating_add(1));
        let is_named = part.iter().all(|frame| frame.function.is_some());
        // Readers look up what is said to be missing.
        mapping.has_functions &= is_named;
        mapping.has_filenames &= is_named;
        mapping.has_line_numbers &= is_named;
        mapping.has_inline_frames &= is_named;
        id
    }

    fn value(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.string(kind), unit: self.string(unit) }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(number) = self.strings.get(text) {
            return *number;
        }
        let number = self.message.string_table.len() as i64;
        self.message.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The messages, with the fields that are written. Strings are numbers of the table.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(address: u64, function: Option<&str>, inlined: bool) -> Arc<Frame> {
        let (function, line) = (function.map(Into::into), Some(address as u32));
        let module = Some("app".into());
        let offset = address - 1000;
        Arc::new(Frame { function, line, address, offset, module, inlined, ..Frame::default() })
    }

    #[test]
    fn inlined_functions_are_lines_of_one_location_and_unnamed_code_is_left_to_look_up() {
        let mut writer = Writer::default();
        writer.string("");
        let frames = [
            frame(1007, Some("inlined"), true),
            frame(1007, Some("load"), false),
            frame(1020, None, false),
        ];
        assert_eq!(writer.stack(&frames), [1, 2]);
        assert_eq!(writer.stack(&frames), [1, 2], "known by now");
        assert_eq!(writer.stack(&frames[1..]), [3, 2], "not inlined there");
        let Profile { mapping, location, function, string_table, .. } = writer.message;
        let names = |location: &Location| -> Vec<_> {
            let lines = location.line.iter();
            let name = |line: &Line| function[line.function_id as usize - 1].name as usize;
            lines.map(|line| (string_table[name(line)].clone(), line.line)).collect()
        };
        let inner = [("inlined".to_owned(), 1007), ("load".to_owned(), 1007)];
        assert_eq!(names(&location[0]), inner);
        assert_eq!(names(&location[1]), [("app+0x14".to_owned(), 1020)]);
        assert_eq!((location[0].address, location[1].address), (1007, 1019), "within the call");
        let Mapping { memory_start, memory_limit, has_functions, .. } = mapping[0];
        assert_eq!((memory_start, memory_limit, has_functions), (1000, 1021, false));
    }
}
