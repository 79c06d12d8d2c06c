//! Lines of source, where their files exist: on the machine of a developer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
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

/// The lines that sites name, by file and number.
#[derive(Debug, Default)]
pub(super) struct SourceLines(BTreeMap<String, BTreeMap<u32, String>>);

impl SourceLines {
    /// Reads the lines of these sites, one file after the other.
    ///
    /// The names come from the program's debug information, so a client cannot choose a file. A file
    /// that is newer than the program may have other lines, and is not read.
    pub(super) fn read<'a>(sites: impl Iterator<Item = &'a Site>) -> Self {
        let program = std::env::current_exe().and_then(fs::metadata);
        match program.and_then(|program| program.modified()) {
            Ok(built) => Self::as_built(sites, built),
            Err(_) => Self::default(),
        }
    }

    fn as_built<'a>(sites: impl Iterator<Item = &'a Site>, built: SystemTime) -> Self {
        let mut wanted: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for site in sites {
            if let (Some(file), Some(line)) = (site.file.as_deref(), site.line)
                && (wanted.len() < MOST_FILES || wanted.contains_key(file))
            {
                wanted.entry(file).or_default().insert(line);
            }
        }
        let lines = wanted.into_iter().filter_map(|(file, wanted)| {
            let lines = read(Path::new(file), &wanted, built)?;
            (!lines.is_empty()).then(|| (file.to_owned(), lines))
        });
        Self(lines.collect())
    }

    /// The line of that site.
    pub(super) fn line(&self, site: &Site) -> Option<&str> {
        self.0.get(site.file.as_deref()?)?.get(&site.line?).map(String::as_str)
    }

    pub(super) fn by_file(&self) -> &BTreeMap<String, BTreeMap<u32, String>> {
        &self.0
    }
}

/// Those of the wanted lines that are there and have something in them.
fn read(path: &Path, wanted: &BTreeSet<u32>, built: SystemTime) -> Option<BTreeMap<u32, String>> {
    let about = fs::metadata(path).ok()?;
    let is_old = about.modified().ok()? <= built;
    if !about.is_file() || !is_old || path.extension()? != "rs" {
        return None;
    }
    let mut file = BufReader::new(File::open(path).ok()?.take(MOST_BYTES));
    let (mut lines, mut line) = (BTreeMap::new(), Vec::new());
    for number in 1..=*wanted.last()? {
        line.clear();
        if file.read_until(b'\n', &mut line).ok()? == 0 {
            break;
        }
        if wanted.contains(&number) {
            let line = String::from_utf8_lossy(&line);
            let line: String = line.trim().chars().take(MOST_CHARS).collect();
            if !line.is_empty() {
                lines.insert(number, printable(&line).into_owned());
            }
        }
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(file: &str, line: u32) -> Site {
        Site { function: "app::load".into(), file: Some(file.into()), line: Some(line) }
    }

    #[test]
    fn lines_are_shown_of_sources_as_they_were_built_and_of_nothing_else() {
        let this = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page/source.rs");
        let constant = "const MOST_BYTES: u64 = 1 << 20;";
        let number = include_str!("source.rs").lines().position(|line| line == constant);
        let (first, last) = (site(this, 1), site(this, number.expect("it is there") as u32 + 1));
        let others = ["/etc/passwd", "/no/such/file.rs", "/", "/dev/stdin"];
        let others = others.map(|other| site(other, 1));
        let beyond = [site(this, 0), site(this, u32::MAX)];
        let sites = || others.iter().chain(&beyond).chain([&first, &last]);
        let lines = SourceLines::read(sites());
        let shown = lines.line(&first).expect("the first line of this file");
        assert!(shown.starts_with("//! Lines of source"), "{shown}");
        assert_eq!(lines.line(&last), Some(constant));
        for none in others.iter().chain(&beyond) {
            assert_eq!(lines.line(none), None, "{none}");
        }
        assert_eq!(lines.by_file().len(), 1);
        let before = SourceLines::as_built(sites(), SystemTime::UNIX_EPOCH);
        assert_eq!(before.line(&first), None, "it was changed since");
    }

    #[test]
    fn few_files_are_read() {
        let sites: Vec<_> = (0..100).map(|number| site(&format!("/no/{number}.rs"), 1)).collect();
        let this = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page/source.rs");
        let lines = SourceLines::read(sites.iter().chain([&site(this, 1)]));
        assert_eq!(lines.by_file().len(), 0, "it is one too many");
    }
}
