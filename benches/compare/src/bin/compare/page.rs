//! The page: text between two marks is replaced, the rest stays.

#[path = "../../../../../tests/support/machine.rs"]
mod machine;

use std::time::{SystemTime, UNIX_EPOCH};

use machine::machine;

/// Which crates are named with their versions, as the lock of this workspace has them.
const CRATES: [&str; 8] = [
    "tower-stall",
    "tokio",
    "axum",
    "tokio-metrics",
    "console-subscriber",
    "console-api",
    "tokio-blocked",
    "dial9",
];
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Writes a part and the versions.
pub(crate) fn rewrite(part: &str, head: &str, text: &str) {
    let path = crate::root().join("docs/comparison.md");
    let mut page = std::fs::read_to_string(&path).expect("the page");
    page = replaced(&page, part, &format!("{head}\n\n{text}"));
    page = replaced(&page, "versions", &versions());
    std::fs::write(&path, page).expect("it can be written");
}

fn replaced(page: &str, part: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->\n"));
    let (before, rest) = page.split_once(&begin).expect("a begin of the part");
    let (_, after) = rest.split_once(&end).expect("an end of the part");
    format!("{before}{begin}{text}{end}{after}")
}

/// The command, the day and the machine.
pub(crate) fn head(command: &str) -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "`scripts/compare {command}` on {}: {}. Load of the machine at the end, its own included: {}.",
        today(),
        machine(),
        load.split(' ').next().unwrap_or_default(),
    )
}

/// The day in UTC, by the calendar's rule of 400 years.
fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    date(since.as_secs() / 86_400)
}

/// Days since 1970 as a date. Years begin in March here, so that the odd day is their last.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    format!("{}-{month:02}-{of_month:02}", era * 400 + year)
}

fn versions() -> String {
    let mut text = String::from("| crate | version |\n|---|---|\n");
    for name in CRATES {
        text.push_str(&format!("| {name} | {} |\n", version(name)));
    }
    text
}

fn version(name: &str) -> &'static str {
    let named = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = LOCK.split_once(&named).expect("a crate of the lock");
    rest.split('"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (days, expected) in [(0, "1970-01-01"), (59, "1970-03-01"), (19_782, "2024-02-29")] {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date(20_088), "2024-12-31");
        assert_eq!(date(20_089), "2025-01-01");
    }

    #[test]
    fn only_the_part_is_replaced() {
        let page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        assert_eq!(replaced(page, "x", "new\n"), "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n");
    }

    #[test]
    fn each_crate_has_a_version() {
        for name in CRATES {
            assert!(version(name).starts_with(|c: char| c.is_ascii_digit()), "{name}");
        }
    }
}
