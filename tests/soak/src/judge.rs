//! Compares what was committed with what was found. Pure: times count from the begin of the run.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::machine::Lost;

/// What is known of a fault before it is committed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
    /// The runtime, and what else was done to the request.
    pub(crate) circumstances: String,
    /// The id in the request; a task has none.
    pub(crate) trace: Option<u128>,
    pub(crate) handler: String,
    pub(crate) cause: &'static str,
    /// The function of the site; none where own code only awaits.
    pub(crate) function: Option<&'static str>,
    /// From so much time of its own on it must be found.
    pub(crate) needs: Duration,
}

/// A fault that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) plan: Plan,
    /// Function, file and line of the site; none where own code only awaits.
    pub(crate) site: Option<Site>,
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
    /// How long its thread was ready to run and others had the CPU.
    pub(crate) without_cpu: Duration,
    /// How long others had none meanwhile. Known when it is over for a while.
    pub(crate) lost: Lost,
}

pub(crate) type Site = (String, String, u32);

/// What the detector says.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) handler: String,
    pub(crate) cause: &'static str,
    pub(crate) is_environment: bool,
    /// Function, file and line; without the last two where they are not known.
    pub(crate) site: Option<(String, Option<(String, u32)>)>,
    pub(crate) stack_missing: Option<String>,
    pub(crate) trace: Option<u128>,
    pub(crate) begin: Duration,
    /// All of it, for people.
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it is to be.
    Found,
    /// Right, without a line: the CPU time for stacks is spent, as the record says.
    Limited,
    /// Right, without a line: the machine had no CPU for that, as record and witness say.
    Unclear,
    /// The machine had no CPU for the thread.
    Environment,
    Missed,
    Wrong(String),
}

/// Begin and end of a record may differ by that from those of the fault.
const SLACK: Duration = Duration::from_millis(80);
/// Where a thread had no CPU for longer, that may be why a stack is missing.
const BUSY: Duration = Duration::from_millis(40);
/// When a fault is over for that long, its record has all it will ever have.
const GRACE: Duration = Duration::from_secs(14);

impl Fault {
    /// How long there was a CPU for its thread, for one that only naps, and for the detector.
    fn has_own(&self) -> Duration {
        let Lost { nap, detector } = self.lost;
        (self.end - self.begin).saturating_sub(self.without_cpu + nap.max(detector))
    }

    fn is_disturbed(&self) -> bool {
        self.without_cpu.max(self.lost.nap).max(self.lost.detector) > BUSY
    }

    fn is_of(&self, record: &Record) -> bool {
        if self.plan.trace.is_some() {
            return self.plan.trace == record.trace;
        }
        let meanwhile = self.begin.saturating_sub(SLACK)..=self.end + SLACK;
        record.trace.is_none()
            && (record.handler == self.plan.handler || record.is_environment)
            && meanwhile.contains(&record.begin)
    }
}

/// Judges what was recorded of a fault.
pub(crate) fn judge(fault: &Fault, records: &[Record]) -> Verdict {
    let own: Vec<_> = records.iter().filter(|record| !record.is_environment).collect();
    match own[..] {
        [] if fault.has_own() < fault.plan.needs => Verdict::Environment,
        [] => Verdict::Missed,
        [record] => judge_record(fault, record),
        _ => Verdict::Wrong(format!("{} records of one stall", own.len())),
    }
}

fn judge_record(fault: &Fault, record: &Record) -> Verdict {
    if record.handler != fault.plan.handler {
        return Verdict::Wrong(format!("the handler is {}", record.handler));
    }
    if record.cause != fault.plan.cause {
        return Verdict::Wrong(format!("the cause is {}", record.cause));
    }
    let missing = record.stack_missing.as_deref().unwrap_or_default();
    match (&fault.site, &record.site) {
        (Some((function, file, line)), Some((found, Some((in_file, at_line))))) => {
            if (function, file, line) == (found, in_file, at_line) {
                Verdict::Found
            } else {
                Verdict::Wrong(format!("the site is {found} at {in_file}:{at_line}"))
            }
        }
        (None, Some((found, _))) => Verdict::Wrong(format!("{found} only awaits")),
        _ if missing.starts_with("limited") => Verdict::Limited,
        (None, None) if missing.is_empty() => Verdict::Found,
        _ if !missing.is_empty() && fault.is_disturbed() => Verdict::Unclear,
        _ => Verdict::Wrong(format!("there is no line: {missing:?}")),
    }
}

/// What became of the faults of one cause.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) faults: u64,
    pub(crate) found: u64,
    pub(crate) limited: u64,
    pub(crate) unclear: u64,
    pub(crate) environment: u64,
    pub(crate) missed: u64,
    pub(crate) wrong: u64,
}

impl Tally {
    pub(crate) fn plus(self, other: &Self) -> Self {
        Self {
            faults: self.faults + other.faults,
            found: self.found + other.found,
            limited: self.limited + other.limited,
            unclear: self.unclear + other.unclear,
            environment: self.environment + other.environment,
            missed: self.missed + other.missed,
            wrong: self.wrong + other.wrong,
        }
    }
}

/// A poll of a handler that blocked and was no fault, as it has timed itself.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub(crate) handler: String,
    pub(crate) begin: Duration,
}

/// Faults and records that are not settled yet, and what became of the others.
#[derive(Debug, Default)]
pub(crate) struct Court {
    faults: Vec<Fault>,
    records: Vec<Record>,
    incidents: Vec<Incident>,
    pub(crate) tallies: BTreeMap<&'static str, Tally>,
    /// Records of incidents.
    pub(crate) incident_records: u64,
    /// Records that neither a fault nor an incident explains.
    pub(crate) blamed: u64,
    /// Records of the environment.
    pub(crate) environment: u64,
    /// The others, by handler.
    pub(crate) counted: BTreeMap<String, u64>,
    /// All that is missed or wrong, in full.
    pub(crate) complaints: Vec<String>,
}

impl Court {
    pub(crate) fn add_fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn add_incident(&mut self, incident: Incident) {
        self.incidents.push(incident);
    }

    pub(crate) fn add_record(&mut self, record: Record) {
        if record.is_environment {
            self.environment += 1;
        } else {
            *self.counted.entry(record.handler.clone()).or_default() += 1;
        }
        self.records.push(record);
    }

    /// Judges all that has its last word at that time.
    pub(crate) fn settle(&mut self, now: Duration, lost: impl Fn(Duration, Duration) -> Lost) {
        let is_over = |fault: &mut Fault| fault.end + GRACE < now;
        let mut over: VecDeque<_> = self.faults.extract_if(.., is_over).collect();
        while let Some(mut fault) = over.pop_front() {
            fault.lost = lost(fault.begin, fault.end);
            // Of two tasks, one right after the other, each has the record that began with it.
            let apart = |fault: &Fault, record: &Record| fault.begin.abs_diff(record.begin);
            let is_closer = |other: &Fault, record: &Record| {
                other.is_of(record) && apart(other, record) < apart(&fault, record)
            };
            let of_fault = |record: &mut Record| {
                let mut others = over.iter().chain(&self.faults);
                fault.is_of(record) && !others.any(|other| is_closer(other, record))
            };
            let records: Vec<_> = self.records.extract_if(.., of_fault).collect();
            self.note(&fault, judge(&fault, &records), &records);
        }
        // The longest fault lasts some seconds: it is settled by then.
        let left = |record: &mut Record| record.begin + 3 * GRACE < now;
        for record in self.records.extract_if(.., left) {
            let is_it = |incident: &Incident| {
                let apart = incident.begin.abs_diff(record.begin);
                incident.handler == record.handler && apart < SLACK
            };
            if record.is_environment {
            } else if let Some(at) = self.incidents.iter().position(is_it) {
                self.incidents.remove(at);
                self.incident_records += 1;
            } else {
                self.blamed += 1;
                self.complaints.push(format!("blamed without a fault: {}", record.text));
            }
        }
        self.incidents.retain(|incident| incident.begin + 4 * GRACE > now);
    }

    /// The verdict of something that was found elsewhere.
    pub(crate) fn note(&mut self, fault: &Fault, verdict: Verdict, records: &[Record]) {
        let tally = self.tallies.entry(fault.plan.cause).or_default();
        tally.faults += 1;
        let count = match &verdict {
            Verdict::Found => &mut tally.found,
            Verdict::Limited => &mut tally.limited,
            Verdict::Unclear => &mut tally.unclear,
            Verdict::Environment => &mut tally.environment,
            Verdict::Missed => &mut tally.missed,
            Verdict::Wrong(_) => &mut tally.wrong,
        };
        *count += 1;
        if matches!(verdict, Verdict::Missed | Verdict::Wrong(_)) {
            let texts: Vec<_> = records.iter().map(|record| record.text.as_str()).collect();
            let Plan { id, name, circumstances, .. } = &fault.plan;
            self.complaints.push(format!(
                "{verdict:?}: fault {id}, {name} ({circumstances}): {fault:?}\n    records: {texts:#?}"
            ));
        }
    }

    /// The sum over all causes.
    pub(crate) fn all(&self) -> Tally {
        self.tallies.values().fold(Tally::default(), Tally::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn fault() -> Fault {
        let plan = Plan {
            id: 7,
            name: "std-mutex",
            circumstances: String::new(),
            trace: Some(7),
            handler: "GET /fault/std-mutex".to_owned(),
            cause: "lock",
            function: Some("locks::std_mutex"),
            needs: ms(200),
        };
        Fault {
            plan,
            site: Some(("locks::std_mutex".to_owned(), "locks.rs".to_owned(), 9)),
            begin: ms(1000),
            end: ms(1400),
            without_cpu: ms(0),
            lost: Lost::default(),
        }
    }

    fn record() -> Record {
        Record {
            handler: fault().plan.handler,
            cause: "lock",
            is_environment: false,
            site: fault().site.map(|(function, file, line)| (function, Some((file, line)))),
            stack_missing: None,
            trace: Some(7),
            begin: ms(1020),
            text: "a record".to_owned(),
        }
    }

    fn is_wrong(fault: &Fault, record: Record) -> bool {
        matches!(judge(fault, &[record]), Verdict::Wrong(_))
    }

    #[test]
    fn one_record_with_handler_cause_and_line_is_found() {
        assert_eq!(judge(&fault(), &[record()]), Verdict::Found);
        assert_eq!(judge(&fault(), &[]), Verdict::Missed);
        assert!(matches!(judge(&fault(), &[record(), record()]), Verdict::Wrong(_)));
        assert!(is_wrong(&fault(), Record { handler: "GET /hello".to_owned(), ..record() }));
        assert!(is_wrong(&fault(), Record { cause: "sleep", ..record() }));
        let line =
            |line| Some(("locks::std_mutex".to_owned(), Some(("locks.rs".to_owned(), line))));
        assert!(is_wrong(&fault(), Record { site: line(10), ..record() }));
        assert!(is_wrong(&Fault { site: None, ..fault() }, record()));
    }

    #[test]
    fn a_line_is_missing_only_for_a_reason() {
        let without = |why: Option<&str>| Record {
            site: None,
            stack_missing: why.map(str::to_owned),
            ..record()
        };
        let limited = without(Some("limited: the CPU time for stacks is spent"));
        assert_eq!(judge(&fault(), &[limited]), Verdict::Limited);
        let late = without(Some("the thread had no CPU in time"));
        assert!(is_wrong(&fault(), late.clone()), "the machine was at rest");
        assert_eq!(
            judge(&Fault { lost: Lost { nap: ms(50), ..Lost::default() }, ..fault() }, &[late]),
            Verdict::Unclear
        );
        assert!(is_wrong(&fault(), without(Some("the poll has ended"))));
        assert!(is_wrong(&fault(), without(None)));
        assert_eq!(judge(&Fault { site: None, ..fault() }, &[without(None)]), Verdict::Found);
    }

    #[test]
    fn only_a_thread_without_a_cpu_is_the_environments() {
        let starved = Record { is_environment: true, cause: "starved", ..record() };
        assert_eq!(judge(&fault(), std::slice::from_ref(&starved)), Verdict::Missed);
        let of_thread = Fault { without_cpu: ms(250), ..fault() };
        let lost = Lost { detector: ms(250), ..Lost::default() };
        for fault in [of_thread, Fault { lost, ..fault() }] {
            assert_eq!(judge(&fault, std::slice::from_ref(&starved)), Verdict::Environment);
        }
    }

    #[test]
    fn records_are_those_of_the_trace_or_of_the_time() {
        let mut court = Court::default();
        court.add_fault(fault());
        court.add_record(record());
        let task = Fault {
            plan: Plan { trace: None, handler: "unattributed".to_owned(), ..fault().plan },
            ..fault()
        };
        let of_task =
            |begin| Record { trace: None, handler: "unattributed".to_owned(), begin, ..record() };
        court.add_fault(task);
        court.add_record(of_task(ms(1010)));
        court.add_record(of_task(ms(3000)));
        court.add_record(Record { is_environment: true, trace: None, ..record() });
        let nothing = |_, _| Lost::default();
        court.settle(ms(1400), nothing);
        assert_eq!(court.all().faults, 0, "more may come");
        court.settle(Duration::MAX, nothing);
        let all = court.all();
        assert_eq!((all.faults, all.found, court.blamed, court.environment), (2, 2, 1, 1));
        assert_eq!(court.complaints.len(), 1);
        assert_eq!(court.counted["unattributed"], 2);
    }

    #[test]
    fn of_two_tasks_one_after_the_other_each_has_its_record() {
        let task = |begin| {
            let plan = Plan { trace: None, ..fault().plan };
            Fault { plan, begin: ms(begin), end: ms(begin + 600), ..fault() }
        };
        let of_task = |begin| Record { trace: None, begin: ms(begin), ..record() };
        let mut court = Court::default();
        court.add_fault(task(1000));
        court.add_fault(task(1630));
        court.add_record(of_task(1640));
        court.add_record(of_task(1020));
        court.settle(ms(100_000), |_, _| Lost::default());
        assert_eq!(court.complaints, [""; 0]);
        assert_eq!(court.tallies["lock"].found, 2);
    }

    #[test]
    fn who_has_blocked_by_himself_is_not_blamed() {
        let (mut court, nothing) = (Court::default(), |_, _| Lost::default());
        let hello = |begin| Record { handler: "GET /hello".to_owned(), begin, ..record() };
        court.add_incident(Incident { handler: "GET /hello".to_owned(), begin: ms(1000) });
        court.add_record(hello(ms(1020)));
        court.add_record(hello(ms(2000)));
        court.settle(ms(100_000), nothing);
        assert_eq!((court.incident_records, court.blamed), (1, 1));
    }
}
