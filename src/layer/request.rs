//! A request's head, and its trace id.

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri};

/// A request without its body, as functions given to a [`StallLayer`](crate::StallLayer) or a
/// [`ShedLayer`](crate::ShedLayer) see it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    #[inline]
    pub(crate) fn new<B>(request: &'a Request<B>) -> Self {
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

/// A constant, so that the name is not parsed for each request.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Of so many headers one is found sooner by comparing than by the hash of its name.
const FEW_HEADERS: usize = 6;

/// The trace id of a W3C `traceparent` header: `00-<32 hex>-<16 hex>-<2 hex>`; 0 for none.
#[inline]
pub(super) fn trace_id(headers: &HeaderMap) -> u128 {
    let header = if headers.len() <= FEW_HEADERS {
        headers.iter().find(|(name, _)| **name == TRACEPARENT).map(|(_, value)| value)
    } else {
        headers.get(&TRACEPARENT)
    };
    match header {
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
