//! Sites of stacks as programs have them.

use super::*;

const CARGO: &str = "/home/me/.cargo/registry/src/index.crates.io-1949cf8c/";
const RUSTC: &str = "/rustc/59807616e1fa/library/";

fn frame(function: &str, file: Option<&str>) -> Frame {
    Frame {
        function: (!function.is_empty()).then(|| function.into()),
        file: file.map(Into::into),
        line: file.map(|_| 7),
        ..Frame::default()
    }
}

/// Frames of functions with their files, where they have one.
fn frames(frames: &[&str]) -> Vec<Frame> {
    let one = |text: &&str| match text.split_once(" at ") {
        Some((function, file)) => {
            let file = file.replace("CARGO/", CARGO).replace("RUSTC/", RUSTC);
            frame(function, Some(&file))
        }
        None => frame(text, None),
    };
    frames.iter().map(one).collect()
}

fn own(program: &str, skips: &[&str], owns: &[&str]) -> OwnCode {
    let names = |crates: &[&str]| crates.iter().copied().map(String::from).collect();
    let program = (!program.is_empty()).then(|| program.to_owned());
    OwnCode { program, ..OwnCode::new(names(skips), names(owns)) }
}

fn site_of(of: &[Frame], own: &OwnCode) -> Result<(usize, Site), &'static str> {
    let marked = |frame: &Frame| Frame { own: own.has(frame), ..frame.clone() };
    site(&of.iter().map(marked).map(Arc::new).collect::<Vec<_>>())
}

fn shown(of: &[&str], own: &OwnCode) -> Result<String, &'static str> {
    site_of(&frames(of), own).map(|(_, site)| site.to_string())
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
    let stack = frames(&[
        "clock_nanosleep at ./time/../sysdeps/clock_nanosleep.c",
        "std::thread::sleep at RUSTC/std/src/thread/mod.rs",
        "generic::inlined at /opt/rust/lib/rustlib/src/rust/library/core/src/x.rs",
        "<u64>::checked_add at /usr/src/rustc-1.96.0/library/core/src/num/uint_macros.rs",
        "sqlite::query at CARGO/sqlite-1.0.0/src/lib.rs",
        "pool::get at /home/me/.cargo/git/checkouts/pool-1/abc/src/lib.rs",
        "",
        "app::load_user::{{closure}} at src/main.rs",
        "app::main at src/main.rs",
    ]);
    let found = site_of(&stack, &own("app", &[], &[])).expect("there is one");
    assert_eq!((found.0, found.1.to_string()), (7, "src/main.rs:7 in app::load_user".into()));
    assert_eq!(site_of(&stack, &own("", &[], &[])), Ok(found.clone()), "the files tell");
    assert_eq!(site_of(&stack, &own("app", &["app"], &[])), Err(NO_OWN_FRAME));
    assert_eq!(site_of(&stack, &own("app", &["sqlite"], &[])), Ok(found));
}

#[test]
fn without_files_the_programs_own_crate_decides() {
    let stack = [
        "clock_nanosleep",
        "std::thread::sleep",
        "<mydb::Client as tower::Service<R>>::query",
        "app::load_user::{{closure}}",
        "tokio::runtime::task::harness::poll_future",
    ];
    assert_eq!(shown(&stack, &own("app", &[], &[])).as_deref(), Ok("app::load_user"));
    let mydb = "<mydb::Client as tower::Service<R>>::query";
    assert_eq!(shown(&stack, &own("app", &[], &["mydb"])).as_deref(), Ok(mydb));
    assert_eq!(shown(&stack, &own("server", &[], &["app"])).as_deref(), Ok("app::load_user"));
    assert_eq!(shown(&stack, &own("app", &["app"], &[])), Err(UNKNOWN));
    assert_eq!(shown(&stack, &own("server", &[], &[])), Err(UNKNOWN));
    assert_eq!(shown(&stack, &own("", &[], &[])), Err(UNKNOWN));
    assert_eq!(
        shown(&["clock_nanosleep", "", ""], &own("app", &[], &[])),
        Err(UNKNOWN),
        "stripped"
    );
}

#[test]
fn own_code_is_on_the_missing_part_of_a_stack() {
    // A child that is started and does not run yet: the C library ends its unwind information there.
    let why = shown(&["__GI___clone3"], &own("app", &[], &[])).expect_err("no frame is own");
    assert_eq!(why, UNKNOWN);
    let partial = Some("outer frames are missing");
    assert_eq!(no_site(why, partial, true), "outer frames are missing");
    assert_eq!(no_site(why, partial, false), UNKNOWN, "lines would help");
    assert_eq!(no_site(why, None, true), UNKNOWN);
    assert_eq!(no_site(AWAITS, partial, true), AWAITS);
}

#[test]
fn crates_that_come_with_others_are_nobodys_site() {
    for other in ["serde_path_to_error", "tracing_appender", "tempfile", "minreq"] {
        let function = format!("{other}::read::h");
        let fat = ["read", &function, "tokio::runtime::task::raw::poll"];
        assert_eq!(shown(&fat, &own("app", &[], &[])), Err(UNKNOWN), "{other}");
        let file = format!("{function} at CARGO/{}-1.2.3/src/lib.rs", other.replace('_', "-"));
        assert_eq!(shown(&[&file], &own("app", &[], &[])), Err(NO_OWN_FRAME), "{other}");
    }
}

#[test]
fn what_the_compiler_adds_is_nobodys_site() {
    for function in [
        "__rustc::__rust_dealloc",
        "__rustc[a1b2c3]::rust_begin_unwind",
        "__rust_alloc",
        "__rdl_alloc",
        "rust_begin_unwind",
        "rust_panic",
    ] {
        // A global allocator is written in the program.
        for file in ["", " at src/main.rs", " at RUSTC/std/src/alloc.rs"] {
            let stack = [&*format!("{function}{file}"), "app::parse at src/main.rs"];
            let site = shown(&stack, &own("app", &[], &[]));
            assert_eq!(site.as_deref(), Ok("src/main.rs:7 in app::parse"), "{function}{file}");
        }
    }
}

#[test]
fn this_crate_is_never_a_site() {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/src/layer/future.rs");
    let inlined = format!("poll<axum::routing::route::RouteFuture<E>> at {ours}");
    let whole = format!("<tower_stall::layer::future::ResponseFuture<F> as F>::poll at {ours}");
    for function in [inlined, whole] {
        assert_eq!(shown(&[&function], &own("app", &[], &[])), Err(NO_OWN_FRAME));
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/server.rs");
    assert!(shown(&[&format!("slow at {example}")], &own("server", &[], &[])).is_ok());
}

#[test]
fn a_program_that_cargo_has_fetched_is_the_users_own() {
    let stack =
        ["app::load at CARGO/app-1.2.3/src/main.rs", "{async_fn#0} at CARGO/x-1.2.3/src/a.rs"];
    let site = site_of(&frames(&stack), &own("app", &[], &[])).expect("its own").1;
    assert_eq!(site.function, "app::load");
    let packaged = ["load at /builddir/build/BUILD/app-1.2.3/src/main.rs"];
    assert_eq!(
        site_of(&frames(&packaged), &own("app", &[], &[])).expect("its own").1.function,
        "load"
    );
}

const JSON: &str = "serde_json::read::SliceRead::parse_str at CARGO/serde_json-1.0.149/src/read.rs";
const EXTRACT: &str = "axum::json::Json<T>::from_bytes at CARGO/axum-0.8.9/src/json.rs";
const HANDLER: &str =
    "<F as axum::handler::Handler<T,S>>::call::{{closure}} at CARGO/axum-0.8.9/src/handler/mod.rs";
const HANDLER_INLINED: &str = "{async_block#0}<T,S> at CARGO/axum-0.8.9/src/handler/mod.rs";
const NEXT: &str = "axum::middleware::from_fn::Next::run::{{closure}} at CARGO/axum-0.8.9/src/middleware/from_fn.rs";
const NEXT_INLINED: &str = "{async_fn#0} at CARGO/axum-0.8.9/src/middleware/from_fn.rs";
const MIDDLEWARE: &str = "app::authenticate::{{closure}} at src/main.rs";

#[test]
fn a_middleware_that_awaits_the_next_service_is_no_site() {
    let own = own("app", &[], &[]);
    for stack in [
        &[JSON, EXTRACT, HANDLER, NEXT, MIDDLEWARE][..],
        &[JSON, EXTRACT, HANDLER_INLINED, NEXT_INLINED, MIDDLEWARE],
        &[JSON, "<tower_stall::layer::future::ResponseFuture<F> as F>::poll", MIDDLEWARE],
        &[JSON, "<tower_stall::mark::watched::Watched<F> as F>::poll", MIDDLEWARE],
        &[
            "read at RUSTC/std/src/fs.rs",
            "tower_http::timeout::ResponseFuture<F>::poll",
            MIDDLEWARE,
        ],
        &[JSON, "tonic::server::grpc::Grpc<T>::unary::{{closure}}", MIDDLEWARE],
        // A current-thread runtime: `main` polls all tasks.
        &[JSON, "tokio::runtime::task::raw::poll", "app::main at src/main.rs"],
    ] {
        assert_eq!(shown(stack, &own), Err(AWAITS), "{stack:?}");
    }
    // It blocks itself, before or after.
    let itself = ["clock_nanosleep", MIDDLEWARE, HANDLER, NEXT, MIDDLEWARE];
    assert!(shown(&itself, &own).is_ok());
    // The user's handler inside is the site as ever.
    let inside = [JSON, "app::parse at src/main.rs", HANDLER, NEXT, MIDDLEWARE];
    assert_eq!(shown(&inside, &own).as_deref(), Ok("src/main.rs:7 in app::parse"));
    // Without lines, too.
    let fat = ["serde_json::de::parse", "<F as axum::handler::Handler<T,S>>::call::{{closure}}"];
    let fat = [&fat[..], &["app::authenticate::{{closure}}"]].concat();
    assert_eq!(shown(&fat, &own), Err(AWAITS));
}

#[test]
fn who_asks_a_library_for_something_is_the_site() {
    let own = own("app", &[], &[]);
    for stack in [
        // An extractor of one's own that asks for the body.
        &[
            JSON,
            EXTRACT,
            "<app::Valid<T> as FromRequest<S>>::from_request::{{closure}} at src/a.rs",
        ][..],
        // A client that is made of services.
        &[
            "poll at CARGO/tower-0.5.3/src/util/oneshot.rs",
            "{async_fn#0} at CARGO/hyper-util-0.1.21/src/client/legacy/client.rs",
            "app::proxy::{{closure}} at src/main.rs",
        ],
        &[
            "<tower::util::boxed::X as F>::poll",
            "<reqwest::async_impl::client::Pending as F>::poll",
            "app::proxy::{{closure}} at src/main.rs",
        ],
        // A future of a library.
        &["sqlx_core::query::fetch::{{closure}}", "app::load::{{closure}} at src/main.rs"],
        // What builds services calls none.
        &["axum::routing::Router<S>::route", "app::router at src/main.rs"],
        &["tokio::runtime::park::CachedParkThread::block_on", "app::load at src/main.rs"],
    ] {
        assert!(shown(stack, &own).is_ok(), "{stack:?}");
    }
}

#[test]
fn an_async_body_without_a_path_has_its_file() {
    let own = OwnCode::default();
    for (function, label) in [
        ("{async_fn#0}", "routes::{async_fn#0}"),
        ("{async_block#0}<app::x::{closure_env#1}, ()>", "routes::{async_block#0}"),
        ("load<alloc::string::String>", "load"),
    ] {
        let site = site_of(&[frame(function, Some("/app/src/routes.rs"))], &own);
        assert_eq!(site.expect("a site").1.function, label);
    }
}

#[test]
fn an_inlined_closure_has_the_path_of_the_function_around_it() {
    let label = |of: &[&str]| {
        let own = own("app", &[], &[]);
        site_of(&frames(of), &own).expect("a site").1.function
    };
    let runs = "exit_runtime at CARGO/tokio-1.54.1/src/runtime/context/runtime_mt.rs";
    let called = "block_in_place<app::nested::wait::{closure_env#1}, fn() -> Result<(), E>> at CARGO/tokio-1.54.1/src/task/blocking.rs";
    let other = "run<tokio::x::run_task::{closure_env#1}> at CARGO/tokio-1.54.1/src/x.rs";
    let closure = "{closure#1} at /app/src/nested.rs";
    assert_eq!(label(&[closure, runs, called]), "app::nested::wait");
    assert_eq!(label(&[closure, runs, other, called]), "app::nested::wait");
    assert_eq!(label(&[closure, other]), "nested::{closure#1}");
    assert_eq!(label(&["{closure#0} at /app/src/nested.rs", called]), "nested::{closure#0}");
    assert_eq!(label(&["{closure#1} at /app/src/other.rs", called]), "other::{closure#1}");
    let body = "poll<app::load::{async_fn_env#0}> at RUSTC/core/src/future/future.rs";
    assert_eq!(label(&["{async_fn#0} at /app/src/main.rs", body]), "app::load");
    assert_eq!(label(&["{async_fn#0} at /app/src/load/mod.rs", body]), "app::load");
    let nested = "poll<app::routes::load::{closure#0}::{async_block_env#2}<u8>>";
    assert_eq!(label(&["{async_block#2}<u8> at /app/src/routes.rs", nested]), "app::routes::load");
    let beside = "poll<→app::load::{async_fn_env#0}> at RUSTC/core/src/future/future.rs";
    assert_eq!(label(&["{async_fn#0} at /app/src/main.rs", beside]), "app::load");
}

#[test]
fn an_exported_function_is_the_users_if_its_file_is_rust() {
    let own = |file| site_of(&[frame("callback", file)], &OwnCode::default()).is_ok();
    assert!(own(Some("src/ffi.rs")));
    assert!(!own(Some("src/ffi.c")) && !own(None));
}

#[test]
fn the_list_is_sorted() {
    let names: Vec<&str> = OTHERS.split(' ').collect();
    assert!(names.is_sorted() && names.iter().all(|name| !name.is_empty()));
}
