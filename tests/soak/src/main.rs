//! A service under load, with random faults, each of which must be found.
//!
//! `tower-stall-soak MINUTES [SEED]`, see `docs/soak.md`. It prints a table and ends with 0 if all faults were
//! found, nothing else was blamed, and nothing grew. For Linux with glibc on x86_64.

/// Runs an expression and notes that this is the line of the fault of this function.
macro_rules! here {
    ($fault:expr) => {{
        {
            fn inside() {}
            crate::kit::note(std::any::type_name_of_val(&inside), file!(), line!());
        }
        $fault
    }};
}

#[path = "../../faults/src/awaits.rs"]
mod awaits;
mod broken;
#[path = "../../faults/src/compute.rs"]
mod compute;
#[path = "../../faults/src/dns.rs"]
mod dns;
#[path = "../../faults/src/families.rs"]
mod families;
mod guests;
mod inject;
mod judge;
mod kit;
mod load;
#[path = "../../faults/src/locks.rs"]
mod locks;
mod machine;
mod memory;
#[path = "../../faults/src/nested.rs"]
mod nested;
#[path = "../../faults/src/network.rs"]
mod network;
mod report;
#[path = "../../faults/src/scene.rs"]
#[allow(dead_code, reason = "places are noted by function here")]
mod scene;
mod service;
#[path = "../../faults/src/sleep.rs"]
mod sleep;
mod slow;
#[path = "../../faults/src/stack.rs"]
mod stack;
mod stop;
#[path = "../../faults/src/system.rs"]
mod system;
#[path = "../../faults/tests/it/table.rs"]
#[allow(dead_code, reason = "fixes are for the tests of the faults")]
mod table;
mod timed;
mod watch;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use tower_stall::StallDetector;

use broken::Broken;
use inject::{Deck, On};
use machine::Samples;
use service::OnPurpose;
use slow::SlowRecorder;
use timed::LongPolls;
use watch::Collector;
use world::{Counts, LIMIT, World};

/// Panics that were not planned.
static PANICS: AtomicU64 = AtomicU64::new(0);
/// Some handlers more than workers may be blocked.
const WORKERS: usize = 4;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let minutes: f64 = args.next().and_then(|minutes| minutes.parse().ok()).unwrap_or_else(|| {
        eprintln!("usage: tower-stall-soak MINUTES [SEED]");
        std::process::exit(2);
    });
    let seed = args.next().map_or_else(random, |seed| seed.parse().expect("SEED is a number"));
    let time = Duration::from_secs_f64(minutes * 60.0);
    println!("seed {seed}");
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload().is::<OnPurpose>() {
            PANICS.fetch_add(1, Relaxed);
            print(panic);
        }
    }));
    let (world, samples) = run(seed, time);
    let panics = PANICS.load(Relaxed);
    let mut court = world.court();
    court.complaints.extend(samples.complaints());
    let sums = report::complaints(&court);
    court.complaints.extend(sums);
    if panics > 0 {
        court.complaints.push(format!("{panics} panics were not planned"));
    }
    println!("{}", report::table(&world, &court, &samples, time));
    for complaint in &court.complaints {
        println!("seed {seed}: {complaint}");
    }
    let has_passed = court.complaints.is_empty();
    println!("{}", if has_passed { "passed" } else { "failed" });
    // Nobody waits for what may still be blocked.
    std::process::exit(i32::from(!has_passed))
}

fn random() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs() << 20
}

/// Runs all of it for that long.
fn run(seed: u64, time: Duration) -> (Arc<World>, Samples) {
    let mut rng = Rng::with_seed(seed);
    let world = Arc::new(set_the_scene(seed));
    let deck = Arc::new(Deck::new(rng.fork()));
    let mut threads = Vec::new();
    let mut start = |name: &str, run: Box<dyn FnOnce(&World) + Send>| {
        let world = Arc::clone(&world);
        let thread = std::thread::Builder::new().name(name.to_owned());
        threads.push(thread.spawn(move || run(&world)).expect("a thread"));
    };
    start("soak-witness", Box::new(|world| world.witness.run(&world.stop)));
    start("soak-scrape", Box::new(watch::scrape));
    for on in [On::Main, On::Main, On::Side] {
        let (deck, rng) = (Arc::clone(&deck), rng.fork());
        start("soak-faults", Box::new(move |world| inject::run(world, &deck, on, rng)));
    }
    for at in [0, 0, 1] {
        let rng = rng.fork();
        start("soak-load", Box::new(move |world| load::run(world, world.addresses[at], rng)));
    }
    for (name, part) in [
        ("soak-trouble", load::trouble as fn(&World, Rng)),
        ("soak-runtimes", guests::runtimes),
        ("soak-detectors", guests::detectors),
        ("soak-threads", guests::threads),
    ] {
        let rng = rng.fork();
        start(name, Box::new(move |world| part(world, rng)));
    }
    let mut collector = Collector::new(Samples::new(time));
    collector.run(&world, time);
    world.stop.set();
    for thread in threads {
        if thread.join().is_err() {
            world.complain("a thread of the run has panicked".to_owned());
        }
    }
    collector.close(&world, LIMIT);
    world.settle(LIMIT * 60 * 24 * 365);
    (world, collector.samples)
}

/// Log, recorder, runtimes, detector, service.
fn set_the_scene(seed: u64) -> World {
    let counts = Arc::new(Counts::default());
    let of_log = Arc::clone(&counts);
    let log = move || slow::Log { counts: Arc::clone(&of_log) };
    tracing_subscriber::fmt().with_writer(log).init();
    let recorder = SlowRecorder { counts: Arc::clone(&counts), calls: AtomicU64::new(0) };
    assert!(metrics::set_global_recorder(recorder).is_ok(), "it is the first");
    let (main, side) = (service::multi_thread(WORKERS), service::current_thread());
    let stall = {
        let _inside = main.enter();
        let builder = StallDetector::builder().admin(([127, 0, 0, 1], 0));
        builder.on_stall(slow::hook(Arc::clone(&counts))).start().expect("a detector")
    };
    stall.watch("side", &side);
    let (stage, polls) = (service::Stage::default(), LongPolls::default());
    let app = service::router(&stall, &stage, &polls, Broken::from_environment());
    let addresses = [service::serve(&main, app.clone()), service::serve(&side, app)];
    let world = World::new(seed, stall, stage, polls, addresses, counts);
    world.witness.watch(machine::detector_threads());
    world
}
