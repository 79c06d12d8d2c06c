//! Experiments 1 and 2: five calls at a time of a handler that sleeps, by `std::thread::sleep` and
//! by `tokio::time::sleep`, on a runtime of one thread and of four.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::container::{Container, Spec};
use crate::report::{Sleeper, rounded};
use crate::scale::Scale;
use crate::screen::Row;
use crate::service::Flavor;
use crate::{Error, http};

const CALLS: usize = 5;
/// How long a handler sleeps.
const SLEEP: f64 = 10.0;
/// A single call is timed that often, one after the other; the median counts.
const SINGLES: usize = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of the experiment.
    pub(crate) number: u8,
    pub(crate) row: &'static str,
    path: &'static str,
    sleep: &'static str,
    flavor: Flavor,
}

pub(crate) const PLANS: [Plan; 4] = [
    plan(1, "1a", "/hello", "std::thread::sleep", Flavor::CurrentThread),
    plan(1, "1b", "/hello", "std::thread::sleep", Flavor::MultiThread),
    plan(2, "2a", "/async", "tokio::time::sleep", Flavor::CurrentThread),
    plan(2, "2b", "/async", "tokio::time::sleep", Flavor::MultiThread),
];

const fn plan(
    number: u8,
    row: &'static str,
    path: &'static str,
    sleep: &'static str,
    flavor: Flavor,
) -> Plan {
    Plan { number, row, path, sleep, flavor }
}

impl Plan {
    /// About how long it takes.
    pub(crate) fn expected(&self, scale: Scale) -> Duration {
        let rounds = match (self.number, self.flavor) {
            (1, Flavor::CurrentThread) => CALLS,
            (1, Flavor::MultiThread) => 2,
            _ => 1,
        };
        scale.seconds(SLEEP) * (SINGLES + rounds) as u32
    }

    pub(crate) fn run(&self, scale: Scale, row: &Row) -> Result<Sleeper, Error> {
        let spec = Spec { flavor: self.flavor, env: Vec::new() };
        let container = Container::start(&spec, |_| {})?;
        let url =
            format!("{}{}?ms={}", container.service, self.path, scale.seconds(SLEEP).as_millis());
        http::call(&format!("{}/healthcheck", container.service))?;

        row.state(format!("one call of {} ({})", self.path, self.sleep));
        let mut singles = [0.0; SINGLES];
        for single in &mut singles {
            let start = Instant::now();
            http::call(&url)?;
            *single = start.elapsed().as_secs_f64();
        }
        singles.sort_by(f64::total_cmp);
        let one = singles[SINGLES / 2];

        row.state(format!("{CALLS} calls of {} at a time ({})", self.path, self.sleep));
        let all = at_a_time(&url)?.as_secs_f64();
        let handler = format!("GET {}", self.path);
        let found = Sleeper {
            experiment: self.row,
            stalls_counted: stalls_of(&container, &handler)?,
            handler,
            sleep: self.sleep,
            runtime: self.flavor,
            calls: CALLS,
            one_call_seconds: rounded(one),
            all_calls_seconds: rounded(all),
            ratio: rounded(all / one),
        };
        row.say(&format!(
            "one call {one:.2} s, {CALLS} at a time {all:.2} s: {:.2} times",
            all / one
        ));
        row.done();
        Ok(found)
    }
}

fn stalls_of(container: &Container, handler: &str) -> Result<u64, Error> {
    http::counter(&container.admin, "tokio_stalls_total", &format!("handler=\"{handler}\""))
}

/// From the moment all begin until the last has its answer.
fn at_a_time(url: &str) -> Result<Duration, Error> {
    let ready = Barrier::new(CALLS + 1);
    thread::scope(|scope| {
        let call = || {
            ready.wait();
            http::call(url).map_err(|error| error.to_string())
        };
        let calls: Vec<_> = (0..CALLS).map(|_| scope.spawn(call)).collect();
        ready.wait();
        let start = Instant::now();
        for call in calls {
            call.join().map_err(|_| "a client panicked")??;
        }
        Ok(start.elapsed())
    })
}
