//! Futures of libraries that poll others, and how people write them.

use crate::stall::Frame;

/// Crates of which a frame between two functions of the user's own says nothing by itself.
pub(super) const GLUE: &[&str] = &[
    "alloc",
    "async_stream",
    "async_trait",
    "core",
    "futures",
    "futures_core",
    "futures_executor",
    "futures_util",
    "pin_project",
    "pin_project_lite",
    "std",
    "tokio",
    "tokio_stream",
    "tracing",
    "tracing_core",
];

/// Modules of Tokio, futures and tracing, and what of them the user has written.
const NAMES: &[(&str, &str)] = &[
    ("async_stream", "async_stream"),
    ("core::future::poll_fn", POLL_FN),
    ("futures_executor::local_pool", "futures::executor::block_on"),
    ("futures_util::async_await::join_mod", JOIN),
    ("futures_util::async_await::select_mod", "futures::select!"),
    ("futures_util::future::join", "futures::future::join"),
    ("futures_util::future::join_all", "join_all"),
    ("futures_util::future::poll_fn", POLL_FN),
    ("futures_util::future::select", "futures::future::select"),
    ("futures_util::future::select_all", "select_all"),
    ("futures_util::future::select_ok", "select_ok"),
    ("futures_util::future::try_join", "futures::future::try_join"),
    ("futures_util::future::try_join_all", "try_join_all"),
    ("futures_util::future::try_maybe_done", TRY_JOIN),
    ("futures_util::stream::futures_ordered", "FuturesOrdered"),
    ("futures_util::stream::futures_unordered", UNORDERED),
    ("futures_util::stream::stream::buffer_unordered", "buffer_unordered"),
    ("futures_util::stream::stream::buffered", "buffered"),
    ("futures_util::stream::stream::for_each", "for_each"),
    ("futures_util::stream::stream::for_each_concurrent", "for_each_concurrent"),
    ("futures_util::stream::try_stream::try_buffer_unordered", "try_buffer_unordered"),
    ("futures_util::stream::try_stream::try_buffered", "try_buffered"),
    ("futures_util::stream::try_stream::try_for_each", "try_for_each"),
    ("futures_util::stream::try_stream::try_for_each_concurrent", "try_for_each_concurrent"),
    ("tokio::macros::join", "tokio::join!"),
    ("tokio::macros::select", "tokio::select!"),
    ("tokio::macros::try_join", "tokio::try_join!"),
    ("tokio::runtime::handle::Handle::block_on", "Handle::block_on"),
    ("tokio::task::blocking::block_in_place", "block_in_place"),
    ("tokio::task::local", "LocalSet"),
    ("tokio::task::task_local", "task_local! scope"),
    ("tokio::time::timeout", "tokio::time::timeout"),
    ("tracing::instrument", "Instrumented"),
];

const BOXED: &str = "boxed future";
const JOIN: &str = "futures::join!";
const POLL_FN: &str = "poll_fn";
const TRY_JOIN: &str = "futures::try_join!";
const UNORDERED: &str = "FuturesUnordered";

/// The name of the combinator that a frame is of.
pub(super) fn named(frame: &Frame) -> Option<&'static str> {
    let function = frame.function.as_deref()?;
    let is_boxed = ["<core::pin::Pin<alloc::boxed::Box<", "poll<alloc::boxed::Box<"];
    let path = frame.code_path();
    if is_boxed.iter().any(|begin| function.starts_with(begin)) && path.is_in("core") {
        return Some(BOXED);
    }
    NAMES.iter().find(|(module, _)| path.is_in(module)).map(|(_, name)| *name)
}

/// The combinators of a run of frames, outermost first: each once, and none that another is made of.
pub(super) fn settled(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = names.collect();
    names.dedup();
    let all = names.clone();
    let has = |any: &[&str]| all.iter().any(|name| any.contains(name));
    let is_part = |name: &str| match name {
        POLL_FN => all.iter().any(|other| ![POLL_FN, BOXED].contains(other)),
        JOIN => has(&[TRY_JOIN]),
        TRY_JOIN => has(&["futures::future::try_join", "try_join_all"]),
        UNORDERED => all.iter().any(|other| {
            other.contains("buffer_unordered")
                || other.ends_with("_concurrent")
                || other.ends_with("join_all")
        }),
        _ => false,
    };
    names.retain(|name| !is_part(name));
    names.dedup();
    names
}
