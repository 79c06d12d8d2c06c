//! Label texts: interned for the whole process and never freed, so that they can be copied freely.
//!
//! Callers cap what they intern (see `labels`), and all detectors share equal texts. So the leak is
//! bounded.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Mutex;

use crate::sync::lock;

static TEXTS: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

/// The one copy of `text` in this process.
pub(crate) fn intern(text: &str) -> &'static str {
    let mut texts = lock(&TEXTS);
    let texts = texts.get_or_insert_default();
    if let Some(known) = texts.get(text) {
        return known;
    }
    let leaked: &'static str = Box::leak(text.into());
    texts.insert(leaked);
    leaked
}

/// The one copy of a record's text. Those of stalls that a detector counts are interned already:
/// then this takes no lock.
pub(crate) fn interned(text: Cow<'static, str>) -> &'static str {
    match text {
        Cow::Borrowed(text) => text,
        Cow::Owned(text) => intern(&text),
    }
}

/// The text with control characters written as escapes, for logs and labels.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let first = intern("GET /a-label-of-this-test");
        assert!(std::ptr::eq(first, intern(&String::from("GET /a-label-of-this-test"))));
    }

    #[test]
    fn control_characters_are_escaped_and_the_rest_is_kept() {
        assert_eq!(printable("GET /é\n\u{1b}[0m"), "GET /é\\n\\u{1b}[0m");
    }
}
