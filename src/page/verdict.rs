//! How it stands, in one sentence: a pure function of what is known.

use std::time::Duration;

use super::report::Watched;
use super::time::rough;
use crate::label::printable;
use crate::labels::UNATTRIBUTED;
use crate::stall::Stall;
use crate::stall::{SiteKey, SiteTotals};
use crate::text;

/// A freeze of which less is left is the environment's.
const LEAST: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Healthy,
    /// A handler blocks, or a runtime is frozen.
    Degraded,
    /// What holds workers up lies outside the program.
    Environment,
    /// Only a restart helps.
    Dead,
    /// Nobody looks.
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) sentence: String,
    /// What to do first.
    pub(super) advice: Option<Advice>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// What is wrong, and where.
    pub(super) about: String,
    pub(super) fix: &'static str,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Environment => "environment",
            Self::Dead => "dead",
            Self::Off => "off",
        }
    }
}

impl Verdict {
    pub(super) fn switched_off() -> Self {
        let sentence = "Switched off by TOWER_STALL=off: nothing is watched".to_owned();
        Self { state: State::Off, sentence, advice: None }
    }
}

/// `open` newest first, `sites` most time first.
pub(super) fn judge(
    runtimes: &[Watched],
    open: &[Stall],
    sites: &[(SiteKey, SiteTotals)],
) -> Verdict {
    let (outside, own): (Vec<_>, Vec<_>) =
        open.iter().partition(|stall| stall.cause.is_environment());
    let new = |state, sentence, advice| Verdict { state, sentence, advice };
    if let Some(dead) = runtimes.iter().find(|runtime| runtime.dead) {
        let blamed = longest(own.iter().filter(|stall| stall.runtime == dead.name).copied());
        let what = format!("Dead: runtime {:?} is frozen for {}", dead.name, rough(dead.frozen));
        let who = blamed.map(|stall| format!(": {}", blocks(stall, &own, runtimes)));
        return new(State::Dead, what + &who.unwrap_or_default(), blamed.map(mend));
    }
    if let Some(longest) = longest(own.iter().copied()) {
        let same = own.iter().filter(|stall| is_same(stall, longest)).count();
        let more = match own.len() - same {
            0 => String::new(),
            1 => "; 1 more stall in progress".to_owned(),
            more => format!("; {more} more stalls in progress"),
        };
        let sentence = blocks(longest, &own, runtimes) + &more;
        return new(State::Degraded, sentence, Some(mend(longest)));
    }
    if let Some(longest) = longest(outside.iter().copied()) {
        let threads = match outside.len() {
            1 => "1 thread".to_owned(),
            count => format!("{count} threads"),
        };
        let time = rough(longest.duration);
        let sentence = format!("No handler's fault: {threads} cannot run, for {time} by now");
        return new(State::Environment, sentence, Some(mend(longest)));
    }
    let counted = runtimes.iter().filter(|runtime| runtime.counts && runtime.frozen >= LEAST);
    if let Some(Watched { name, frozen, .. }) = counted.max_by_key(|runtime| runtime.frozen) {
        let time = rough(*frozen);
        let sentence =
            format!("Runtime {name:?} is frozen for {time}, by no handler that is known");
        return new(State::Degraded, sentence, None);
    }
    let advice = sites.first().map(|(key, totals)| {
        let place = key.site.as_ref().map_or_else(String::new, |site| format!(" at {site}"));
        let about = format!("Most time so far: {}, {}{place}", handler(key.handler), key.cause);
        Advice { about: printable(&about).into_owned(), fix: totals.fix }
    });
    new(State::Healthy, "Healthy: no worker is blocked".to_owned(), advice)
}

fn longest<'a>(stalls: impl Iterator<Item = &'a Stall>) -> Option<&'a Stall> {
    stalls.max_by_key(|stall| stall.duration)
}

/// The handler as people call it.
pub(super) fn handler(label: &str) -> String {
    match label {
        UNATTRIBUTED => "A task without a name".to_owned(),
        label => printable(label).into_owned(),
    }
}

/// Who blocks how many workers, and for how long.
fn blocks(longest: &Stall, own: &[&Stall], runtimes: &[Watched]) -> String {
    let same = own.iter().filter(|stall| is_same(stall, longest));
    let count = same.filter(|stall| stall.worker.is_some()).count();
    let watched = runtimes.iter().find(|runtime| runtime.name == longest.runtime);
    let whom = match (count, watched.map_or(longest.workers, |runtime| runtime.workers)) {
        (0, _) => "its thread".to_owned(),
        (_, 1) => "the only worker".to_owned(),
        (count, workers) if count >= workers => format!("all {workers} workers"),
        (count, workers) => format!("{count} of {workers} workers"),
    };
    let runtime = match runtimes.len() {
        0 | 1 => String::new(),
        _ => format!(" of runtime {:?}", longest.runtime),
    };
    let (who, time) = (handler(longest.handler), rough(longest.duration));
    format!("{who} blocks {whom}{runtime} now, for {time}")
}

fn is_same(one: &Stall, other: &Stall) -> bool {
    (one.handler, one.runtime) == (other.handler, other.runtime)
}

fn mend(stall: &Stall) -> Advice {
    let about = text::why(stall) + &text::place(stall);
    Advice { about: printable(&about).into_owned(), fix: stall.fix }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::labels::ENVIRONMENT;
    use crate::stall::tests::stall;
    use crate::stall::{Cause, Site};

    fn main() -> Watched {
        Watched {
            name: "main",
            workers: 4,
            stalled: 0,
            saturated: 0,
            heartbeat_age: None,
            frozen: Duration::ZERO,
            dead: false,
            counts: true,
            lag: Vec::new(),
        }
    }

    fn lasts(id: u64, seconds: u64) -> Stall {
        let site =
            Site { function: "app::load".into(), file: Some("src/main.rs".into()), line: Some(31) };
        Stall {
            duration: Duration::from_secs(seconds),
            cause: Cause::Sleep,
            fix: Cause::Sleep.fix(),
            worker: Some(id as usize),
            site: Some(site),
            ..stall(id)
        }
    }

    #[track_caller]
    fn says(runtimes: &[Watched], open: &[Stall], state: State, sentence: &str) -> Verdict {
        let verdict = judge(runtimes, open, &[]);
        assert_eq!((verdict.state, verdict.sentence.as_str()), (state, sentence));
        verdict
    }

    #[test]
    fn a_stall_is_told_with_its_place_and_what_to_do() {
        let main = [main()];
        let verdict = says(
            &main,
            &[lasts(1, 12)],
            State::Degraded,
            "GET /hello blocks 1 of 4 workers now, for 12 s",
        );
        let advice = verdict.advice.expect("one");
        assert_eq!(advice.about, "sleep at src/main.rs:31 in app::load");
        assert_eq!(advice.fix, Cause::Sleep.fix());
    }

    #[test]
    fn stalls_of_one_handler_are_counted_together_and_others_beside_them() {
        let main = [main()];
        let other = Stall { handler: "GET /other", ..lasts(3, 1) };
        let open = [lasts(1, 2), lasts(2, 12), other];
        let two = "GET /hello blocks 2 of 4 workers now, for 12 s; 1 more stall in progress";
        says(&main, &open, State::Degraded, two);
        let all = [lasts(0, 1), lasts(1, 1), lasts(2, 1), lasts(3, 1)];
        says(&main, &all, State::Degraded, "GET /hello blocks all 4 workers now, for 1.0 s");
        let single = [Watched { workers: 1, ..main[0].clone() }];
        let nameless = Stall { handler: UNATTRIBUTED, ..lasts(0, 1) };
        let only = "A task without a name blocks the only worker now, for 1.0 s";
        says(&single, &[nameless], State::Degraded, only);
        let two = [main[0].clone(), Watched { name: "background", ..main[0].clone() }];
        let root = Stall { worker: None, ..lasts(1, 3) };
        let which = "GET /hello blocks its thread of runtime \"main\" now, for 3.0 s";
        says(&two, &[root], State::Degraded, which);
    }

    #[test]
    fn the_environment_is_no_handlers_fault_and_yields_to_one() {
        let main = [main()];
        let starved = Stall { cause: Cause::Starved, handler: ENVIRONMENT, ..lasts(1, 30) };
        let both = [starved.clone(), lasts(2, 1)];
        let outside = "No handler's fault: 1 thread cannot run, for 30 s by now";
        says(&main, &[starved], State::Environment, outside);
        says(&main, &both, State::Degraded, "GET /hello blocks 1 of 4 workers now, for 1.0 s");
    }

    #[test]
    fn a_freeze_is_told_though_nobody_is_known_to_do_it() {
        let frozen = Watched { frozen: Duration::from_secs(3), ..main() };
        let unknown = "Runtime \"main\" is frozen for 3.0 s, by no handler that is known";
        says(std::slice::from_ref(&frozen), &[], State::Degraded, unknown);
        let healthy = "Healthy: no worker is blocked";
        says(&[Watched { counts: false, ..frozen.clone() }], &[], State::Healthy, healthy);
        let dead = Watched { dead: true, frozen: Duration::from_secs(61), ..frozen };
        let killed = "Dead: runtime \"main\" is frozen for 61 s: GET /hello blocks 1 of 4 workers now, for 61 s";
        says(&[dead], &[lasts(1, 61)], State::Dead, killed);
    }

    #[test]
    fn in_good_times_the_worst_site_so_far_is_named() {
        let key = SiteKey { handler: "GET /hello", site: lasts(1, 1).site, cause: Cause::Sleep };
        let totals = SiteTotals {
            stalls: 3,
            in_progress: 0,
            time: Duration::from_secs(9),
            longest: Duration::from_secs(5),
            last_seen: SystemTime::UNIX_EPOCH,
            delayed_requests: 0,
            fix: Cause::Sleep.fix(),
            last: 3,
        };
        let verdict = judge(&[main()], &[], &[(key, totals)]);
        assert_eq!(verdict.state, State::Healthy);
        let about = verdict.advice.expect("one").about;
        assert_eq!(about, "Most time so far: GET /hello, sleep at src/main.rs:31 in app::load");
    }
}
