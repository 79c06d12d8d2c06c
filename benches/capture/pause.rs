//! The pause of a thread that computes, where nothing else took its core from it meanwhile.

use std::time::Duration;

use tower_stall::{Capture, bench_captures};
use tower_stall_benches::{Rounds, Target, stay_on_core};

use super::peers::Peers;
use super::subject::Subject;

/// Of one measurement; it is their median.
const TIMES: usize = 101;
/// What a capture takes and a little more, so that its pause lies within.
const AFTER: Duration = Duration::from_micros(200);
/// A little more than there is between two ticks of a kernel that ticks 250 times a second.
const TICK: Duration = Duration::from_millis(5);

const NONE: &str = "no capture";
const ALONE: &str = "no capture, a tick";
const OURS: &str = "ours";
const GLOMMIO: &str = "as glommio";
const BACKTRACE: &str = "Backtrace::new_unresolved";

/// The subject has a core of its own, if there are two.
pub(super) fn run() {
    let subject = Subject::that_computes();
    let pinned = std::thread::spawn(move || {
        stay_on_core(0);
        pauses(&subject);
    });
    pinned.join().expect("the bench ends");
}

fn pauses(subject: &Subject) {
    let mut capture = bench_captures(Capture::Auto);
    let peers = Peers::install();
    let stack = capture(subject.thread).expect("it computes");
    assert!(stack.by_signal && stack.is_whole);
    println!(
        "the longest pause of a thread that computes around a capture; frames: ours {}, \
         as glommio {}, backtrace {}",
        stack.frames,
        peers.frames(subject.thread),
        peers.backtrace(subject.thread),
    );
    let contenders = [NONE, ALONE, OURS, GLOMMIO, BACKTRACE].map(|name| (name, name));
    let rounds = Rounds::run("µs", &contenders, |name| {
        let mut gaps = Vec::new();
        while gaps.len() < TIMES {
            subject.longest_gap();
            let turns = subject.turns();
            match name {
                NONE => std::thread::sleep(AFTER),
                ALONE => std::thread::sleep(TICK),
                OURS => assert!(capture(subject.thread).is_some()),
                GLOMMIO => assert!(peers.frames(subject.thread) > 0),
                _ => assert!(peers.backtrace(subject.thread) > 0),
            }
            std::thread::sleep(AFTER);
            let gap = subject.longest_gap();
            if subject.turns() == turns {
                gaps.push(gap);
            }
        }
        gaps.sort_by(f64::total_cmp);
        gaps[TIMES / 2]
    });
    rounds.print(NONE);
    // The kernel sends our signal out of a tick, which is there anyway.
    rounds.check_over(Target::AtMost(30.0), "pause of ours over that of a tick, µs", OURS, ALONE);
    println!();
}
