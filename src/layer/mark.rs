//! What the parts of a request carry.

use http::{HeaderMap, HeaderName};

use crate::detector::hub::DetectorId;
use crate::detector::local;
use crate::instrument::Mark;

/// The marker and trace id of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestMark {
    mark: Mark,
    /// 0 for none. In halves, which need no padding where this is carried.
    trace: [u64; 2],
}

/// An open poll of a request.
#[must_use]
pub(super) struct Polling {
    guard: local::Guard,
    /// What the slot's trace was before, if this request has one of its own.
    outer: Option<u128>,
}

impl RequestMark {
    pub(super) fn new(mark: Mark, trace: u128) -> Self {
        Self { mark, trace: [(trace >> 64) as u64, trace as u64] }
    }

    #[inline]
    fn trace(self) -> u128 {
        let [high, low] = self.trace;
        (u128::from(high) << 64) | u128::from(low)
    }

    #[inline]
    pub(super) fn enter(self) -> Polling {
        let guard = self.mark.enter();
        let trace = self.trace();
        let outer = (trace != 0).then(|| guard.slot().swap_trace(trace));
        Polling { guard, outer }
    }
}

impl Polling {
    /// Counts the request as in flight until the value is dropped.
    #[inline]
    pub(super) fn in_flight(&self, mark: RequestMark) -> InFlight {
        self.guard.slot().count_in_flight(1);
        InFlight { detector: mark.mark.detector }
    }
}

impl Drop for Polling {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.outer {
            self.guard.slot().swap_trace(outer);
        }
    }
}

/// One request in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    detector: DetectorId,
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        local::count_in_flight(self.detector, -1);
    }
}

/// Made once: looking a header up by its text would parse the text for each request.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace id of a W3C `traceparent` header: `00-<32 hex>-<16 hex>-<2 hex>`.
#[inline]
pub(super) fn trace_id(headers: &HeaderMap) -> Option<u128> {
    parse_traceparent(headers.get(&TRACEPARENT)?.as_bytes())
}

fn parse_traceparent(header: &[u8]) -> Option<u128> {
    let well_formed = header.len() >= 55
        && header[2] == b'-'
        && header[35] == b'-'
        && header[52] == b'-'
        && &header[..2] != b"ff";
    if !well_formed {
        return None;
    }
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let id = header[3..35]
        .iter()
        .try_fold(0, |id: u128, byte| digit(byte).map(|digit| (id << 4) | u128::from(digit)))?;
    (id != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::parse_traceparent;

    fn check(header: &str, expected: Option<u128>) {
        assert_eq!(parse_traceparent(header.as_bytes()), expected, "{header}");
    }

    #[test]
    fn trace_ids_are_read_from_well_formed_headers_only() {
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(id));
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", Some(id));
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736", None);
        check("", None);
    }
}
