//! The file, to which each process adds what it found.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::sarif;
use crate::clock::{self, nanos};
use crate::sys::open_alone;

/// How long other processes are waited for, each of which is done in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(2);

/// Adds results, and makes the file and its folders if need be.
pub(super) fn add(path: &Path, results: &[Value]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = wait(path)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if let Some(text) = merge(&text, results)? {
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
    }
    Ok(())
}

fn wait(path: &Path) -> io::Result<File> {
    let over = clock::now() + nanos(PATIENCE);
    loop {
        match open_alone(path)? {
            Some(file) => return Ok(file),
            None if clock::now() >= over => {
                let text = "another process does not let go of it, nothing was added";
                return Err(io::Error::other(text));
            }
            None => std::thread::sleep(LOOK),
        }
    }
}

/// The report with these results too; `None` if nothing is new.
fn merge(text: &str, results: &[Value]) -> io::Result<Option<String>> {
    let is_new = text.trim().is_empty();
    if !is_new && results.is_empty() {
        return Ok(None);
    }
    let mut report = if is_new { sarif::empty() } else { serde_json::from_str(text)? };
    let name = report.pointer("/runs/0/tool/driver/name");
    let is_ours = name.is_some_and(|name| name == sarif::TOOL);
    let known = report.pointer_mut("/runs/0/results").and_then(Value::as_array_mut);
    let Some(known) = known.filter(|_| is_ours) else {
        return Err(io::Error::other("this is no report of tower-stall, nothing was added"));
    };
    known.extend_from_slice(results);
    Ok(Some(format!("{report:#}\n")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn results(text: &str) -> Vec<Value> {
        let report: Value = serde_json::from_str(text).expect("JSON");
        report["runs"][0]["results"].as_array().expect("results").clone()
    }

    #[test]
    fn results_are_added_to_those_that_are_there() {
        let first = merge("", &[]).expect("a report").expect("a new one");
        assert!(results(&first).is_empty());
        assert_eq!(merge(&first, &[]).expect("a report"), None);
        let second = merge(&first, &[json!(1)]).expect("a report").expect("more");
        let third = merge(&second, &[json!(2), json!(3)]).expect("a report").expect("more");
        assert_eq!(results(&third), [json!(1), json!(2), json!(3)]);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for text in [
            "{}",
            "[]",
            "1",
            "not JSON",
            r#"{"runs":[{"tool":{"driver":{"name":"other"}},"results":[]}]}"#,
        ] {
            merge(text, &[json!(1)]).expect_err(text);
        }
    }

    #[test]
    fn many_add_at_the_same_time() {
        let folder =
            std::env::temp_dir().join(format!("tower-stall-report-{}", std::process::id()));
        let path = folder.join("below/stalls.sarif");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..8 {
                        add(path, &[json!(thread * 8 + number)]).expect("it is added");
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).expect("the file");
        let mut found: Vec<_> = results(&text).iter().filter_map(Value::as_u64).collect();
        found.sort_unstable();
        assert_eq!(found, (0..64).collect::<Vec<_>>());
        fs::remove_dir_all(folder).expect("it is there");
    }
}
