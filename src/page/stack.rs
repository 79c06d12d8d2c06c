//! How the flame graph names frames.

use crate::label::printable;

/// A name in the flame graph: without the separator of frames.
pub(super) fn plain(name: &str) -> String {
    printable(name).replace(';', ":")
}

/// What the flame graph is asked for to show where a function is: a regular expression, as a part of a URL.
pub(super) fn search_for(function: &str) -> String {
    let mut search = String::new();
    for byte in plain(function).bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => search.push(byte.into()),
            // A backslash makes it stand for itself.
            0..=0x7f => search += &format!("%5C%{byte:02X}"),
            _ => search += &format!("%{byte:02X}"),
        }
    }
    search
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_has_no_special_characters() {
        assert_eq!(search_for("app::load"), "app%5C%3A%5C%3Aload");
        assert_eq!(search_for("<T as F>::a;b"), "%5C%3CT%5C%20as%5C%20F%5C%3E%5C%3A%5C%3Aa%5C%3Ab");
        assert_eq!(search_for("größe"), "gr%C3%B6%C3%9Fe");
    }
}
