//! Writes `docs/comparison.md`: the same faults and the same load under each contender.
//!
//! ```text
//! scripts/compare faults [TIMES]
//! scripts/compare cost [ROUNDS] [REQUESTS A SECOND]
//! ```

mod contender;
mod cost;
mod judge;

mod page;
mod run;
mod table;

use std::path::PathBuf;

use contender::Programs;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let [stable, unstable] = ["the stable service", "the unstable service"]
        .map(|what| std::fs::canonicalize(next(what)).expect("a program"));
    let no_dial9 = Some(next("why dial9 does not build, or nothing")).filter(|why| !why.is_empty());
    let command = next("`faults` or `cost`");
    let programs = Programs { stable, unstable, no_dial9 };
    let mut number =
        |default| arguments.next().map_or(default, |number| number.parse().expect("a number"));
    match command.as_str() {
        "faults" => {
            let times = number(3);
            let table = table::of_faults(&programs, times);
            println!("{table}");
            page::rewrite("faults", &page::head(&format!("faults {times}")), &table);
        }
        "cost" => {
            let (rounds, rate) = (number(60), number(2000));
            let table = cost::measure(&programs, rounds, rate);
            println!("{table}");
            page::rewrite("cost", &page::head(&format!("cost {rounds} {rate}")), &table);
        }
        other => panic!("`faults` or `cost`, not {other:?}"),
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
