//! What rescue does for what one blocked worker holds up: with and without, in turn.
//!
//! A request comes in and its handler blocks for 500 ms. Meanwhile an unrelated timer is due every
//! 10 ms, and an unrelated client sends a byte every 10 ms and waits for it to come back. The
//! longest wait of each trial counts, of the timer and of the client.
//!
//! `STALL_BENCH_TRIALS` is the number of trials for each side, 100 by default; fewer workers, first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower_stall::StallDetector;
use tower_stall_benches::print_head;

const BLOCK: Duration = Duration::from_millis(500);
const PACE: Duration = Duration::from_millis(10);
/// Between two trials: all is calm, and the block falls anywhere between two ticks.
const CALM: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_millis(200);

/// What a byte asks for.
const ECHO: u8 = 0;
const STALL: u8 = 1;

/// A service, and what its users feel.
struct Side {
    address: SocketAddr,
    timer: Longest,
    stop: Arc<AtomicBool>,
    // Dropped last.
    _stall: StallDetector,
    runtime: Runtime,
}

/// The longest wait since it was last taken, in nanoseconds.
#[derive(Clone, Default)]
struct Longest(Arc<AtomicU64>);

impl Longest {
    fn note(&self, wait: Duration) {
        self.0.fetch_max(wait.as_nanos() as u64, Relaxed);
    }

    fn take(&self) -> Duration {
        Duration::from_nanos(self.0.swap(0, Relaxed))
    }
}

impl Side {
    fn start(workers: usize, rescue: bool) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(workers).enable_all().build().expect("a runtime");
        let (stop, timer) = (Arc::new(AtomicBool::new(false)), Longest::default());
        let (stall, address) = runtime.block_on(async {
            let stall = StallDetector::builder().rescue(rescue).start().expect("a detector");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("it is bound");
            tokio::spawn(serve(listener));
            tokio::spawn(tick(timer.clone(), Arc::clone(&stop)));
            (stall, address)
        });
        Self { address, timer, stop, _stall: stall, runtime }
    }

    /// The longest wait of the timer and of the client while a handler blocks.
    fn trial(&self) -> (Duration, Duration) {
        let over = Arc::new(AtomicBool::new(false));
        let (ended, address) = (Arc::clone(&over), self.address);
        let mut client = connect(address);
        let client = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !ended.load(Relaxed) {
                let begin = Instant::now();
                ask(&mut client, ECHO);
                longest = longest.max(begin.elapsed());
                std::thread::sleep(PACE);
            }
            longest
        });
        std::thread::sleep(CALM);
        self.timer.take();
        ask(&mut connect(address), STALL);
        over.store(true, Relaxed);
        let requests = client.join().expect("no panic");
        (self.timer.take(), requests)
    }

    fn end(self) {
        self.stop.store(true, Relaxed);
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    stream
}

fn ask(stream: &mut TcpStream, what: u8) {
    stream.write_all(&[what]).expect("it reads");
    stream.read_exact(&mut [0]).expect("it answers");
}

async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            while let Ok(what) = stream.read_u8().await {
                if what == STALL {
                    std::thread::sleep(BLOCK);
                }
                if stream.write_u8(what).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Notes how late a timer is, while it is too.
async fn tick(longest: Longest, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        let due = Instant::now() + PACE;
        tokio::time::sleep_until(due.into()).await;
        longest.note(due.elapsed());
    }
}

/// How the waits of one sort were.
fn print(name: &str, waits: &mut [Duration]) {
    waits.sort();
    let long = waits.iter().filter(|wait| **wait > LONG).count();
    let share = 100.0 * long as f64 / waits.len() as f64;
    let median = waits[waits.len() / 2].as_millis();
    let worst = waits.last().map_or(0, Duration::as_millis);
    println!("{name:34} {share:8.0} % {median:10} ms {worst:10} ms");
}

fn main() {
    print_head("rescue");
    let trials = std::env::var("STALL_BENCH_TRIALS").ok();
    let trials: usize = trials.map_or(100, |trials| trials.parse().expect("a number of trials"));
    println!("{trials} blocks of {} ms on each side", BLOCK.as_millis());
    println!(
        "{:34} {:>10} {:>13} {:>13}",
        "longest wait of a trial", "> 200 ms", "median", "worst"
    );
    for workers in [2, 4, 8] {
        let sides = [false, true].map(|rescue| Side::start(workers, rescue));
        let mut waits = [(); 2].map(|()| (Vec::new(), Vec::new()));
        for trial in 0..trials {
            // Who is first changes too.
            for at in [trial % 2, (trial + 1) % 2] {
                let (timer, request) = sides[at].trial();
                waits[at].0.push(timer);
                waits[at].1.push(request);
            }
        }
        for (name, (timers, requests)) in ["without", "with"].iter().zip(&mut waits) {
            print(&format!("{workers} workers, {name} rescue: timer"), timers);
            print(&format!("{workers} workers, {name} rescue: request"), requests);
        }
        sides.into_iter().for_each(Side::end);
    }
}
