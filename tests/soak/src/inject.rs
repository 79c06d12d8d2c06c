//! Commits the faults of the kit, one after the other, in requests.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use fastrand::Rng;

use crate::kit::{self, Row};
use crate::service::Waiting;
use crate::world::{LIMIT, World, count};

/// Where a fault is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Main,
    Side,
}

/// What else happens to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twist {
    None,
    /// The client goes away while it blocks.
    Disconnect,
    /// The handler panics after it has blocked.
    Panic,
}

/// All kinds in a random order, over and over. Nobody has a kind that somebody else has.
#[derive(Debug)]
pub(crate) struct Deck(Mutex<Cards>);

#[derive(Debug)]
struct Cards {
    rng: Rng,
    left: Vec<Row>,
    in_use: BTreeSet<&'static str>,
}

impl Deck {
    pub(crate) fn new(rng: Rng) -> Self {
        Self(Mutex::new(Cards { rng, left: Vec::new(), in_use: BTreeSet::new() }))
    }

    fn draw(&self, on: On) -> Option<Row> {
        let mut cards = self.0.lock().expect("not poisoned");
        let Cards { rng, left, in_use } = &mut *cards;
        let at = |left: &[Row], in_use: &BTreeSet<_>| {
            // Tasks of the kit use `block_in_place`, which a current-thread runtime does not have.
            let fits = |row: &Row| on == On::Main || !row.is_task();
            left.iter().position(|row| fits(row) && !in_use.contains(row.expected.name))
        };
        if at(left, in_use).is_none() {
            let mut rows = kit::rows();
            rng.shuffle(&mut rows);
            left.extend(rows);
        }
        let row = left.remove(at(left, in_use)?);
        in_use.insert(row.expected.name);
        Some(row)
    }

    fn put_back(&self, row: &Row) {
        self.0.lock().expect("not poisoned").in_use.remove(row.expected.name);
    }
}

/// Commits faults until the end.
pub(crate) fn run(world: &World, deck: &Deck, on: On, mut rng: Rng) {
    while world.stop.sleep(Duration::from_millis(rng.u64(100..700))) {
        let Some(row) = deck.draw(on) else { continue };
        if let Err(why) = commit(world, &row, on, &mut rng) {
            world.complain(format!("seed {}: {}: {why}", world.seed, row.expected.name));
        }
        deck.put_back(&row);
    }
}

fn commit(world: &World, row: &Row, on: On, rng: &mut Rng) -> Result<(), String> {
    let scene = (row.fault.1)()?;
    let twist = match rng.u32(..10) {
        0 if !row.is_task() => Twist::Disconnect,
        1 if !row.is_task() => Twist::Panic,
        _ => Twist::None,
    };
    // Three to six thresholds; what is found after more scans lasts five.
    let lasts = Duration::from_millis(rng.u64(if row.is_task() { 500..600 } else { 300..600 }));
    let plan = world.plan(row, format!("{on:?}, {twist:?}, {lasts:?}"));
    let (tell, told) = channel();
    let panics = twist == Twist::Panic;
    world.stage.put(row.path(), Waiting { handler: scene.handler, tell, panics });
    let id = plan.trace.unwrap_or_default();
    let mut client = TcpStream::connect(world.addresses[on as usize]).map_err(say)?;
    client.set_read_timeout(Some(LIMIT)).map_err(say)?;
    let traced = if id == 0 {
        String::new()
    } else {
        format!("traceparent: 00-{id:032x}-{:016x}-01\r\n", plan.id)
    };
    let head = format!("GET {} HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n", row.path());
    write!(client, "{head}{traced}\r\n").map_err(say)?;

    let begin = told.recv_timeout(LIMIT);
    if begin.is_ok() {
        std::thread::sleep(lasts / 2);
        if twist == Twist::Disconnect {
            count(&world.counts.disconnects);
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
        std::thread::sleep(lasts / 2);
    }
    // In any case: somebody may block.
    (scene.release)();
    let begin = begin.map_err(|_| format!("fault {} has not begun", plan.id))?;
    let end = told.recv_timeout(LIMIT);
    let end = end.map_err(|_| format!("fault {} has not ended", plan.id))?;
    let mut answer = String::new();
    let read = client.read_to_string(&mut answer);
    world.court().add_fault(world.fault(plan, &begin, &end));
    if panics {
        count(&world.counts.panics);
    }
    if twist == Twist::None && !answer.starts_with("HTTP/1.1 200") {
        return Err(format!("the answer is {answer:?} {read:?}"));
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "to map errors with")]
fn say(error: impl ToString) -> String {
    error.to_string()
}
