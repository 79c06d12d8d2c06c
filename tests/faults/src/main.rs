//! Commits one fault: a handler blocks its worker, and what the detector says of it meanwhile is
//! printed.
//!
//! `tower-stall-faults NAME` prints one line of JSON, then lets go of what blocks and ends with 0.
//! Without a name it prints the names. For Linux with glibc.

/// Runs an expression and notes that this is the line of the fault.
macro_rules! here {
    ($fault:expr) => {{
        crate::scene::note(file!(), line!());
        $fault
    }};
}

mod awaits;
mod compute;
mod dns;
mod families;
mod locks;
mod memory;
mod nested;
mod network;
mod scene;
mod sleep;
mod stack;
mod system;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tower_stall::{Await, AwaitKind, Awaits, Cause, Frame, HeldBy, Stall, StallDetector};

use families::FAMILIES;

/// For what must happen.
const LIMIT: Duration = Duration::from_secs(60);
/// The detail may be found after the stack, and who holds a lock after both.
const FOR_DETAIL: Duration = Duration::from_secs(5);

/// Whether this build shows who holds a lock: `docs/fix/lock.md`.
const TELLS_HOLDERS: bool = cfg!(all(target_arch = "x86_64", target_env = "gnu", panic = "unwind"));

fn main() {
    let mut faults = FAMILIES.into_iter().flatten();
    let Some(wanted) = std::env::args().nth(1) else {
        return faults.for_each(|(name, _)| println!("{name}"));
    };
    let (name, set) = faults.find(|(name, _)| *name == wanted).expect("a name of the list");
    // Whatever goes wrong, in whatever thread, nobody waits for those that are blocked.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(101);
    }));
    // A fault may take the standard output away.
    let output = io::stdout().as_fd().try_clone_to_owned().expect("a descriptor");
    let line = match set() {
        Err(why) => json!({ "skipped": why }),
        Ok(scene) => commit(name, scene),
    };
    writeln!(File::from(output), "{line}").expect("somebody reads");
}

/// Serves a request that commits the fault, and says what the detector found.
fn commit(name: &str, scene: scene::Scene) -> Value {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // So that a fault can take the only one.
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let start = async { StallDetector::builder().start() };
    let detector = runtime.block_on(start).expect("a detector");
    let app = axum::Router::new().route(&format!("/{name}"), scene.handler);
    let app = (scene.around)(app.layer(detector.layer()));
    let bind = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = runtime.block_on(bind).expect("a port");
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move { axum::serve(listener, app).await });
    let memory = memory::Peak::watch();
    let (tell, told) = channel();
    let path = name.to_owned();
    std::thread::spawn(move || tell.send(request(address, &path)).expect("it is waited for"));

    let handler = scene.counted_for.map_or_else(|| format!("GET /{name}"), str::to_owned);
    let stall = wait_for_stall(&detector, &handler, scene.has_holder);
    let count = detector.stalls().iter().filter(|stall| stall.handler == *handler).count();
    let memory = memory.end();
    (scene.release)();
    let answer = told.recv_timeout(LIMIT).expect("an answer after the release");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    runtime.shutdown_timeout(LIMIT);
    describe(&stall, count, memory)
}

fn request(address: SocketAddr, path: &str) -> String {
    let mut server = TcpStream::connect(address).expect("it listens");
    write!(server, "GET /{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    server.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The stall of that handler while it lasts, with its stack or why there is none.
///
/// On a busy machine the first may be the environment's, and be turned into this one.
fn wait_for_stall(detector: &StallDetector, handler: &str, has_holder: bool) -> Stall {
    let start = Instant::now();
    let mut seen = None;
    loop {
        let stalls = detector.stalls();
        let stall = stalls.iter().find(|stall| {
            let looked_at = !stall.is_stack_pending();
            stall.handler == handler && stall.in_progress && looked_at
        });
        if let Some(stall) = stall {
            let since = *seen.get_or_insert_with(Instant::now);
            let has_detail = stall.detail.is_some() || stall.cause == Cause::Cpu;
            let is_held = stall.held_by.as_ref().is_some_and(|held_by| !held_by.threads.is_empty());
            let is_told = has_detail && (is_held || !(has_holder && TELLS_HOLDERS));
            if is_told || since.elapsed() > FOR_DETAIL {
                return stall.clone();
            }
        }
        assert!(start.elapsed() < LIMIT, "no stall of {handler}: {stalls:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn describe(stall: &Stall, count: usize, (peak, after): (u64, u64)) -> Value {
    let stack = stall.stack.as_deref();
    let frames = stack.map_or(&[][..], |stack| &stack.frames);
    let (file, line) = scene::noted();
    json!({
        "id": stall.id,
        "handler": stall.handler,
        "cause": stall.cause.as_str(),
        "detail": stall.detail,
        "fix": stall.fix,
        "site": stall.site.as_ref().map(|site| {
            json!({ "function": site.function, "file": site.file, "line": site.line })
        }),
        "count": count,
        "site_missing": stall.site_missing,
        "stack_missing": stall.stack_missing,
        "partial": stack.map(|stack| stack.partial),
        "by_signal": stack.map(|stack| stack.by_signal),
        "frames": frames.iter().map(|frame| describe_frame(frame)).collect::<Vec<_>>(),
        "held_by": stall.held_by.as_ref().map(describe_holder),
        "tells_holders": TELLS_HOLDERS,
        "awaits": stall.awaits.as_deref().map(describe_chain),
        "memory": { "peak": peak, "after": after },
        "static": cfg!(target_feature = "crt-static"),
        "expected": { "file": file, "line": line },
    })
}

fn describe_holder(held_by: &HeldBy) -> Value {
    let thread = held_by.threads.first();
    json!({
        "holder": held_by.holder.as_str(),
        "degree": held_by.degree.as_str(),
        "role": thread.map(|thread| thread.role.as_str()),
        "thread": thread.and_then(|thread| thread.name.as_deref()),
        "function": thread.and_then(|thread| thread.site.as_ref()).map(|site| &site.function),
    })
}

/// The links that are the user's own, outermost first.
fn describe_chain(chain: &Awaits) -> Value {
    let is_own = |link: &&Await| matches!(link.kind, AwaitKind::Async | AwaitKind::Call);
    let own = chain.links.iter().filter(is_own);
    let links =
        own.map(|link| json!({ "function": link.function, "file": link.file, "line": link.line }));
    json!({ "own": links.collect::<Vec<_>>(), "missing": chain.missing })
}

fn describe_frame(frame: &Frame) -> Value {
    json!({
        "function": frame.function,
        "file": frame.file,
        "line": frame.line,
        "address": frame.address,
        "module": frame.module.as_deref(),
        "offset": frame.offset,
        "build_id": frame.build_id.as_deref(),
        "inlined": frame.inlined,
        "own": frame.own,
        "guessed": frame.guessed,
    })
}
