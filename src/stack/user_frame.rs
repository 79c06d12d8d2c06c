//! The site: the first frame of the user's own code.

use std::path::Path;
use std::sync::Arc;

use crate::stall::{Frame, Site};

/// Crates whose code is never the user's own. With debug information most of them are recognized by
/// the paths of their files; this list is for programs without.
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

/// Parts of paths that hold no code of the user: the standard library, as it was built and as rustup
/// installs it, and crates that cargo has fetched.
const PLACES: &[&str] = &["/rustc/", "/rustlib/src/", "/registry/src/", "/git/checkouts/"];

/// Finds the site among frames, innermost first, and says how many frames are inside of it.
pub(crate) fn site(frames: &[Arc<Frame>]) -> Option<(usize, Site)> {
    let inner = frames.iter().position(|frame| frame.own)?;
    let Frame { function, file, line, .. } = &*frames[inner];
    let function = label(function.as_deref()?, file.as_deref());
    Some((inner, Site { function, file: file.clone(), line: *line }))
}

/// Whether a frame is the user's own code. `others` are further crates that are not.
#[allow(dead_code, reason = "called only where stacks are taken")]
pub(crate) fn is_own(frame: &Frame, others: &[String]) -> bool {
    let Some(function) = &frame.function else { return false };
    if let Some(file) = &frame.file {
        let file = file.replace('\\', "/");
        if !file.ends_with(".rs") || PLACES.iter().any(|place| file.contains(place)) {
            return false;
        }
    }
    match crate_of(function) {
        Some(name) => {
            !OTHERS.split(' ').chain(others.iter().map(String::as_str)).any(|other| other == name)
        }
        // A function of C has no Rust file, one that is exported to C has.
        None => frame.file.is_some(),
    }
}

/// The crate in the name of a function; `None` for a name without a path.
fn crate_of(function: &str) -> Option<&str> {
    let Some(implementation) = function.strip_prefix('<') else {
        return crate_of_path(function);
    };
    // `<Type as Trait>::method`: the crate of the type, or of the trait if the type has none.
    match split_as(implementation) {
        Some((of_type, of_trait)) => crate_of_type(of_type).or_else(|| crate_of_path(of_trait)),
        None => crate_of_type(implementation),
    }
}

/// Skips what comes before the path of a type: references, pointers, slices, `dyn`, `impl`.
fn crate_of_type(mut name: &str) -> Option<&str> {
    loop {
        let before = name;
        name = name.trim_start_matches(['&', '*', '[', '(', '<', ' ']);
        for word in ["mut ", "const ", "dyn ", "impl "] {
            name = name.strip_prefix(word).unwrap_or(name);
        }
        if name == before {
            return crate_of_path(name);
        }
    }
}

fn crate_of_path(path: &str) -> Option<&str> {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    // The crate may have its hash in brackets.
    let rest = &path[end..];
    let rest = match rest.strip_prefix('[') {
        Some(hash) => hash.split_once(']')?.1,
        None => rest,
    };
    (end > 0 && rest.starts_with("::")).then(|| &path[..end])
}

/// Splits at the ` as ` that belongs to the outermost angle bracket.
fn split_as(implementation: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut last = ' ';
    for (at, c) in implementation.char_indices() {
        match c {
            '<' => depth += 1,
            // Not the arrow of a function type.
            '>' if last != '-' => depth = depth.checked_sub(1)?,
            ' ' if depth == 0 => {
                if let Some(of_trait) = implementation[at..].strip_prefix(" as ") {
                    return Some((&implementation[..at], of_trait));
                }
            }
            _ => {}
        }
        last = c;
    }
    None
}

/// The function as a label. With line tables only, the inlined body of an async function is called
/// `{async_fn#0}`: then the name of its file comes before.
fn label(function: &str, file: Option<&str>) -> String {
    match file.map(Path::new).and_then(Path::file_stem) {
        Some(file) if function.starts_with('{') => format!("{}::{function}", file.display()),
        _ => without_closures(function),
    }
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
mod tests {
    use super::*;

    fn frame(function: &str, file: Option<&str>) -> Frame {
        Frame {
            function: (!function.is_empty()).then(|| function.into()),
            file: file.map(Into::into),
            line: file.map(|_| 7),
            ..Frame::default()
        }
    }

    /// The site, where code of the crates `others` is not the user's own.
    fn site(frames: &[Frame], others: &[&str]) -> Option<(usize, Site)> {
        let others: Vec<_> = others.iter().copied().map(String::from).collect();
        let marked = |frame: &Frame| Frame { own: is_own(frame, &others), ..frame.clone() };
        super::site(&frames.iter().map(marked).map(Arc::new).collect::<Vec<_>>())
    }

    #[test]
    fn the_crate_of_a_function_is_found_in_all_forms_of_names() {
        for (function, name) in [
            ("app::handler", Some("app")),
            ("app[0123456789abcdef]::handler", Some("app")),
            ("<app::Thing>::method", Some("app")),
            ("<app::Thing as core::fmt::Debug>::fmt", Some("app")),
            ("<core::pin::Pin<P> as core::future::future::Future>::poll", Some("core")),
            ("<alloc::vec::Vec<<app::T as app::U>::V> as std::io::Write>::write", Some("alloc")),
            ("<F as axum::handler::Handler<(M,T1),S>>::call", Some("axum")),
            ("<&mut app::Thing as core::iter::Iterator>::next", Some("app")),
            ("<&mut dyn app::Trait as core::any::Any>::type_id", Some("app")),
            ("<[app::Thing] as app::Sort>::sort", Some("app")),
            ("<fn(u32) -> u32 as app::Call>::call", Some("app")),
            ("<u32 as app::Trait>::method", Some("app")),
            ("<*const app::Thing>::read", Some("app")),
            ("app::module::<impl core::fmt::Debug for app::Thing>::fmt", Some("app")),
            ("main", None),
            ("__libc_start_main", None),
            ("<", None),
            ("", None),
        ] {
            assert_eq!(crate_of(function), name, "{function}");
        }
    }

    #[test]
    fn closures_are_left_out() {
        for (function, shown) in [
            ("app::handler", "app::handler"),
            ("app::handler::{{closure}}", "app::handler"),
            ("app::handler::{{closure}}::{{closure}}", "app::handler"),
            ("app::handler::{closure#0}", "app::handler"),
            ("app::handler::{{closure}}::helper", "app::handler::helper"),
            ("app::handler::{closure#0}::{closure_env#1}<app::T>", "app::handler<app::T>"),
            ("app::Thing::{impl#3}::method", "app::Thing::{impl#3}::method"),
            ("app::call_once::{{vtable.shim}}", "app::call_once"),
            ("app::broken::{{clos", "app::broken::{{clos"),
        ] {
            assert_eq!(without_closures(function), shown);
        }
    }

    #[test]
    fn the_site_is_the_first_frame_of_the_users_own() {
        let frames = [
            frame("clock_nanosleep", Some("./time/../sysdeps/clock_nanosleep.c")),
            frame("std::thread::sleep", Some("/rustc/abc/library/std/src/thread/mod.rs")),
            frame("generic::inlined", Some("/opt/rust/lib/rustlib/src/rust/library/core/x.rs")),
            frame("sqlite::query", Some("/home/me/.cargo/registry/src/index-1/sqlite-1/lib.rs")),
            frame("pool::get", Some("C:\\cargo\\git\\checkouts\\pool\\src\\lib.rs")),
            frame("", None),
            frame("app::load_user::{{closure}}", Some("src/main.rs")),
            frame("app::main", Some("src/main.rs")),
        ];
        let found = site(&frames, &[]).expect("there is one");
        assert_eq!((found.0, found.1.to_string()), (6, "src/main.rs:7 in app::load_user".into()));
        let mut others = vec!["app"];
        assert_eq!(site(&frames, &others), None);
        others = vec!["sqlite"];
        assert_eq!(site(&frames, &others), Some(found));
    }

    #[test]
    fn without_files_the_list_of_crates_decides() {
        let frames = [
            frame("clock_nanosleep", None),
            frame("std::thread::sleep", None),
            frame("<mydb::Client as tower::Service<R>>::call", None),
            frame("app::load_user::{{closure}}", None),
            frame("tokio::runtime::task::harness::poll_future", None),
        ];
        let shown = |others: &[&str]| site(&frames, others).map(|(_, site)| site.to_string());
        assert_eq!(shown(&[]).as_deref(), Some("<mydb::Client as tower::Service<R>>::call"));
        assert_eq!(shown(&["mydb"]).as_deref(), Some("app::load_user"));
        assert_eq!(shown(&["mydb", "app"]), None);
    }

    #[test]
    fn an_async_body_without_a_path_has_its_file() {
        let site = site(&[frame("{async_fn#0}", Some("/app/src/routes.rs"))], &[]);
        assert_eq!(site.expect("a site").1.function, "routes::{async_fn#0}");
    }

    #[test]
    fn an_exported_function_is_the_users_if_its_file_is_rust() {
        let own = |file| site(&[frame("callback", file)], &[]).is_some();
        assert!(own(Some("src/ffi.rs")));
        assert!(!own(Some("src/ffi.c")) && !own(None));
    }

    #[test]
    fn the_list_is_sorted() {
        let names: Vec<&str> = OTHERS.split(' ').collect();
        assert!(names.is_sorted() && names.iter().all(|name| !name.is_empty()));
    }
}
