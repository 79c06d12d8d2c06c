//! The site: the frame of the user's own code that blocked.

use std::path::Path;
use std::sync::Arc;

use crate::stall::{Frame, NO_OWN_FRAME, Site, crate_of, fetched};

/// Crates whose code is never the user's own, unless they are the program or named as own. Files tell
/// most of them; this list is for files that lie where people keep their own.
const OTHERS: &str = "\
    addr2line alloc argon2 async_trait axum axum_core axum_extra backtrace bcrypt blake2 blake3 \
    brotli bytes chrono compiler_builtins core crossbeam crossbeam_channel crossbeam_epoch \
    crossbeam_utils dashmap deadpool diesel digest either fancy_regex flate2 framehop futures \
    futures_channel futures_core futures_executor futures_util gimli h2 h3 hashbrown hashlink \
    http http_body http_body_util hyper hyper_rustls hyper_tls hyper_util image indexmap \
    itertools libc libsqlite3_sys lock_api log memchr metrics miniz_oxide mio mongodb mysql \
    native_tls nix num_cpus object once_cell openssl openssl_sys panic_abort panic_unwind \
    parking_lot parking_lot_core password_hash pin_project pin_project_lite postgres proc_macro \
    prost psm quinn r2d2 rand rand_core rayon rayon_core redis regex regex_automata regex_syntax \
    reqwest ring rusqlite rustc_demangle rustix rustls ryu scrypt serde serde_core serde_json \
    serde_urlencoded sha1 sha2 slab smallvec socket2 sqlx sqlx_core stacker std std_detect \
    sync_wrapper test tokio tokio_native_tls tokio_postgres tokio_rustls tokio_stream \
    tokio_tungstenite tokio_util tonic tower tower_http tower_layer tower_service tower_stall \
    tracing tracing_core tracing_futures tracing_log tracing_subscriber tungstenite ureq \
    ureq_proto url want webpki zstd zstd_safe zstd_sys";

/// This crate, which is in every program that this runs in.
const OURS: &str = "tower_stall";
/// The crate of what the compiler adds to a program: `__rustc::__rust_dealloc`.
const COMPILER: &str = "__rustc";
/// Functions of the compiler by their symbols, as older ones write them.
const COMPILERS: &[&str] =
    &["__rust_", "__rdl_", "__rg_", "rust_begin_unwind", "rust_panic", "rust_eh_"];

/// What hands requests over to services that were put together elsewhere. Who awaits that has not
/// asked for what goes on inside.
const DISPATCHERS: &[&str] = &[
    "tower_stall::layer",
    "tower_stall::mark",
    "tower_stall::shed",
    "axum::boxed",
    "axum::handler",
    "axum::middleware",
    "axum::routing",
    "axum::serve",
    "axum::util",
    "hyper::server",
    "hyper_util::server",
    "tonic::server",
    "tonic::transport::server",
];
/// What does so in servers, and in clients that a handler calls.
const SERVICES: &[&str] =
    &["hyper::service", "hyper_util::service", "tonic::service", "tower", "tower_http"];
/// Clients that are made of services.
const CLIENTS: &[&str] =
    &["hyper_util::client", "reqwest", "tonic::client", "tonic::transport::channel"];
/// What polls tasks.
const TASKS: &str = "tokio::runtime::task";

/// How many frames around a closure are asked for its path.
const MOST_OUTER: usize = 16;

/// Why a stack with frames of the user's own names no site.
const AWAITS: &str = "your own code on the stack only awaits what blocked";
/// Why a stack names no site where something on it may be the user's own.
const UNKNOWN: &str = "no frame is known to be your own: add debug = \"line-tables-only\" to the \
    profile, or name your crates in site_owns";

/// Which code is the user's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnCode {
    /// The crate with the program's `main`.
    pub(crate) program: Option<String>,
    /// Crates that are not, by a setting.
    pub(crate) skips: Vec<String>,
    /// Crates that are, by a setting.
    pub(crate) owns: Vec<String>,
}

impl OwnCode {
    pub(crate) fn new(skips: Vec<String>, owns: Vec<String>) -> Self {
        // As cargo writes them, too.
        let named =
            |crates: Vec<String>| crates.iter().map(|name| name.replace('-', "_")).collect();
        Self { program: None, skips: named(skips), owns: named(owns) }
    }

    /// Whether a frame is the user's own code.
    ///
    /// The file decides. Without one nothing tells crates that come with others from those of the
    /// user, and another's line is worse than none: only the crates that are known to be own count.
    #[allow(dead_code, reason = "called only where stacks are taken")]
    pub(crate) fn has(&self, frame: &Frame) -> bool {
        let Some(function) = frame.function.as_deref() else { return false };
        let by_name = crate_of(function);
        let by_file = frame.file.as_deref().and_then(fetched).map(|fetched| fetched.name);
        let is_one_of = |crates: &[String], name: &str| crates.iter().any(|one| one == name);
        let names = by_name.into_iter().chain(by_file.as_deref());
        let is_foreign = |name: &str| name == OURS || is_one_of(&self.skips, name);
        if is_compilers(function) || names.clone().any(is_foreign) {
            return false;
        }
        let is_named =
            |name: &str| self.program.as_deref() == Some(name) || is_one_of(&self.owns, name);
        match (by_file.as_deref(), by_name) {
            // A program that cargo has fetched is the user's own, too.
            (Some(by_file), _) => is_named(by_file),
            (None, Some(by_name)) if is_named(by_name) => true,
            (None, by_name) => {
                let is_rust = frame.file.as_deref().is_some_and(|file| file.ends_with(".rs"));
                is_rust && !by_name.is_some_and(is_other)
            }
        }
    }
}

fn is_other(name: &str) -> bool {
    OTHERS.split(' ').any(|other| other == name)
}

fn is_compilers(function: &str) -> bool {
    match crate_of(function) {
        Some(name) => name == COMPILER,
        None => COMPILERS.iter().any(|begin| function.starts_with(begin)),
    }
}

/// Finds the site among frames, innermost first, and says how many frames are inside of it: the
/// innermost of the user's own, unless that only awaits a service or a task which blocked.
///
/// # Errors
///
/// Why there is none.
pub(crate) fn site(frames: &[Arc<Frame>]) -> Result<(usize, Site), &'static str> {
    let Some(inner) = frames.iter().position(|frame| frame.own) else {
        let has_no_files = frames.iter().all(|frame| frame.file.is_none());
        let is_unknown = has_no_files || frames.iter().any(|frame| is_unknown(frame));
        return Err(if is_unknown { UNKNOWN } else { NO_OWN_FRAME });
    };
    if is_dispatched(&frames[..inner]) {
        return Err(AWAITS);
    }
    let frame = &*frames[inner];
    let function = label(frame, &frames[inner + 1..]);
    Ok((inner, Site { function, file: frame.file.clone(), line: frame.line }))
}

/// The same reason of a stack that was taken in part, for `partial`. Where the program has lines, its own code
/// is on the missing part.
pub(crate) fn no_site(
    why: &'static str,
    partial: Option<&'static str>,
    has_lines: bool,
) -> &'static str {
    let is_further_out = why != AWAITS && has_lines;
    partial.filter(|_| is_further_out).unwrap_or(why)
}

/// Whether who called these frames got to them through a service or a task.
fn is_dispatched(called: &[Arc<Frame>]) -> bool {
    let (mut by_service, mut by_client) = (false, false);
    for frame in called {
        let path = frame.code_path();
        let is_in_one = |modules: &[&str]| modules.iter().any(|module| path.is_in(module));
        if is_poll(frame) && (path.is_in(TASKS) || is_in_one(DISPATCHERS)) {
            return true;
        }
        by_service |= is_poll(frame) && is_in_one(SERVICES);
        by_client |= is_in_one(CLIENTS);
    }
    by_service && !by_client
}

/// Whether it goes on with a future or calls a service; what builds one does not.
fn is_poll(frame: &Frame) -> bool {
    let name = frame.name();
    frame.is_closure()
        || ["poll", "call", "oneshot", "run"].iter().any(|begin| name.starts_with(begin))
}

/// Whether it may be the user's own, and nothing tells.
fn is_unknown(frame: &Frame) -> bool {
    let name = frame.function.as_deref().and_then(crate_of);
    frame.file.is_none() && name.is_some_and(|name| name != COMPILER && !is_other(name))
}

/// The function as a label. In line tables an inlined closure or the body of an async function has a
/// number and no path, `{async_fn#0}`: then that of the function around it is looked for, or the name
/// of its file comes before.
fn label(frame: &Frame, outer: &[Arc<Frame>]) -> String {
    let (function, name) = (frame.function.as_deref().unwrap_or_default(), frame.name());
    let Some(file) = frame.file.as_deref().map(Path::new).filter(|_| name.starts_with('{')) else {
        let has_path = crate_of(function).is_some();
        return if has_path { without_closures(function) } else { name.to_owned() };
    };
    let around = function_around(name, file, outer);
    around.map_or_else(|| format!("{}::{name}", stem(file)), without_closures)
}

/// The same for a link in a chain of awaits.
pub(super) fn path_of(frame: &Frame, outer: &[Arc<Frame>]) -> String {
    label(frame, outer)
}

/// Whether a site has the label of a function without its path, which further frames may tell.
pub(crate) fn is_vague(site: &Site) -> bool {
    site.function.contains("::{")
}

/// The function around a closure: who calls it is generic over its type, which has the whole path, as in
/// `poll<app::routes::load::{async_fn_env#0}>`. It must fit to the file, and be the only one that does. What the user's
/// own code further out is called with is not asked: it calls others too.
fn function_around<'a>(name: &str, file: &Path, outer: &'a [Arc<Frame>]) -> Option<&'a str> {
    let environment = format!("::{}", name.replacen('#', "_env#", 1));
    let is_path = |c: char| c.is_alphanumeric() || "_:{}#".contains(c);
    let outer = outer.iter().take(MOST_OUTER).take_while(|frame| !frame.own);
    let paths = outer.filter_map(|frame| frame.function.as_deref());
    let paths = paths.flat_map(|function| {
        function.match_indices(&environment).map(|(end, _)| {
            let path = &function[..end];
            let before = path.char_indices().rev().find(|(_, c)| !is_path(*c));
            let begin = before.map_or(0, |(at, c)| at + c.len_utf8());
            &path[begin..]
        })
    });
    let mut paths = paths.filter(|path| match stem(file) {
        "main" | "lib" => crate_of(path).is_some_and(|name| !is_other(name)),
        "mod" => {
            let module = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            path.split("::").skip(1).any(|part| Some(part) == module)
        }
        module => path.split("::").skip(1).any(|part| part == module),
    });
    let first = paths.next()?;
    paths.all(|path| path == first).then_some(first)
}

/// The name of a file without its end.
fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|name| name.to_str()).unwrap_or_default()
}

/// `app::handler::{{closure}}` is the body of `async fn handler`, or a closure in it.
fn without_closures(function: &str) -> String {
    let mut segments = function.split("::{");
    let mut name = segments.next().unwrap_or_default().to_owned();
    for segment in segments {
        let close = if segment.starts_with('{') { "}}" } else { "}" };
        match segment.split_once(close) {
            Some((inner, rest)) if is_closure(inner.trim_start_matches('{')) => name.push_str(rest),
            _ => name.extend(["::{", segment]),
        }
    }
    name
}

fn is_closure(inner: &str) -> bool {
    inner.starts_with("closure") || inner.starts_with("async_") || inner.contains("shim")
}

#[cfg(test)]
mod tests;
