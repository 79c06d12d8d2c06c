//! Three experiments about a handler that blocks, on real HTTP: the story that this crate is for.
//!
//! ```text
//! cargo run --release -p tower-stall-slides                  # some 4 minutes
//! cargo run --release -p tower-stall-slides -- --scale 0.1   # the same in half a minute
//! ```
//!
//! 1. Five calls at a time of a handler that sleeps by `std::thread::sleep`: on a current-thread
//!    runtime five times as long as one.
//! 2. The same by `tokio::time::sleep`: as long as one.
//! 3. A pod whose handler blocks for two minutes, under probes that follow the kubelet's rules.
//!    a: probed on the service's own runtime it is restarted. b: probed on `/livez` and `/readyz`
//!    it is out of rotation while it cannot serve, and not restarted. c: the same on a runtime of
//!    four workers. d: one that blocks for ever is restarted after `dead_after`.
//!
//! You see a line for each thing that happens, bars below them, and at the end two tables: all
//! times in them were measured. With `--json` the standard output is one JSON document instead
//! (its shape is in `report.rs`); lines and bars go to the standard error in any case. The exit
//! code is 0 if all experiments ran, whatever they measured.
//!
//! Each service is a process of its own, since a restart has to end a thread that is blocked; the
//! experiments of one number run at the same time.

mod container;
mod http;
mod plans;
mod probe;
mod report;
mod scale;
mod screen;
mod service;
mod sleepers;
mod story;

use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};

use plans::Plan;
use report::Report;
use scale::Scale;
use screen::Screen;
use service::Flavor;
use story::Story;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Three experiments about a handler that blocks, and what its probes make of it.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Shortens all times alike: blocks, probes, grace period and the detector's own, but for its
    /// threshold of 100 ms.
    #[arg(long, default_value = "1.0")]
    scale: Scale,
    /// Prints one JSON document instead of tables.
    #[arg(long)]
    json: bool,
    /// Runs only these of the three experiments.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3],
          value_parser = clap::value_parser!(u8).range(1..=3))]
    only: Vec<u8>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// What runs in a container.
    #[command(hide = true)]
    Serve { flavor: Flavor },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Some(Command::Serve { flavor }) => service::serve(flavor),
        None => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let (scale, screen) = (args.scale, Screen::default());
    // Rows first, so that they are in order.
    let sleepers: Vec<_> = sleepers::PLANS
        .into_iter()
        .filter(|plan| args.only.contains(&plan.number))
        .map(|plan| (plan, screen.row(plan.row, plan.expected(scale))))
        .collect();
    let sleepers = at_a_time(&sleepers, |(plan, row)| {
        plan.run(scale, row).map_err(|error| format!("experiment {}: {error}", plan.row).into())
    })?;
    let plans = if args.only.contains(&3) { Plan::all(scale) } else { Vec::new() };
    let plans: Vec<_> = plans
        .into_iter()
        .map(|plan| (screen.row(plan.experiment, plan.expected(scale)), plan))
        .collect();
    let pods = at_a_time(&plans, |(row, plan)| {
        Story::run(plan, scale, row)
            .map_err(|error| format!("experiment {}: {error}", plan.experiment).into())
    })?;
    let report = Report { scale, probe: scale.probe(), sleepers, pods };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

/// Runs all of them at the same time; what they give is in the order of the plans.
fn at_a_time<P: Sync, R: Send>(
    plans: &[P],
    run: impl Fn(&P) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = plans.iter().map(|plan| scope.spawn(move || run(plan))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "an experiment panicked")?)
            .collect()
    })
}
