//! Threads that wait in the kernel: taken quietly, whole, and without a change to what they do.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{ErrorKind, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::support::{Truth, ask_for, captured_quietly, check, functions, start, symbolize, tell};
use crate::stack::native::Taker;
use crate::stack::raw::Way;
use crate::stack::{Capture, Sampler};
use crate::stall::StackOutcome;
use crate::sync::lock;
use crate::sys::native::testing;

const NAP: Duration = Duration::from_millis(20);

type Stop = Arc<AtomicBool>;

/// A switch and what turns it.
fn switch() -> (Stop, impl FnOnce()) {
    let stop = Stop::default();
    let turned = Arc::clone(&stop);
    (stop, move || turned.store(true, Ordering::Release))
}

/// Runs until the switch is turned.
macro_rules! until {
    ($stop:expr, $run:expr) => {
        while !$stop.load(Ordering::Acquire) {
            $run;
        }
    };
}

#[inline(never)]
fn in_sleep(truth: &Sender<Truth>, stop: &Stop) {
    tell(truth);
    until!(stop, std::thread::sleep(NAP));
}

#[test]
fn sleep() {
    let (stop, release) = switch();
    captured_quietly("in_sleep", move |truth| in_sleep(truth, &stop), release);
}

#[test]
fn no_time_is_enough_for_one_that_waits() {
    let (hold, held) = channel::<()>();
    let run = move |truth: &Sender<Truth>| {
        tell(truth);
        assert!(held.recv().is_err(), "released by its end going away");
    };
    let (thread, truth) = start(run);
    let mut taker = Taker::new(Capture::NoSignal);
    // A new one reads the program first. The thread may be on its way to its wait still.
    let taken = (0..10_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        taker.take(truth.thread, &|| true, Duration::ZERO).outcome == StackOutcome::Ok
    });
    assert!(taken);
    drop(hold);
    thread.join().expect("it ends well");
}

#[inline(never)]
fn in_usleep(truth: &Sender<Truth>, stop: &Stop) {
    tell(truth);
    until!(stop, assert_eq!(testing::usleep(20_000), 0));
}

#[test]
fn usleep() {
    let (stop, release) = switch();
    captured_quietly("in_usleep", move |truth| in_usleep(truth, &stop), release);
}

#[inline(never)]
fn in_lock(truth: &Sender<Truth>, mutex: &Mutex<u32>) {
    tell(truth);
    *lock(mutex) += 1;
}

#[test]
fn mutex() {
    let mutex = Arc::new(Mutex::new(0));
    let shared = Arc::clone(&mutex);
    let guard = lock(&mutex);
    captured_quietly("in_lock", move |truth| in_lock(truth, &shared), || drop(guard));
    assert_eq!(*lock(&mutex), 1);
}

#[inline(never)]
fn in_condvar(truth: &Sender<Truth>, pair: &(Mutex<bool>, Condvar)) {
    tell(truth);
    let ready = pair.1.wait_while(lock(&pair.0), |ready| !*ready);
    assert!(*ready.expect("not poisoned"));
}

#[test]
fn condvar() {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let shared = Arc::clone(&pair);
    captured_quietly(
        "in_condvar",
        move |truth| in_condvar(truth, &shared),
        || {
            *lock(&pair.0) = true;
            pair.1.notify_all();
        },
    );
}

#[inline(never)]
fn in_recv_timeout(truth: &Sender<Truth>, queue: &Receiver<()>) {
    tell(truth);
    while queue.recv_timeout(NAP) == Err(RecvTimeoutError::Timeout) {}
}

#[test]
fn channel_with_timeout() {
    let (release, queue) = channel::<()>();
    captured_quietly(
        "in_recv_timeout",
        move |truth| in_recv_timeout(truth, &queue),
        || drop(release),
    );
}

#[inline(never)]
fn in_pipe_read(truth: &Sender<Truth>, mut from: impl Read) {
    tell(truth);
    let mut text = String::new();
    from.read_to_string(&mut text).expect("text");
    assert_eq!(text, "done");
}

#[test]
fn pipe_read() {
    let (from, mut to) = pipe().expect("a pipe");
    captured_quietly(
        "in_pipe_read",
        move |truth| in_pipe_read(truth, from),
        move || to.write_all(b"done").expect("it is read"),
    );
}

/// Both ends of a connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("ours");
    let theirs = listener.accept().expect("theirs").0;
    (ours, theirs)
}

#[inline(never)]
fn in_timed_read(truth: &Sender<Truth>, mut stream: TcpStream) {
    tell(truth);
    let mut byte = [0];
    while let Err(error) = stream.read_exact(&mut byte) {
        if error.kind() == ErrorKind::UnexpectedEof {
            break;
        }
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn tcp_read_with_timeout() {
    let (ours, theirs) = connection();
    ours.set_read_timeout(Some(NAP)).expect("a timeout");
    captured_quietly("in_timed_read", |truth| in_timed_read(truth, ours), || drop(theirs));
}

#[inline(never)]
fn in_poll(truth: &Sender<Truth>, stream: &TcpStream) {
    tell(truth);
    assert_eq!(testing::poll(stream, -1), 1);
}

#[test]
fn poll() {
    let (ours, theirs) = connection();
    captured_quietly("in_poll", move |truth| in_poll(truth, &ours), || drop(theirs));
}

#[inline(never)]
fn in_child_wait(truth: &Sender<Truth>, mut child: Child) {
    tell(truth);
    assert!(child.wait().expect("its status").success());
}

#[test]
fn child_process() {
    let cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = cat.expect("every system has cat");
    let input = child.stdin.take();
    captured_quietly("in_child_wait", |truth| in_child_wait(truth, child), || drop(input));
}

#[inline(never)]
fn in_child_start(truth: &Sender<Truth>, opened: &CStr) {
    tell(truth);
    assert_eq!(testing::spawn_after_opening(opened), 0);
}

/// A file that keeps whoever opens it to read, until this is dropped.
struct Fifo(PathBuf);

impl Drop for Fifo {
    fn drop(&mut self) {
        // To read as well: then it does not wait for a reader.
        drop(File::options().read(true).write(true).open(&self.0).expect("it is there"));
        std::fs::remove_file(&self.0).expect("it is ours");
    }
}

#[test]
fn a_child_that_does_not_get_to_run() {
    let path = std::env::temp_dir().join(format!("tower-stall-fifo-{}", std::process::id()));
    let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL");
    testing::make_fifo(&name);
    let fifo = Fifo(path);
    captured_quietly("in_child_start", move |truth| in_child_start(truth, &name), || drop(fifo));
}

/// Calls itself so that the stack is deep, keeps rbp for other things, then sleeps.
#[inline(never)]
fn deep(depth: u32, numbers: [f64; 8], innermost: &dyn Fn()) -> f64 {
    let mut own = std::hint::black_box([f64::from(depth); 8]);
    for (own, number) in own.iter_mut().zip(numbers) {
        *own += number;
    }
    let inner = if depth == 0 {
        innermost();
        0.0
    } else {
        deep(depth - 1, own, innermost)
    };
    own.iter().sum::<f64>() + std::hint::black_box(inner)
}

#[inline(never)]
fn in_deep_sleep(truth: &Sender<Truth>, depth: u32, stop: &Stop) {
    tell(truth);
    deep(depth, [0.0; 8], &|| until!(stop, std::thread::sleep(NAP)));
}

#[inline(never)]
fn in_bare_code(truth: &Sender<Truth>, stop: &Stop) {
    tell(truth);
    testing::call_from_bare_code(&|| until!(stop, std::thread::sleep(NAP)));
    std::hint::black_box(());
}

/// The frame of the bare function has return addresses of others on the stack, innermost first.
#[inline(never)]
fn in_bare_frame(truth: &Sender<Truth>, stop: &Stop) {
    tell(truth);
    let mut words = [0; 8];
    let mut outer = Vec::new();
    backtrace::trace(|frame| {
        outer.push(frame.ip() as u64);
        true
    });
    outer.truncate(words.len());
    words[..outer.len()].copy_from_slice(&outer);
    testing::call_from_bare_frame(&|| until!(stop, std::thread::sleep(NAP)), &words);
    std::hint::black_box(());
}

fn is_bridged(bare: &str, caller: &str, run: fn(&Sender<Truth>, &Stop), within: &str) {
    let (stop, release) = switch();
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let (thread, truth) = start(move |truth| run(truth, &stop));
    let (captured, stack) = loop {
        let (captured, stack) = ask_for(&sampler, truth.thread, Way::Quiet);
        // Right after it told the truth it has not come far.
        if functions(&stack).iter().any(|function| function.ends_with(bare)) {
            break (captured, stack);
        }
    };
    assert_eq!(captured.outcome, StackOutcome::Ok);
    check(&stack, &truth, within);
    let guessed: Vec<_> =
        symbolize(&stack).frames.iter().filter(|frame| frame.guessed).cloned().collect();
    let names: Vec<_> = guessed.iter().filter_map(|frame| frame.function.as_deref()).collect();
    assert!(names[0].contains(caller), "{names:#?}");
    assert!(
        guessed[1..].iter().all(|frame| frame.address == guessed[0].address),
        "one: {names:#?}"
    );
    release();
    thread.join().expect("it ends well");
}

#[test]
fn a_function_without_unwind_information_has_its_caller() {
    is_bridged("bare_call", "call_from_bare_code", in_bare_code, "in_bare_code");
}

#[test]
fn the_caller_of_such_a_function_is_told_from_old_return_addresses() {
    is_bridged("bare_frame", "call_from_bare_frame", in_bare_frame, "in_bare_frame");
}

#[test]
fn many_frames() {
    let (stop, release) = switch();
    captured_quietly("in_deep_sleep", move |truth| in_deep_sleep(truth, 200, &stop), release);
}

#[test]
fn the_main_thread() {
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    // It waits for the tests.
    let (captured, stack) = ask_for(&sampler, std::process::id(), Way::Quiet);
    let names = functions(&stack);
    assert_eq!(captured.outcome, StackOutcome::Ok, "{names:#?}");
    assert!(names.iter().any(|name| name == "main"), "{names:#?}");
}

#[test]
fn a_stack_larger_than_the_copy_has_its_inner_frames() {
    let (stop, release) = switch();
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let (thread, truth) = start(move |truth| in_deep_sleep(truth, 1800, &stop));
    loop {
        let (captured, stack) = ask_for(&sampler, truth.thread, Way::Quiet);
        let names = functions(&stack);
        // Right after it told the truth it has not come far.
        if captured.outcome == StackOutcome::Partial {
            assert!(stack.partial);
            assert!(names.iter().any(|name| name.ends_with("::deep")), "{names:#?}");
            break;
        }
    }
    release();
    thread.join().expect("it ends well");
}

/// Captures 200 times what runs until `release`, once it waits in the function `call` of libc.
fn while_captured(
    mode: Capture,
    call: &str,
    run: impl FnOnce(&Sender<Truth>) + Send + 'static,
    release: impl FnOnce(),
) {
    let _signals = testing::signals();
    let (thread, truth) = start(run);
    let quiet = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    // One that ends in a jump has no frame, and what it jumps to may have no symbol.
    let is_call = |function: &String| {
        (function.contains(call) && !function.contains("::")) || function.starts_with("libc.so.6+")
    };
    while !functions(&ask_for(&quiet, truth.thread, Way::Quiet).1).iter().any(is_call) {}
    let sampler = Sampler::spawn(mode, Arc::default()).expect("a thread");
    for _ in 0..200 {
        ask_for(&sampler, truth.thread, Way::Quiet);
    }
    release();
    thread.join().expect("it was not disturbed");
}

#[test]
fn a_poll_that_is_captured_is_not_interrupted() {
    let (ours, theirs) = connection();
    let run = move |truth: &Sender<Truth>| {
        tell(truth);
        assert_eq!(testing::poll(&ours, 3_600_000), 1);
    };
    while_captured(Capture::Auto, "poll", run, || drop(theirs));
}

#[test]
fn a_timed_read_that_is_captured_is_not_interrupted() {
    let (mut ours, mut theirs) = connection();
    ours.set_read_timeout(Some(Duration::from_secs(3600))).expect("a timeout");
    let run = move |truth: &Sender<Truth>| {
        tell(truth);
        assert_eq!(ours.read(&mut [0; 2]).expect("no error, and not again"), 1);
    };
    let release = || theirs.write_all(b"x").expect("it is read");
    while_captured(Capture::Auto, "recv", run, release);
}

#[test]
fn a_sleep_that_is_captured_is_not_interrupted() {
    // Between two naps the thread is on the CPU, where a signal would be right.
    let (stop, release) = switch();
    let run = move |truth: &Sender<Truth>| {
        tell(truth);
        until!(stop, assert_eq!(testing::nanosleep(500), 0));
    };
    while_captured(Capture::NoSignal, "nanosleep", run, release);
}
