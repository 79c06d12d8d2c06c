//! Experiment 3: a pod whose handler blocks, under the kubelet's probes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::container::{Container, Spec, brief};
use crate::http::{self, Answer};
use crate::plans::Plan;
use crate::probe::{Kind, Probe, Verdict};
use crate::report::{Pod, rounded};
use crate::scale::Scale;
use crate::screen::Row;

/// How often the end of a wait is looked for while nothing happens.
const LOOK: Duration = Duration::from_millis(20);

enum Event {
    Probed {
        kind: Kind,
        at: Instant,
        answer: Answer,
    },
    /// The handler has returned.
    Answered,
}

/// A pod and its kubelet.
pub(crate) struct Story<'a> {
    plan: &'a Plan,
    scale: Scale,
    probe: Probe,
    row: &'a Row,
    container: Container,
    /// Of this container: who sends for one that is gone finds nobody who listens, and ends.
    events: Receiver<Event>,
    sender: Sender<Event>,
    liveness: Verdict,
    readiness: Verdict,
    in_rotation: bool,
    last_answer: String,
    blocked_at: Option<Instant>,
    answered_at: Option<Instant>,
    found: Pod,
}

impl<'a> Story<'a> {
    /// Runs it to its end. What is measured is told, whatever it is; an error says that nothing
    /// could be measured.
    pub(crate) fn run(plan: &'a Plan, scale: Scale, row: &'a Row) -> Result<Pod, Error> {
        row.state("starts");
        let mut story = Self::start(plan, scale, row)?;
        let probe = story.probe;
        let limit = probe.initial_delay + probe.period * 10 + Duration::from_secs(20);
        if !story.until(limit, |story| story.in_rotation)? {
            return Err(format!("the service did not become ready: {}", story.last_answer).into());
        }
        // Halfway between two probes, where the documented range has its middle.
        story.until(probe.period / 2, |_| false)?;
        story.block();
        let limit = plan.expected(scale) + probe.period * 10 + Duration::from_secs(20);
        story.until(limit, Self::is_over)?;
        story.finish()
    }

    fn start(plan: &'a Plan, scale: Scale, row: &'a Row) -> Result<Self, Error> {
        let (sender, events) = channel();
        let probe = scale.probe();
        let mut story = Self {
            plan,
            scale,
            probe,
            row,
            container: start_container(&plan.spec, row)?,
            events,
            sender,
            liveness: Verdict::new(Kind::Liveness, &probe),
            readiness: Verdict::new(Kind::Readiness, &probe),
            in_rotation: false,
            last_answer: "no probe was answered".into(),
            blocked_at: None,
            answered_at: None,
            found: plan.nothing_found(scale),
        };
        story.send_probes();
        Ok(story)
    }

    /// Handles what happens until it is done, or the limit is over: that is `false`.
    fn until(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> Result<bool, Error> {
        let start = Instant::now();
        while !is_done(self) {
            if start.elapsed() >= limit {
                return Ok(false);
            }
            match self.events.recv_timeout(LOOK) {
                Ok(Event::Answered) => {
                    self.answered_at = Some(Instant::now());
                    self.row.say("the handler has returned");
                }
                Ok(Event::Probed { kind, at, answer }) => self.probed(kind, at, &answer)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        Ok(true)
    }

    /// Restarted and serving again, or left alone for some probes after the block.
    fn is_over(&self) -> bool {
        let watched_on = self.probe.period * 3 + self.plan.ready_after(self.scale);
        self.in_rotation
            && (self.found.restarts > 0
                || self.answered_at.is_some_and(|at| at.elapsed() > watched_on))
    }

    fn probed(&mut self, kind: Kind, at: Instant, answer: &Answer) -> Result<(), Error> {
        self.last_answer.clone_from(&answer.text);
        match kind {
            Kind::Liveness => {
                if self.plan.reads_body(&answer.text) {
                    self.found.livez = Some(answer.text.clone());
                }
                if self.liveness.count(answer.outcome) == Some(false) {
                    self.restart(at, &answer.text)?;
                }
            }
            Kind::Readiness => {
                if let Some(ready) = self.readiness.count(answer.outcome) {
                    self.rotate(ready, at, &answer.text);
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self, into: bool, at: Instant, why: &str) {
        self.in_rotation = into;
        let after = self.since_block(at);
        let (place, state) = match into {
            true => (&mut self.found.back_in_rotation_after_seconds, "in rotation"),
            false => (&mut self.found.out_of_rotation_after_seconds, "out of rotation"),
        };
        *place = place.or(after);
        self.row.state(state);
        self.row.say(&format!("{state}: {why}"));
    }

    fn restart(&mut self, at: Instant, why: &str) -> Result<(), Error> {
        self.row.state("is being restarted");
        self.row.say(&format!(
            "restart: {} liveness probes in a row have failed, the last with: {why}",
            self.probe.failure_threshold
        ));
        if self.in_rotation {
            self.rotate(false, at, "it is being restarted");
        }
        if self.found.restarts == 0 {
            self.count_stacks()?;
        }
        let ended_by = self.container.terminate(self.scale.seconds(Plan::GRACE))?;
        self.row.say(&format!("ended by {}", ended_by.name()));
        // One before anything blocks is the machine's: it was too busy for the probe.
        self.found.restarts += u32::from(self.blocked_at.is_some());
        if self.found.restarts == 1 {
            self.found.restarted_after_seconds = self.since_block(at);
            self.found.ended_after_seconds = self.since_block(Instant::now());
            self.found.ended_by = Some(ended_by);
            self.read_log();
        }
        self.container = start_container(&self.plan.spec, self.row)?;
        (self.sender, self.events) = channel();
        self.liveness = Verdict::new(Kind::Liveness, &self.probe);
        self.readiness = Verdict::new(Kind::Readiness, &self.probe);
        self.send_probes();
        Ok(())
    }

    fn send_probes(&mut self) {
        for kind in [Kind::Liveness, Kind::Readiness] {
            let url = self.plan.url(kind, &self.container);
            let (probe, started) = (self.probe, self.container.started);
            let events = self.sender.clone();
            thread::spawn(move || send_probes(kind, &probe, &url, started, &events));
        }
    }

    /// Calls the handler that blocks.
    fn block(&mut self) {
        let url = format!("{}{}", self.container.service, self.plan.call(self.scale));
        let path = url.trim_start_matches(&self.container.service);
        self.row.state(format!("GET {path} blocks"));
        self.row.say(&format!("GET {path}"));
        let events = self.sender.clone();
        self.blocked_at = Some(Instant::now());
        thread::spawn(move || {
            // An error: the container was ended under it.
            if http::call(&url).is_ok() {
                drop(events.send(Event::Answered));
            }
        });
    }

    fn since_block(&self, at: Instant) -> Option<f64> {
        let blocked_at = self.blocked_at?;
        Some(rounded(at.saturating_duration_since(blocked_at).as_secs_f64()))
    }

    /// What the log of the container says about the block.
    fn read_log(&mut self) {
        let log = &self.container.log;
        self.found.told = log.stalls(self.plan.handler()).into_iter().next();
        self.found.site = log.site();
        self.found.last_log_line = log.last();
    }

    fn count_stacks(&mut self) -> Result<(), Error> {
        let counter = "tower_stall_captures_total";
        self.found.stacks_timed_out =
            http::counter(&self.container.admin, counter, "outcome=\"timeout\"")?;
        Ok(())
    }

    fn finish(mut self) -> Result<Pod, Error> {
        if self.found.restarts == 0 {
            self.read_log();
            self.count_stacks()?;
        }
        self.found.in_rotation_at_end = self.in_rotation;
        self.row.done();
        Ok(self.found)
    }
}

fn start_container(spec: &Spec, row: &Row) -> Result<Container, Error> {
    let row = row.clone();
    Container::start(spec, move |line| {
        // The bars show that it goes on.
        if line.contains("tower_stall: ") && !line.contains(" still blocks ") {
            row.say(&brief(line));
        }
    })
}

fn send_probes(kind: Kind, probe: &Probe, url: &str, started: Instant, events: &Sender<Event>) {
    let mut due = probe.first();
    loop {
        thread::sleep(due.saturating_sub(started.elapsed()));
        let began = started.elapsed();
        let answer = http::probe(url, probe.timeout);
        let at = Instant::now();
        if events.send(Event::Probed { kind, at, answer }).is_err() {
            return;
        }
        due = probe.next(began, at.duration_since(started));
    }
}
