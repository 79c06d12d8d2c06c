//! A request's head, and the label and trace id that its parts carry.

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri};

use crate::mark::Mark;
use crate::mark::thread_slots::{PollGuard, slot};
use crate::runtime::registry::DetectorId;
use crate::slot::{NO_TRACE, Trace};

/// A request without its body, as functions given to a [`StallLayer`](crate::StallLayer) see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    #[inline]
    pub(super) fn new<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The method, as the client sent it.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URI, as the client sent it.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The extensions, set by other layers and the router.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

/// The label and trace id of a request. The default is of no detector.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestMark {
    pub(super) mark: Mark,
    pub(super) trace: Trace,
}

/// An open poll of a request.
#[must_use]
pub(super) struct Polling {
    guard: PollGuard,
    /// What the slot's trace was before, if this request has one of its own.
    outer: Option<Trace>,
}

impl RequestMark {
    #[inline]
    pub(super) fn enter(self) -> Polling {
        let guard = self.mark.enter();
        let outer = (self.trace != NO_TRACE).then(|| guard.slot.swap_trace(self.trace));
        Polling { guard, outer }
    }
}

impl Polling {
    /// Counts the request as in flight until the value is dropped.
    #[inline]
    pub(super) fn in_flight(&self, mark: RequestMark) -> InFlight {
        self.guard.slot.count_in_flight(1);
        InFlight { detector: mark.mark.detector }
    }
}

impl Drop for Polling {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.outer {
            self.guard.slot.swap_trace(outer);
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
        slot(self.detector).count_in_flight(-1);
    }
}

/// A constant, so that the name is not parsed for each request.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace id of a W3C `traceparent` header: `00-<32 hex>-<16 hex>-<2 hex>`; 0 for none.
#[inline]
pub(super) fn trace_id(headers: &HeaderMap) -> u128 {
    match headers.get(&TRACEPARENT) {
        Some(header) => parse_traceparent(header.as_bytes()),
        None => 0,
    }
}

fn parse_traceparent(header: &[u8]) -> u128 {
    let well_formed = header.len() >= 55
        && header[2] == b'-'
        && header[35] == b'-'
        && header[52] == b'-'
        && &header[..2] != b"ff";
    if !well_formed {
        return 0;
    }
    let (mut values, mut wrong) = ([0; 32], 0);
    for (value, digit) in values.iter_mut().zip(&header[3..35]) {
        *value = number(*digit);
        wrong |= *value;
    }
    if wrong >= 16 {
        return 0;
    }
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(values.chunks_exact(2)) {
        *byte = (pair[0] << 4) | pair[1];
    }
    u128::from_be_bytes(id)
}

/// The value of a lower-case hexadecimal digit; 16 for any other byte.
#[inline]
fn number(digit: u8) -> u8 {
    let (decimal, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        16
    }
}

#[cfg(test)]
mod tests {
    use super::parse_traceparent;

    fn check(header: &str, expected: u128) {
        assert_eq!(parse_traceparent(header.as_bytes()), expected, "{header}");
    }

    #[test]
    fn trace_ids_are_read_from_well_formed_headers_only() {
        let id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", id);
        check("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", id);
        check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 0);
        check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", 0);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", 0);
        check("00-4bf92f3577b34da6a3ce929d0e0e4736", 0);
        check("", 0);
    }
}
