//! `docs/comparison.md` is what `scripts/compare` writes: for the faults and the contenders of today, with the
//! versions that its workspace has locked.

const PAGE: &str = include_str!("../../docs/comparison.md");
const LOCK: &str = include_str!("../../benches/compare/Cargo.lock");
const FAULTS: &str = include_str!("../../benches/compare/src/lib.rs");
const CONTENDERS: &str = include_str!("../../benches/compare/src/bin/compare/contender.rs");

/// What the program has written between its marks.
fn part(name: &str) -> &'static str {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    assert_eq!(PAGE.matches(&begin).count(), 1, "{begin}");
    let (_, rest) = PAGE.split_once(&begin).expect("a begin");
    rest.split_once(&end).expect("an end").0
}

/// The rows of the first table, without its head and the line below.
fn rows(part: &str) -> Vec<Vec<&str>> {
    let lines = part.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The texts of a field in a list of the source.
fn fields(source: &'static str, field: &str) -> Vec<&'static str> {
    let start = format!("{field}: \"");
    source.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn each_fault_was_tried_under_each_contender() {
    let rows = rows(part("faults"));
    let contenders = fields(CONTENDERS, "name");
    let without_dial9 = part("faults").contains("dial9 is not there");
    let contenders = contenders.iter().filter(|name| !(without_dial9 && **name == "dial9"));
    let head: Vec<_> = ["fault"].iter().chain(contenders).copied().collect();
    assert_eq!(rows[0], head);
    assert!(head.len() >= 6, "contenders are found in the source: {head:?}");
    let tried: Vec<_> = rows[2..].iter().map(|row| row[0]).collect();
    assert_eq!(tried, fields(FAULTS, "what"));
    for row in &rows[2..] {
        assert_eq!(row.len(), head.len(), "{row:?}");
        let is_result = |cell: &str| {
            ["during", "after", "not found", "silent"].iter().any(|word| cell.contains(word))
        };
        assert!(row[1..].iter().all(|cell| is_result(cell)), "{row:?}");
    }
}

#[test]
fn the_costs_have_a_row_for_two_measurements_of_the_same() {
    let rows = rows(part("cost"));
    assert!(rows[2..].iter().any(|row| row[2].starts_with("A/A ± ")), "{rows:?}");
    for row in &rows[2..] {
        assert!(row[1].contains('[') && row[1].ends_with(']'), "an interval: {row:?}");
    }
}

#[test]
fn it_says_which_command_made_it_and_when() {
    for (name, command) in
        [("faults", "`scripts/compare faults "), ("cost", "`scripts/compare cost ")]
    {
        let head = part(name).lines().next().unwrap_or_default();
        assert!(head.starts_with(command), "{head}");
        let (_, rest) = head.split_once("` on ").expect("a day");
        let day = rest.split(':').next().unwrap_or_default();
        assert!(day.len() == 10 && day.starts_with("20"), "{head}");
    }
}

#[test]
fn its_versions_are_those_of_the_lock() {
    let rows = rows(part("versions"));
    assert!(rows.len() > 6, "{rows:?}");
    for row in &rows[2..] {
        let locked = format!("name = \"{}\"\nversion = \"{}\"\n", row[0], row[1]);
        assert!(LOCK.contains(&locked), "{row:?} is not in benches/compare/Cargo.lock");
    }
}
