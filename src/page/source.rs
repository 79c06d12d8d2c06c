//! Lines of source, where their files exist: on the machine of a developer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use crate::label::printable;
use crate::stall::Site;

/// Files read for one page.
const MOST_FILES: usize = 64;
/// The part of a file that is read.
const MOST_BYTES: u64 = 1 << 20;
/// The part of a line that is shown.
const MOST_CHARS: usize = 200;

/// Files by name, read once for a page.
///
/// The names come from the program's debug information, so a client cannot choose a file. A file that
/// is newer than the program may have other lines, and is not read.
#[derive(Debug)]
pub(super) struct Sources {
    built: Option<SystemTime>,
    files: HashMap<String, Vec<String>>,
}

impl Default for Sources {
    fn default() -> Self {
        let program = std::env::current_exe().and_then(fs::metadata);
        let built = program.and_then(|program| program.modified()).ok();
        Self { built, files: HashMap::new() }
    }
}

impl Sources {
    /// The line of that site.
    pub(super) fn line(&mut self, site: &Site) -> Option<String> {
        let (file, line) = (site.file.as_deref()?, site.line?);
        if self.files.len() < MOST_FILES && !self.files.contains_key(file) {
            let lines = read(Path::new(file), self.built).unwrap_or_default();
            self.files.insert(file.to_owned(), lines);
        }
        let line = self.files.get(file)?.get(usize::try_from(line).ok()?.checked_sub(1)?)?;
        let line: String = line.trim().chars().take(MOST_CHARS).collect();
        (!line.is_empty()).then(|| printable(&line).into_owned())
    }
}

fn read(path: &Path, built: Option<SystemTime>) -> Option<Vec<String>> {
    let about = fs::metadata(path).ok()?;
    let is_old = about.modified().ok()? <= built?;
    if !about.is_file() || !is_old || path.extension()? != "rs" {
        return None;
    }
    let mut text = Vec::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(file: &str, line: u32) -> Site {
        Site { function: "app::load".into(), file: Some(file.into()), line: Some(line) }
    }

    #[test]
    fn lines_are_shown_of_sources_as_they_were_built_and_of_nothing_else() {
        let mut sources = Sources::default();
        let this = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page/source.rs");
        let first = sources.line(&site(this, 1)).expect("the first line of this file");
        assert!(first.starts_with("//! Lines of source"), "{first}");
        assert_eq!(sources.line(&site(this, 0)), None);
        assert_eq!(sources.line(&site(this, u32::MAX)), None);
        for other in ["/etc/passwd", "/no/such/file.rs", "/", "/dev/stdin"] {
            assert_eq!(sources.line(&site(other, 1)), None, "{other}");
        }
        let before = Sources { built: Some(SystemTime::UNIX_EPOCH), ..Sources::default() };
        assert_eq!({ before }.line(&site(this, 1)), None, "it was changed since");
    }
}
