//! Chains of stacks as programs of each build have them.

use super::*;

const APP: &str = "/home/me/app/src";
const CARGO: &str = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
const RUSTC: &str = "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library";

/// Frames, innermost first: `FUNCTION at FILE:LINE`, after a `*` those of the user's own.
fn stack(frames: &[&str]) -> Stack {
    let frame = |text: &&str| {
        let (function, place) =
            text.split_once(" at ").map_or((*text, None), |(f, p)| (f, Some(p)));
        let place = place.and_then(|place| place.rsplit_once(':'));
        let path = |file: &str| {
            let file = file.replace("CARGO", CARGO).replace("RUSTC", RUSTC);
            if file.starts_with('/') { file } else { format!("{APP}/{file}") }
        };
        let is_c = !function.contains("::") && place.is_none();
        Arc::new(Frame {
            module: is_c.then(|| "libc.so.6".into()),
            function: Some(function.trim_start_matches('*').into()),
            file: place.map(|(file, _)| path(file)),
            line: place.map(|(_, line)| line.parse().expect("a line")),
            own: function.starts_with('*'),
            ..Frame::default()
        })
    };
    Stack { frames: frames.iter().map(frame).collect(), ..Stack::default() }
}

/// The links in short: `load:7` is the user's own, `load:7 called` too, `=tokio::join!` a combinator, and `6 of hyper`
/// others.
fn links(chain: &Awaits) -> Vec<String> {
    let link = |link: &Await| {
        let line = link.line.map_or(String::new(), |line| format!(":{line}"));
        match link.kind {
            AwaitKind::Async => format!("{}{line}", link.function),
            AwaitKind::Call => format!("{}{line} called", link.function),
            AwaitKind::Combinator => format!("={}", link.function),
            AwaitKind::Library => format!("{} of {}", link.frames, link.function),
            AwaitKind::Omitted => format!("… {} {}", link.function, link.frames),
        }
    };
    chain.links.iter().map(link).collect()
}

#[track_caller]
fn check(frames: &[&str], expected: &[&str]) {
    let chain = await_chain(&stack(frames), true, Some(Path::new(APP))).expect("own code");
    assert_eq!(links(&chain), expected);
    assert_eq!(chain.missing, None);
}

const TASK: &[&str] = &[
    "tokio::runtime::task::core::Core<T,S>::poll::{closure#0} at CARGO/tokio-1.54.1/src/runtime/task/core.rs:380",
    "tokio::loom::std::unsafe_cell::UnsafeCell<T>::with_mut at CARGO/tokio-1.54.1/src/loom/std/unsafe_cell.rs:16",
    "tokio::runtime::task::core::Core<T,S>::poll at CARGO/tokio-1.54.1/src/runtime/task/core.rs:369",
    "tokio::runtime::task::raw::RawTask::poll at CARGO/tokio-1.54.1/src/runtime/task/raw.rs:267",
    "tokio::runtime::scheduler::multi_thread::worker::Context::run_task at CARGO/tokio-1.54.1/src/runtime/scheduler/multi_thread/worker.rs:696",
    "*app::main at main.rs:3",
];
const SLEEP: &[&str] =
    &["__GI___clock_nanosleep", "std::thread::sleep at RUSTC/std/src/thread/functions.rs:300"];
const SERVER: &[&str] = &[
    "<F as axum::handler::Handler<((),),S>>::call::{async_block#0} at CARGO/axum-0.8.9/src/handler/mod.rs:217",
    "<core::pin::Pin<alloc::boxed::Box<_>> as core::future::future::Future>::poll at RUSTC/core/src/future/future.rs:133",
    "<futures_util::future::future::Map<Fut,F> as core::future::future::Future>::poll at CARGO/futures-util-0.3.34/src/lib.rs:85",
    "<tower::util::oneshot::Oneshot<S,Req> as core::future::future::Future>::poll at CARGO/tower-0.5.3/src/util/oneshot.rs:96",
    "<tower_stall::layer::future::ResponseFuture<F> as core::future::future::Future>::poll at CARGO/tower-stall-0.1.0/src/layer/future.rs:50",
    "hyper::proto::h1::dispatch::Dispatcher<D,Bs,I,T>::poll_write at CARGO/hyper-1.12.0/src/proto/h1/dispatch.rs:364",
    "axum::serve::handle_connection::{{closure}}::{{closure}}::{closure#0} at CARGO/tokio-1.54.1/src/macros/select.rs:710",
    "<core::future::poll_fn::PollFn<F> as core::future::future::Future>::poll at RUSTC/core/src/future/poll_fn.rs:151",
    "axum::serve::handle_connection::{{closure}}::{async_block#3} at CARGO/axum-0.8.9/src/serve/mod.rs:400",
];

#[test]
fn functions_that_await_one_another_are_a_chain() {
    let own = [
        "*app::orders::fetch::{async_fn#0} at orders.rs:74",
        "*app::orders::load::{async_fn#0} at orders.rs:68",
        "*app::show_order::{async_fn#0} at main.rs:64",
    ];
    let whole = [SLEEP, &own, SERVER, TASK].concat();
    check(
        &whole,
        &[
            "8 of axum, hyper, tower",
            "app::show_order:64",
            "app::orders::load:68",
            "app::orders::fetch:74",
            "2 of std",
        ],
    );
    let chain = await_chain(&stack(&whole), true, Some(Path::new(APP))).expect("own code");
    assert_eq!(chain.links[1].file.as_deref(), Some("main.rs"), "without the directory");
    assert_eq!(chain.short().as_deref(), Some("show_order → load → fetch"));
}

#[test]
fn with_line_tables_a_name_is_told_only_where_it_is_certain() {
    let own = [
        "*{async_fn#0} at orders.rs:74",
        "*app::orders::load::{async_fn#0} at orders.rs:68",
        "poll<app::orders::load::{async_fn_env#0}> at CARGO/tokio-1.54.1/src/future/maybe_done.rs:65",
        "{closure#0} at CARGO/tokio-1.54.1/src/macros/join.rs:179",
        "<core::future::poll_fn::PollFn<F> as core::future::future::Future>::poll at RUSTC/core/src/future/poll_fn.rs:151",
        "*{async_block#0} at orders.rs:61",
        "poll<app::orders::join::{async_fn#0}::{async_block_env#0}> at CARGO/tracing-0.1.44/src/instrument.rs:321",
        "*{async_fn#0} at orders.rs:60",
        "poll<futures_util::future::either::Either<app::orders::a::{async_fn_env#0}, app::orders::b::{async_fn_env#0}>> at CARGO/futures-util-0.3.34/src/future/maybe_done.rs:96",
        "<futures_util::future::join_all::JoinAll<F> as core::future::future::Future>::poll at CARGO/futures-util-0.3.34/src/future/join_all.rs:142",
        "*{async_fn#0} at orders.rs:50",
    ];
    check(
        &[&own[..], TASK].concat(),
        &[
            "orders::{async fn}:50",
            "=join_all",
            "orders::{async fn}:60",
            "=Instrumented",
            "app::orders::join::{async block}:61",
            "=tokio::join!",
            "app::orders::load:68",
            "orders::{async fn}:74",
        ],
    );
}

#[test]
fn combinators_have_the_names_that_people_write() {
    let between = |frames: &[&str]| {
        let inner: &[&str] = &["*app::load::{async_fn#0} at main.rs:9"];
        let outer: &[&str] = &["*app::all::{async_fn#0} at main.rs:7"];
        let chain = await_chain(&stack(&[inner, frames, outer, TASK].concat()), true, None);
        let links = links(&chain.expect("own code"));
        links[1..links.len() - 1].join(" ")
    };
    let poll_fn = "<futures_util::future::poll_fn::PollFn<F> as core::future::future::Future>::poll at CARGO/futures-util-0.3.34/src/future/poll_fn.rs:56";
    let join_mod = "app::all::{{closure}}::{closure#0} at CARGO/futures-util-0.3.34/src/async_await/join_mod.rs:95";
    let try_done = "<futures_util::future::try_maybe_done::TryMaybeDone<Fut> as core::future::future::Future>::poll at CARGO/futures-util-0.3.34/src/future/try_maybe_done.rs:82";
    let unordered = "<futures_util::stream::futures_unordered::FuturesUnordered<Fut> as futures_core::stream::Stream>::poll_next at CARGO/futures-util-0.3.34/src/stream/futures_unordered/mod.rs:539";
    let next = "<futures_util::stream::stream::next::Next<St> as core::future::future::Future>::poll at CARGO/futures-util-0.3.34/src/stream/stream/next.rs:32";
    let buffered = "<futures_util::stream::stream::buffer_unordered::BufferUnordered<St> as futures_core::stream::Stream>::poll_next at CARGO/futures-util-0.3.34/src/stream/stream/buffer_unordered.rs:75";
    let boxed = "<core::pin::Pin<alloc::boxed::Box<_>> as core::future::future::Future>::poll at RUSTC/core/src/future/future.rs:133";
    let pinned = "<core::pin::Pin<P> as core::future::future::Future>::poll at RUSTC/core/src/future/future.rs:133";
    let timeout = "<tokio::time::timeout::Timeout<T> as core::future::future::Future>::poll at CARGO/tokio-1.54.1/src/time/timeout.rs:216";
    let client = "<reqwest::async_impl::client::Pending as core::future::future::Future>::poll at CARGO/reqwest-0.12.1/src/async_impl/client.rs:9";
    for (frames, shown) in [
        (&[join_mod, poll_fn][..], "=futures::join!"),
        (&[try_done, join_mod, poll_fn], "=futures::try_join!"),
        (&[unordered, next], "=FuturesUnordered"),
        (&[unordered, buffered], "=buffer_unordered"),
        (&[boxed, pinned], "=boxed future"),
        (&[pinned], ""),
        (&[poll_fn], "=poll_fn"),
        (&[boxed, timeout], "=tokio::time::timeout =boxed future"),
        // What is inside of another crate is that one's.
        (&[timeout, client, boxed], "=boxed future 2 of reqwest"),
        (&[next], "1 of futures_util"),
        (&["<tower_stall::mark::watched::Watched<F> as core::future::future::Future>::poll"], ""),
    ] {
        assert_eq!(between(frames), shown, "{frames:?}");
    }
}

#[test]
fn closures_and_polls_are_told_from_what_is_awaited() {
    let own = [
        "*app::parse at main.rs:40",
        "*app::load::{{closure}}::{closure#0} at main.rs:31",
        "core::iter::traits::iterator::Iterator::collect at RUSTC/core/src/iter/traits/iterator.rs:2064",
        "*app::load::{{closure}}::{async_block#1} at main.rs:30",
        "*<app::Job as core::future::future::Future>::poll at main.rs:21",
        "*app::load::{async_fn#0} at main.rs:20",
    ];
    check(
        &[&own[..], TASK].concat(),
        &[
            "app::load:20",
            "<app::Job as core::future::future::Future>::poll:21",
            "app::load::{async block}:30",
            "app::load::{closure}:31 called",
            "app::parse:40 called",
        ],
    );
}

#[test]
fn without_debug_information_it_says_what_does_not_show() {
    let frames = [
        "syscall",
        "*app::hold",
        "*app::load::{{closure}}::{{closure}}",
        "*app::load::{{closure}}",
        "<futures_util::stream::futures_unordered::FuturesUnordered<Fut> as futures_core::stream::Stream>::poll_next",
        "*app::all::{{closure}}",
        "core::ops::function::FnOnce::call_once",
        "*app::start::{{closure}}",
        "tokio::runtime::task::core::Core<T,S>::poll",
    ];
    let chain = await_chain(&stack(&frames), false, None).expect("own code");
    // Called by another function than a poll, `all` may be a closure.
    let expected = [
        "app::start",
        "app::all::{closure} called",
        "=FuturesUnordered",
        "app::load",
        "app::load::{closure} called",
        "app::hold called",
        "1 of libc",
    ];
    assert_eq!(links(&chain), expected);
    assert_eq!(chain.missing.as_deref(), Some(NOT_INLINED));
}

#[test]
fn a_chain_begins_at_the_task_or_where_a_runtime_is_driven() {
    let own = "*app::root::{async_fn#0} at main.rs:7";
    let driven = [
        "tokio::runtime::scheduler::current_thread::CoreGuard::block_on::{{closure}}::{closure#0} at CARGO/tokio-1.54.1/src/runtime/scheduler/current_thread/mod.rs:830",
        "tokio::task::coop::budget at CARGO/tokio-1.54.1/src/task/coop/mod.rs:133",
        "std::thread::local::LocalKey<T>::with at RUSTC/std/src/thread/local.rs:477",
        "tokio::runtime::runtime::Runtime::block_on at CARGO/tokio-1.54.1/src/runtime/runtime.rs:348",
        "*app::main at main.rs:3",
    ];
    check(&[&[own], &driven[..]].concat(), &["app::root:7"]);
    check(&[&[own], TASK, &driven[..]].concat(), &["app::root:7"]);
    // An executor within a task belongs to its chain.
    let executor = "futures_executor::local_pool::block_on at CARGO/futures-executor-0.3.34/src/local_pool.rs:315";
    let inner = "*app::inner::{async_fn#0} at main.rs:9";
    let chain = ["app::root:7", "=futures::executor::block_on", "app::inner:9"];
    check(&[&[inner, executor, own], TASK].concat(), &chain);
    // Who waits for a task is in no poll of that.
    let join = "<tokio::runtime::task::join::JoinHandle<T> as core::future::future::Future>::poll at CARGO/tokio-1.54.1/src/runtime/task/join.rs:9";
    check(&[&[join, own], TASK].concat(), &["app::root:7", "1 of tokio"]);
}

#[test]
fn what_is_not_proven_is_no_link() {
    let own = ["*app::load::{async_fn#0} at main.rs:9", "*app::show::{async_fn#0} at main.rs:7"];
    let whole = stack(&[&own[..], TASK].concat());
    let mut guessed = whole.clone();
    Arc::make_mut(&mut guessed.frames[1]).guessed = true;
    let chain = await_chain(&guessed, true, None).expect("own code");
    assert_eq!(
        (links(&chain), chain.missing.as_deref()),
        (vec!["app::load:9".into()], Some(GUESSED))
    );
    let cut = Stack { partial: true, ..stack(&own) };
    let chain = await_chain(&cut, true, None).expect("own code");
    assert_eq!((chain.links.len(), chain.missing.as_deref()), (2, Some(PARTIAL)));
    let beyond = Stack { partial: true, ..whole };
    assert_eq!(await_chain(&beyond, true, None).expect("own code").missing, None);
    let foreign = stack(&[&own[..0], SERVER, TASK].concat());
    assert_eq!(await_chain(&foreign, true, None), None);
    assert_eq!(await_chain(&Stack::default(), true, None), None);
}

#[test]
fn a_chain_is_bounded() {
    let deep = vec!["*app::descend::{{closure}}::{async_block#0} at main.rs:9"; 1000];
    let chain = await_chain(&stack(&[&deep[..], TASK].concat()), true, None).expect("own code");
    assert_eq!(chain.links.len(), MOST_LINKS);
    assert_eq!(chain.links.iter().map(|link| link.frames).sum::<usize>(), 1000);
    assert_eq!(chain.links[FIRST_LINKS].to_string(), "… 969 more links");
    let long = format!("*app::{}ä at main.rs:9", "x".repeat(5000));
    let chain = await_chain(&stack(&[&long]), true, None).expect("own code");
    assert_eq!(chain.links[0].function.chars().count(), LONGEST_NAME + 1);
}
