//! Services that stall as public reports tell, and some that only look as if they did.
//!
//! `tower-stall-corpus NAME` runs one of them and prints all records of the detector as one line of JSON.
//! Without a name it prints the cases, with what their users are to be told. `tower-stall-corpus --awaits SHAPE...`
//! runs futures of these shapes. For Linux with glibc.

/// Runs an expression and notes that this is the line of the stall.
///
/// It is not the last that its function does: a call in that place leaves no frame of its caller.
macro_rules! here {
    ($stalls:expr) => {{
        crate::stage::note(file!(), line!(), line!());
        let result = $stalls;
        std::hint::black_box(&result);
        result
    }};
}

/// Notes that the stall is in the next lines, so many of them.
macro_rules! below {
    ($lines:expr) => {
        crate::stage::note(file!(), line!() + 1, line!() + $lines)
    };
}

mod awaits;
mod case;
mod cases;
mod stage;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use serde_json::json;

use case::Case;

fn main() {
    let mut cases = cases::ALL.iter().copied().flatten();
    let Some(wanted) = std::env::args().nth(1) else {
        return cases.for_each(|case| println!("{}", case.describe()));
    };
    if wanted == "--awaits" {
        let shapes: Vec<String> = std::env::args().skip(2).collect();
        return awaits::run(&shapes);
    }
    let case = cases.find(|case| case.name == wanted).expect("a name of the list");
    // Whatever goes wrong, nobody waits for those that are blocked. Handlers may panic.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if std::thread::current().name() == Some("main") {
            std::process::exit(101);
        }
    }));
    if std::env::var_os("STALL_CORPUS_ONE_CPU").is_some() {
        stay_on_one_cpu();
    }
    // A case may take the standard output away.
    let output = io::stdout().as_fd().try_clone_to_owned().expect("a descriptor");
    let line = match (case.possible)() {
        Err(why) => json!({ "skipped": why }),
        Ok(()) => run(case),
    };
    writeln!(File::from(output), "{line}").expect("somebody reads");
    // Threads that still compute are not waited for.
    std::process::exit(0);
}

fn run(case: &Case) -> serde_json::Value {
    let stage = stage::Stage::set(case);
    (case.run)(&stage);
    stage.end()
}

fn stay_on_one_cpu() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None).expect("a set of CPUs");
    let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).expect("one at least");
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).expect("it is one of ours");
}
