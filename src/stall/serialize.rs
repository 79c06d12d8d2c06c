//! The record as data for other programs: `Serialize` for users, and with frames by number for
//! `/stalls.json`. `docs/stalls.schema.json` describes the fields.

use std::sync::Arc;

use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::awaits::{Await, AwaitKind, Awaits};
use super::cause::Cause;
use super::frames::{Frame, Site, Stack};
use super::held_by::{HeldBy, HoldingThread};
use super::later::LaterSample;
use super::record::Stall;

/// A stall, and how to write the frames of its stacks.
pub(crate) struct WithFrames<'a, W> {
    pub(crate) stall: &'a Stall,
    pub(crate) frames: W,
}

/// The same of a later sample.
struct SampleWithFrames<'a, 'w, W> {
    sample: &'a LaterSample,
    frames: &'w W,
}

/// A stack whose frames are written as that.
struct StackWithFrames<'a, F> {
    stack: &'a Stack,
    frames: F,
}

impl<'a, F> StackWithFrames<'a, F> {
    fn of(stack: &'a Stack, write: impl Fn(&'a [Arc<Frame>]) -> F) -> Self {
        Self { stack, frames: write(&stack.frames) }
    }
}

/// Frames as they are.
struct Inline<'a>(&'a [Arc<Frame>]);

/// Writes a struct with these fields in this order.
macro_rules! fields {
    ($to:ident, $name:literal, { $($field:literal: $value:expr,)+ }) => {{
        let mut fields = $to.serialize_struct($name, [$($field),+].len())?;
        $(fields.serialize_field($field, &$value)?;)+
        fields.end()
    }};
}

impl Serialize for Stall {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WithFrames { stall: self, frames: Inline }.serialize(to)
    }
}

impl<'a, F: Serialize, W: Fn(&'a [Arc<Frame>]) -> F> Serialize for WithFrames<'a, W> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { stall, frames } = self;
        let later = stall.later.iter().map(|sample| SampleWithFrames { sample, frames });
        fields!(to, "Stall", {
            "id": stall.id,
            "runtime": stall.runtime,
            "worker": stall.worker,
            "handler": stall.handler,
            "cause": stall.cause,
            "detail": stall.detail,
            "fix": stall.fix,
            "site": stall.site,
            // RFC 3339 in UTC.
            "started_at": humantime::format_rfc3339_millis(stall.started_at).to_string(),
            "seconds": stall.duration.as_secs_f64(),
            "in_progress": stall.in_progress,
            "workers": stall.workers,
            "workers_stalled": stall.workers_stalled,
            "requests_in_flight": stall.requests_in_flight,
            "requests_in_flight_at_end": stall.requests_in_flight_at_end,
            "delayed_requests": stall.delayed_requests,
            // JSON has no numbers of 128 bits.
            "trace_id": stall.trace_id.map(|id| format!("{id:032x}")),
            "stack": stall.stack.as_deref().map(|stack| StackWithFrames::of(stack, frames)),
            "stack_missing": stall.stack_missing,
            "awaits": stall.awaits.as_deref(),
            "site_missing": stall.site_missing,
            "last_seen": stall.last_seen,
            "held_by": stall.held_by,
            "later": later.collect::<Vec<_>>(),
            "is_complete": stall.is_complete(),
        })
    }
}

impl Serialize for HeldBy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields!(to, "HeldBy", {
            "holder": self.holder.as_str(),
            "degree": self.degree.as_str(),
            "sentence": self.to_string(),
            "threads": self.threads,
            "threads_left_out": self.threads_left_out,
        })
    }
}

impl Serialize for LaterSample {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        SampleWithFrames { sample: self, frames: &Inline }.serialize(to)
    }
}

impl<'a, F: Serialize, W: Fn(&'a [Arc<Frame>]) -> F> Serialize for SampleWithFrames<'a, '_, W> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { sample, frames } = self;
        fields!(to, "LaterSample", {
            "after_seconds": sample.after.as_secs_f64(),
            "cause": sample.cause,
            "detail": sample.detail,
            "fix": sample.fix,
            "site": sample.site,
            "stack": sample.stack.as_deref().map(|stack| StackWithFrames::of(stack, frames)),
            "stack_missing": sample.stack_missing,
            "awaits": sample.awaits.as_deref(),
            "held_by": sample.held_by,
        })
    }
}

impl Serialize for HoldingThread {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let lines = |stack: &Arc<Stack>| -> Vec<_> {
            stack.frames.iter().map(|frame| frame.to_string()).collect()
        };
        fields!(to, "HoldingThread", {
            "thread": self.thread,
            "name": self.name,
            "role": self.role.as_str(),
            "handler": self.handler,
            "site": self.site,
            "waits_in": self.waits_in,
            "stack": self.stack.as_ref().map(lines),
        })
    }
}

impl Serialize for Site {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields!(to, "Site", {
            "function": self.function,
            "file": self.file,
            "line": self.line,
        })
    }
}

impl Serialize for Stack {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        StackWithFrames::of(self, Inline).serialize(to)
    }
}

impl<F: Serialize> Serialize for StackWithFrames<'_, F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields!(to, "Stack", {
            "thread": self.stack.thread,
            "by_signal": self.stack.by_signal,
            "partial": self.stack.partial,
            "frames": self.frames,
        })
    }
}

impl Serialize for Awaits {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields!(to, "Awaits", {
            "links": self.links,
            "missing": self.missing,
        })
    }
}

impl Serialize for Await {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields!(to, "Await", {
            "kind": self.kind,
            "function": self.function,
            "file": self.file,
            "line": self.line,
            "frames": self.frames,
        })
    }
}

impl Serialize for AwaitKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl Serialize for Inline<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|frame| &**frame))
    }
}

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fields!(to, "Frame", {
            "function": self.function,
            "file": self.file,
            "line": self.line,
            "module": self.module.as_deref(),
            "offset": self.offset,
            "build_id": self.build_id.as_deref(),
            "inlined": self.inlined,
            "own": self.own,
            "guessed": self.guessed,
        })
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::{Degree, Holder, HoldingRole};

    #[test]
    fn a_record_is_written_as_the_schema_says() {
        let schema = include_str!("../../docs/stalls.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).expect("JSON");
        let site = Site { function: "app::load".into(), file: None, line: None };
        let mut held_by = HeldBy::new(Holder::OtherThread, Degree::Certain);
        held_by.threads.push(HoldingThread {
            thread: 7,
            name: None,
            role: HoldingRole::Holds,
            handler: None,
            site: None,
            waits_in: None,
            stack: Some(Arc::default()),
        });
        let stack = Stack { frames: vec![Arc::default()], ..Stack::default() };
        let link = Await::new(AwaitKind::Async, "app::load", 1);
        let awaits = Awaits { links: vec![link], missing: None };
        let stall = Stall {
            site: Some(site),
            stack: Some(Arc::new(stack)),
            awaits: Some(Arc::new(awaits)),
            trace_id: Some(0xabc),
            held_by: Some(held_by),
            ..crate::stall::tests::stall(7)
        };
        let json = serde_json::to_value(&stall).expect("it is plain data");
        let described = |of: &str| {
            let of = schema.pointer(&format!("/$defs/{of}/properties"));
            of.and_then(|fields| fields.as_object()).expect("fields")
        };
        let written = |json: &serde_json::Value| -> Vec<_> {
            json.as_object().expect("fields").keys().cloned().collect()
        };
        let held_by = &json["held_by"];
        for (of, json) in [
            ("stall", &json),
            ("stack", &json["stack"]),
            ("site", &json["site"]),
            ("awaits", &json["awaits"]),
            ("await", &json["awaits"]["links"][0]),
            ("held_by", held_by),
            ("holding_thread", &held_by["threads"][0]),
        ] {
            let mut fields: Vec<_> = described(of).keys().cloned().collect();
            let mut written = written(json);
            fields.sort();
            written.sort();
            assert_eq!(written, fields, "{of}");
        }
        // In the document frames and modules are listed once, and referred to by number.
        let mut fields: Vec<_> =
            described("frame").keys().chain(described("module").keys()).collect();
        fields.retain(|field| *field != "name");
        fields.sort();
        let mut inline = written(&json["stack"]["frames"][0]);
        inline.sort();
        assert_eq!(inline.iter().collect::<Vec<_>>(), fields);
        assert_eq!(json["started_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["seconds"], 0.1);
        assert_eq!(json["cause"], "unknown");
        assert_eq!(json["trace_id"], "00000000000000000000000000000abc");
    }
}
