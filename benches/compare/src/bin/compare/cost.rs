//! What each contender costs end to end, by the method of `scripts/bench-e2e`: CPU time of a server for each
//! request at a fixed rate, in turns, with a second server of the first kind for the A/A row.

use crate::contender::{Contender, Programs};
use crate::run::Service;
use tower_stall_compare::measure::{
    Estimate, LATE, Load, Rounds, TURN, cores, cpu_of, stay_on_core,
};

const STABLE: &str = "the service alone";
const UNSTABLE: &str = "the service alone, with the flag";

const BARE: [Contender; 2] = [
    Contender { name: STABLE, tool: "bare", is_unstable: false },
    Contender { name: UNSTABLE, tool: "bare", is_unstable: true },
];
const EVENTS: Contender =
    Contender { name: "dial9 without samples", tool: "dial9-events", is_unstable: true };

pub(crate) fn measure(programs: &Programs, rounds: usize, rate: usize) -> String {
    let rate = u32::try_from(rate).expect("a rate that is not above 4 billion");
    let tools = Contender::ALL.into_iter().chain([EVENTS]);
    let tools = tools.filter(|contender| contender.is_built(programs));
    let contenders: Vec<_> = BARE.into_iter().chain(tools).collect();
    let folder = std::env::temp_dir().join(format!("tower-stall-cost-{}", std::process::id()));
    // The servers inherit it.
    stay_on_core(cores() - 1);
    let twin = contenders.len();
    let start = |(number, contender): (usize, &Contender)| {
        let own = folder.join(number.to_string());
        std::fs::create_dir_all(&own).expect("a folder for what it writes");
        Service::start(contender, programs, 1, &own)
    };
    let servers: Vec<_> =
        contenders.iter().chain([&contenders[0]]).enumerate().map(start).collect();
    stay_on_core(0);
    let mut loads: Vec<_> = servers.iter().map(|server| Load::open(&server.address())).collect();
    let turns: Vec<_> = contenders.iter().map(|it| it.name).zip(0..).collect();
    let measured = Rounds::run_beside(rounds, "µs", &turns, twin, |at: usize| {
        let process = servers[at].process();
        let before = cpu_of(process);
        let count = loads[at].send(rate);
        (cpu_of(process) - before).as_secs_f64() * 1e6 / f64::from(count)
    });
    drop(servers);
    // Nobody else writes there; what is left is small.
    let _removed = std::fs::remove_dir_all(&folder);
    let sent: u32 = loads.iter().map(|load| load.sent).sum();
    let late: u32 = loads.iter().map(|load| load.late).sum();
    let mut text = format!(
        "{rounds} rounds of {} ms at {rate} requests a second, one worker. {late} of {sent} requests were sent more \
         than {} ms late.\n\n",
        TURN.as_millis(),
        LATE.as_millis(),
    );
    text.push_str(&table(&measured, &contenders));
    text
}

fn table(measured: &Rounds, contenders: &[Contender]) -> String {
    let spread = measured.spread_of_ratio();
    let mut text = String::from(
        "| service | µs of CPU time a request | times the service alone | what that says |\n|---|---|---|---|\n",
    );
    for contender in contenders {
        let alone = shown(measured.alone(contender.name), 1);
        let base =
            if contender.is_unstable && contender.name != UNSTABLE { UNSTABLE } else { STABLE };
        let (ratio, verdict) = if contender.name == STABLE {
            (format!("A/A ± {spread:.3}"), "no row tells more than this".to_owned())
        } else {
            let ratio = measured.ratio(contender.name, base);
            (shown(ratio, 3), says(ratio, spread))
        };
        text.push_str(&format!("| {} | {alone} | {ratio} | {verdict} |\n", contender.name));
    }
    text
}

fn shown(estimate: Estimate, digits: usize) -> String {
    let Estimate { low, median, high } = estimate;
    format!("{median:.digits$} [{low:.digits$}, {high:.digits$}]")
}

/// What a ratio says beyond what two measurements of the same service differ by.
fn says(ratio: Estimate, spread: f64) -> String {
    let (low, high) = (ratio.low - spread, ratio.high + spread);
    let percent = |times: f64| (times - 1.0) * 100.0;
    if low > 1.0 {
        format!("{:.0} to {:.0} % more", percent(low), percent(high))
    } else if high < 1.0 {
        format!("{:.0} to {:.0} % less", -percent(high), -percent(low))
    } else {
        format!("cannot tell: at most {:.0} % more", percent(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_claim_is_finer_than_two_measurements_of_the_same() {
        let ratio = |low, high| Estimate { low, median: f64::midpoint(low, high), high };
        assert_eq!(says(ratio(1.1, 1.2), 0.05), "5 to 25 % more");
        assert_eq!(says(ratio(1.01, 1.03), 0.05), "cannot tell: at most 8 % more");
        assert_eq!(says(ratio(0.8, 0.85), 0.05), "10 to 25 % less");
    }
}
