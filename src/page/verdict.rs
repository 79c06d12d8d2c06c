//! The state of the process in one sentence: a pure function of the page's data.

use std::borrow::Cow;

use crate::health::assess::{Blame, assess};
use crate::label::printable;
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::{Holder, SiteKey, SiteTotals, Stall};
use crate::text;
use crate::vitals::ThreadReport;

/// See `verdict` in `docs/stalls.schema.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) state: &'static str,
    pub(super) sentence: String,
    /// What to do first.
    pub(super) advice: Option<Advice>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// What is wrong, and where.
    pub(super) about: String,
    pub(super) fix: Cow<'static, str>,
}

impl Verdict {
    pub(super) fn switched_off() -> Self {
        let sentence = "Switched off by TOWER_STALL=off: nothing is watched".to_owned();
        Self { state: "off", sentence, advice: None }
    }

    /// The watchdog does not tell.
    pub(super) fn unknown(watchdog: ThreadReport) -> Self {
        let sentence = format!("Not known: {}", text::thread(watchdog));
        Self { state: "unknown", sentence, advice: None }
    }
}

/// `open` newest first, `sites` most time first.
pub(super) fn judge(
    runtimes: &[RuntimeSnapshot],
    open: &[Stall],
    sites: &[(SiteKey, SiteTotals)],
) -> Verdict {
    let found = assess(runtimes, open);
    let outside: Vec<_> = open.iter().filter(|stall| stall.cause.is_environment()).collect();
    let blocks = |blame: &Blame<'_>| {
        let blocked = blame.same.iter().filter(|stall| stall.worker.is_some()).count();
        let workers = blame.runtime.map_or(blame.stall.workers, |runtime| runtime.workers);
        text::blocks_now(blame.stall, blocked, workers, runtimes.len() > 1)
    };
    let (state, sentence, advice) = if let Some((runtime, blame)) = &found.dead {
        let sentence = text::dead_for(runtime.name, runtime.frozen);
        match blame {
            Some(blame) => ("dead", format!("{sentence}: {}", blocks(blame)), mend(blame.stall)),
            None => ("dead", sentence, None),
        }
    } else if let Some(blame) = &found.blame {
        let sentence = blocks(blame) + &text::more_stalls(blame.others);
        ("degraded", sentence, mend(blame.stall))
    } else if let Some(longest) = outside.iter().max_by_key(|stall| stall.duration) {
        ("environment", text::outside(outside.len(), longest.duration), mend(longest))
    } else if let Some(runtime) = found.unexplained {
        let RuntimeSnapshot { name, frozen, stalled, workers, .. } = *runtime;
        let sentence = match runtime.is_frozen() {
            true => text::frozen_by_nobody(name, frozen),
            false => text::stalled_workers(name, stalled, workers),
        };
        ("degraded", sentence, None)
    } else {
        let advice = sites.first().map(|(key, totals)| so_far(key, totals.fix.clone()));
        ("healthy", "Healthy: no worker is blocked".to_owned(), advice)
    };
    Verdict { state, sentence, advice }
}

fn mend(stall: &Stall) -> Option<Advice> {
    let mut about = text::why_and_where(stall);
    if let Some(held_by) = stall.last_held_by().filter(|it| it.holder != Holder::Unknown) {
        about += &format!("; {held_by}");
    }
    Some(Advice { about: printable(&about).into_owned(), fix: stall.last_fix().clone() })
}

fn so_far(key: &SiteKey, fix: Cow<'static, str>) -> Advice {
    let (handler, place) = (text::handler_title(key.handler), text::place(key.site.as_ref()));
    let about = format!("Most time so far: {handler}, {}{place}", key.cause);
    Advice { about: printable(&about).into_owned(), fix }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::labels::{ENVIRONMENT, UNATTRIBUTED};
    use crate::stall::tests::stall;
    use crate::stall::{Cause, Degree, HeldBy, Site};

    fn main() -> RuntimeSnapshot {
        RuntimeSnapshot { name: "main", counts: true, workers: 4, ..RuntimeSnapshot::default() }
    }

    fn lasts(id: u64, seconds: u64) -> Stall {
        let site =
            Site { function: "app::load".into(), file: Some("src/main.rs".into()), line: Some(31) };
        Stall {
            in_progress: true,
            duration: Duration::from_secs(seconds),
            cause: Cause::Sleep,
            fix: Cause::Sleep.fix().into(),
            worker: Some(id as usize),
            site: Some(site),
            ..stall(id)
        }
    }

    #[track_caller]
    fn says(runtimes: &[RuntimeSnapshot], open: &[Stall], state: &str, sentence: &str) -> Verdict {
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
            "degraded",
            "GET /hello blocks 1 of 4 workers now, for 12 s",
        );
        let advice = verdict.advice.expect("one");
        assert_eq!(advice.about, "sleep at src/main.rs:31 in app::load");
        assert_eq!(advice.fix, Cause::Sleep.fix());
    }

    #[test]
    fn who_holds_the_lock_is_told_if_it_is_known() {
        let about = |holder| {
            let held_by = Some(HeldBy::new(holder, Degree::Likely));
            let stall = Stall { cause: Cause::Lock, held_by, ..lasts(1, 12) };
            judge(&[main()], &[stall], &[]).advice.expect("one").about
        };
        let known = "lock at src/main.rs:31 in app::load; likely held by no running thread: a guard \
                     is kept across an `.await`";
        assert_eq!(about(Holder::NoThread), known);
        assert_eq!(about(Holder::Unknown), "lock at src/main.rs:31 in app::load");
    }

    #[test]
    fn stalls_of_one_handler_are_counted_together_and_others_beside_them() {
        let main = [main()];
        let other = Stall { handler: "GET /other".into(), ..lasts(3, 1) };
        let open = [lasts(1, 2), lasts(2, 12), other];
        let two = "GET /hello blocks 2 of 4 workers now, for 12 s; 1 more stall in progress";
        says(&main, &open, "degraded", two);
        let all = [lasts(0, 1), lasts(1, 1), lasts(2, 1), lasts(3, 1)];
        says(&main, &all, "degraded", "GET /hello blocks all 4 workers now, for 1.0 s");
        let single = [RuntimeSnapshot { workers: 1, ..main[0].clone() }];
        let nameless = Stall { handler: UNATTRIBUTED.into(), ..lasts(0, 1) };
        let only = "A task without a name blocks the only worker now, for 1.0 s";
        says(&single, &[nameless], "degraded", only);
        let two = [main[0].clone(), RuntimeSnapshot { name: "background", ..main[0].clone() }];
        let root = Stall { worker: None, ..lasts(1, 3) };
        let which = "GET /hello blocks its thread of runtime \"main\" now, for 3.0 s";
        says(&two, &[root], "degraded", which);
    }

    #[test]
    fn the_environment_is_no_handlers_fault_and_yields_to_one() {
        let main = [main()];
        let starved = Stall { cause: Cause::Starved, handler: ENVIRONMENT.into(), ..lasts(1, 30) };
        let both = [starved.clone(), lasts(2, 1)];
        let outside = "No handler's fault: 1 thread cannot run, for 30 s by now";
        says(&main, &[starved], "environment", outside);
        says(&main, &both, "degraded", "GET /hello blocks 1 of 4 workers now, for 1.0 s");
    }

    #[test]
    fn a_freeze_is_told_though_nobody_is_known_to_do_it() {
        let frozen = RuntimeSnapshot { frozen: Duration::from_secs(3), ..main() };
        let unknown = "Runtime \"main\" is frozen for 3.0 s, by no handler that is known";
        says(std::slice::from_ref(&frozen), &[], "degraded", unknown);
        let healthy = "Healthy: no worker is blocked";
        says(&[RuntimeSnapshot { counts: false, ..frozen.clone() }], &[], "healthy", healthy);
        let dead = RuntimeSnapshot { dead: true, frozen: Duration::from_secs(61), ..frozen };
        let killed = "Dead: runtime \"main\" is frozen for 61 s: GET /hello blocks 1 of 4 workers now, for 61 s";
        says(&[dead], &[lasts(1, 61)], "dead", killed);
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
            fix: Cause::Sleep.fix().into(),
            last: 3,
        };
        let verdict = judge(&[main()], &[], &[(key, totals)]);
        assert_eq!(verdict.state, "healthy");
        let about = verdict.advice.expect("one").about;
        assert_eq!(about, "Most time so far: GET /hello, sleep at src/main.rs:31 in app::load");
    }
}
