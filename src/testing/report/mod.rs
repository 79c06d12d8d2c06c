//! What fails tests, for CI: annotations for GitHub, and a file for programs.
//!
//! Nothing in here fails a test: what cannot be written is said on the standard error.

mod annotation;
mod file;
mod places;
mod sarif;

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::testing::found::Found;
use places::Places;

/// Names the file.
const FILE: &str = "TOWER_STALL_REPORT";
/// Where GitHub's runner reads what a program prints.
const GITHUB: &str = "GITHUB_ACTIONS";

/// What the environment asks for, read once.
struct Outputs {
    places: Places,
    annotates: bool,
    file: Option<PathBuf>,
}

fn outputs() -> &'static Outputs {
    static OUTPUTS: OnceLock<Outputs> = OnceLock::new();
    OUTPUTS.get_or_init(|| {
        let places = Places::of_process();
        let file = std::env::var_os(FILE).filter(|file| !file.is_empty());
        let file = file.map(|file| places.output(file.as_ref()));
        let annotates = std::env::var_os(GITHUB).is_some_and(|value| value == "true");
        Outputs { places, annotates, file }
    })
}

/// Makes the file, so that CI learns that nothing was found.
pub(super) fn begin() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| write(&[]));
}

/// Tells the stalls of a test.
pub(super) fn add(found: &Found<'_>) {
    let Outputs { places, annotates, file } = outputs();
    if *annotates {
        annotation::lines(found, places).for_each(|line| println!("{line}"));
    }
    if file.is_some() {
        let results: Vec<_> =
            found.stalls.iter().map(|stall| sarif::result(found, stall, places)).collect();
        write(&results);
    }
}

fn write(results: &[serde_json::Value]) {
    if let Some(path) = &outputs().file
        && let Err(error) = file::add(path, results)
    {
        eprintln!("{FILE}={}: {error}", path.display());
    }
}
