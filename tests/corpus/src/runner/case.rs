//! What the program says of its cases.

use serde::Deserialize;

/// A case.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The public reports that it follows.
    pub source: String,
    /// The records that there are to be.
    pub told: Vec<Told>,
}

/// What is right in a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    /// The handler.
    pub handler: String,
    /// The cause; of several, divided by `|`, each is right.
    pub cause: String,
    /// The function of the site; empty if no frame is the user's own.
    pub function: String,
    /// What the fix has in it; of several, divided by `|`, each is right.
    pub fix: String,
    /// Who holds the lock, of several, divided by `|`, each is right; and the function of the first thread, where
    /// there is one.
    pub held_by: Option<(String, String)>,
}

impl Case {
    /// Reads a line that the program prints without arguments.
    ///
    /// # Panics
    ///
    /// It is another.
    #[must_use]
    pub fn read(line: &str) -> Self {
        serde_json::from_str(line).expect("a case")
    }
}

/// Whether `found` is one of `expected`.
pub(crate) fn is_one_of(expected: &str, found: &str) -> bool {
    expected.split('|').any(|expected| expected == found)
}
