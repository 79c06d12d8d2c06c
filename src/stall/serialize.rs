//! The record as data for other programs: `/stalls.json`, and `Serialize` for users.
//! `docs/stalls.schema.json` describes the fields.

use serde_core::ser::SerializeStruct;
use serde_core::{Serialize, Serializer};

use super::cause::Cause;
use super::record::{Frame, Site, Stack, Stall};

/// Implements [`Serialize`] for a struct, with these fields in this order.
macro_rules! serialize_fields {
    (|$this:ident: $type:ident| { $($field:literal: $value:expr,)+ }) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let $this = self;
                let mut fields = to.serialize_struct(stringify!($type), [$($field),+].len())?;
                $(fields.serialize_field($field, &$value)?;)+
                fields.end()
            }
        }
    };
}

serialize_fields!(|stall: Stall| {
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
    "stack": stall.stack.as_deref(),
    "stack_missing": stall.stack_missing,
    "site_missing": stall.site_missing,
    "last_seen": stall.last_seen,
    "is_complete": stall.is_complete(),
});

serialize_fields!(|site: Site| {
    "function": site.function,
    "file": site.file,
    "line": site.line,
});

serialize_fields!(|stack: Stack| {
    "thread": stack.thread,
    "by_signal": stack.by_signal,
    "partial": stack.partial,
    "frames": stack.frames,
});

serialize_fields!(|frame: Frame| {
    "function": frame.function,
    "file": frame.file,
    "line": frame.line,
    "module": frame.module,
    "offset": frame.offset,
    "build_id": frame.build_id,
    "inlined": frame.inlined,
    "own": frame.own,
});

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_record_is_written_as_the_schema_says() {
        let schema = include_str!("../../docs/stalls.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).expect("JSON");
        let site = Site { function: "app::load".into(), file: None, line: None };
        let stack = Stack { frames: vec![Frame::default()], ..Stack::default() };
        let stall = Stall {
            site: Some(site),
            stack: Some(Arc::new(stack)),
            trace_id: Some(0xabc),
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
        for (of, json) in [
            ("stall", &json),
            ("stack", &json["stack"]),
            ("stack/properties/frames/items", &json["stack"]["frames"][0]),
            ("site", &json["site"]),
        ] {
            let mut fields: Vec<_> = described(of).keys().cloned().collect();
            let mut written = written(json);
            fields.sort();
            written.sort();
            assert_eq!(written, fields, "{of}");
        }
        assert_eq!(json["started_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["seconds"], 0.1);
        assert_eq!(json["cause"], "unknown");
        assert_eq!(json["trace_id"], "00000000000000000000000000000abc");
    }
}
