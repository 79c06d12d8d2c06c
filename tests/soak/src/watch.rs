//! Reads the pages each second, and hands the records to the court.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tower_stall::Stall;

use crate::load::client;
use crate::machine::{Held, Samples};
use crate::world::{World, count};

pub(crate) const PAGES: [&str; 3] = ["/metrics", "/stalls.json", "/livez"];
/// A page must come within that.
const SLOW: Duration = Duration::from_secs(5);

/// Reads all pages each second until the end.
pub(crate) fn scrape(world: &World) {
    let client = client();
    let admin = world.stall.admin_addr().expect("an admin server");
    while world.stop.sleep(Duration::from_secs(1)) {
        for (at, page) in PAGES.into_iter().enumerate() {
            let (start, begin) = (Instant::now(), world.now());
            let answer = client.get(format!("http://{admin}{page}")).call();
            let read = answer.and_then(|mut answer| {
                let status = answer.status();
                answer.body_mut().read_to_string().map(|body| (status.as_u16(), body))
            });
            let took = start.elapsed();
            count(&world.counts.scrapes);
            let mut slowest = world.slowest.lock().expect("not poisoned");
            slowest[at] = slowest[at].max(took);
            drop(slowest);
            if took > SLOW {
                // Those who see what the machine took are late themselves.
                std::thread::sleep(SLOW / 10);
                let lost = world.lost(begin, begin + took);
                if took.saturating_sub(lost.nap.max(lost.detector)) > SLOW {
                    world.complain(format!("{page} took {took:?}, {lost:?}"));
                }
            }
            match read {
                Ok((200, body)) => check(world, page, &body),
                other => world.complain(format!("{page}: {other:?}")),
            }
        }
    }
}

fn check(world: &World, page: &str, body: &str) {
    let is_right = match page {
        "/metrics" => {
            world.counts.series.store(samples(body).count() as u64, Relaxed);
            body.ends_with('\n') && body.contains("tower_stall_watchdog_scans_total ")
        }
        "/stalls.json" => serde_json::from_str::<serde_json::Value>(body).is_ok(),
        _ => body.starts_with("ok") || body.starts_with("degraded"),
    };
    if !is_right {
        world.complain(format!("{page} is torn or wrong: {body}"));
    }
}

fn samples(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Records that were handed over, and what the process held meanwhile.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Up to this number all records were handed over, with those of `further`.
    up_to: u64,
    further: std::collections::BTreeSet<u64>,
    pub(crate) samples: Samples,
}

impl Collector {
    pub(crate) fn new(samples: Samples) -> Self {
        Self { up_to: 0, further: std::collections::BTreeSet::new(), samples }
    }

    /// Collects for that long.
    pub(crate) fn run(&mut self, world: &World, time: Duration) {
        let start = Instant::now();
        let (mut next, mut told, mut complaints) = (Duration::ZERO, 0, 0);
        while start.elapsed() < time {
            std::thread::sleep(Duration::from_millis(200));
            self.collect(world);
            world.settle(world.now());
            let court = world.court();
            for complaint in court.complaints.iter().skip(complaints) {
                eprintln!("{complaint}");
            }
            complaints = court.complaints.len();
            drop(court);
            if start.elapsed() >= next {
                next += Duration::from_secs(1);
                world.broken.leak();
                let series = world.counts.series.load(Relaxed);
                let held = Held::now(usize::try_from(series).unwrap_or(usize::MAX));
                self.samples.add(held);
                let minutes = start.elapsed().as_secs() / 60;
                if minutes > told {
                    told = minutes;
                    tell(world, minutes, held);
                }
            }
        }
    }

    /// Hands over what is complete.
    fn collect(&mut self, world: &World) {
        let stalls = world.stall.stalls();
        let new = |stall: &&Stall| {
            stall.is_complete() && stall.id > self.up_to && !self.further.contains(&stall.id)
        };
        let new: Vec<_> = stalls.iter().filter(new).collect();
        for stall in &new {
            let record = world.record(stall);
            world.court().add_record(record);
        }
        self.further.extend(new.iter().map(|stall| stall.id));
        while self.further.remove(&(self.up_to + 1)) {
            self.up_to += 1;
        }
    }

    /// Collects until all is known of all records, and checks that none is lost on any way.
    pub(crate) fn close(&mut self, world: &World, limit: Duration) {
        let start = Instant::now();
        let last = || world.stall.stalls().first().map_or(0, |stall| stall.id);
        while self.up_to < last() && start.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(200));
            self.collect(world);
        }
        if self.up_to < last() {
            world.complain(format!(
                "record {} was never complete, or lost: {:#?}",
                self.up_to + 1,
                world.stall.stalls().iter().find(|stall| stall.id == self.up_to + 1)
            ));
        }
        // Metrics go out once a second, and the hook may be in a pause.
        while world.counts.hooked.load(Relaxed) < self.up_to && start.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(200));
        }
        let hooked = world.counts.hooked.load(Relaxed);
        if hooked != self.up_to {
            let all = self.up_to;
            world.complain(format!("the hook was told {hooked} ends of {all} stalls"));
        }
        std::thread::sleep(Duration::from_secs(3));
        check_totals(world);
    }
}

/// How far it is, for whoever waits.
fn tell(world: &World, minutes: u64, held: Held) {
    let court = world.court();
    let (all, complaints) = (court.all(), court.complaints.len());
    eprintln!(
        "{minutes} min: {} of {} found, {complaints} complaints, {held:?}",
        all.found, all.faults
    );
}

/// The counters say as many stalls of each handler as there were records, and that all threads work.
fn check_totals(world: &World) {
    let admin = world.stall.admin_addr().expect("an admin server");
    let answer = client().get(format!("http://{admin}/metrics")).call();
    let page = answer.and_then(|mut answer| answer.body_mut().read_to_string());
    let page = page.unwrap_or_default();
    let mut counted = BTreeMap::<String, u64>::new();
    for sample in samples(&page) {
        let Some((series, value)) = sample.rsplit_once(' ') else { continue };
        if series.starts_with("tower_stall_thread_up{") && value != "1" {
            world.complain(format!("a thread is stuck or lost: {sample}"));
        }
        if series == "tower_stall_panics_total" && value != "0" {
            world.complain(format!("a thread has panicked: {sample}"));
        }
        let Some(labels) = series.strip_prefix("tokio_stalls_total{") else { continue };
        let handler = labels.split("handler=\"").nth(1).and_then(|rest| rest.split('"').next());
        let handler = handler.unwrap_or_default().to_owned();
        if handler != "environment" {
            *counted.entry(handler).or_default() += value.parse::<u64>().unwrap_or(0);
        }
    }
    let recorded = world.court().counted.clone();
    if counted != recorded {
        world.complain(format!("tokio_stalls_total {counted:?}, records {recorded:?}"));
    }
}
