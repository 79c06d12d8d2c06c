//! Label texts: interned once a process, never freed, so that they can be copied anywhere.
//!
//! Only texts that passed a cap come here (see `labels`), and equal texts share one
//! allocation over all detectors of the process: what is leaked is bounded by what a developer
//! wrote.

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

/// The text with control characters written as escapes, for logs and labels.
pub(crate) fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|c| {
                let escape = c.is_control();
                escape
                    .then(|| c.escape_default())
                    .into_iter()
                    .flatten()
                    .chain((!escape).then_some(c))
            })
            .collect::<String>()
            .into()
    } else {
        text.into()
    }
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
