//! What all public types are: sent, shared and pinned at will, shown, without borrows.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use std::future::{Pending, Ready};
use std::marker::PhantomPinned;

use axum::body::Bytes;
use http_body_util::Full;
use tower_stall::layer::{RequestHead, ResponseBody, ResponseFuture};
#[cfg(feature = "testing")]
use tower_stall::testing::NoStalls;
use tower_stall::{
    Await, AwaitKind, Awaits, BuildError, Builder, Capture, Cause, Degree, DelayedFuture,
    DelayedLayer, DelayedService, Frame, Health, HealthReport, HeldBy, Holder, HoldingRole,
    HoldingThread, LaterSample, LeftBehind, MetricInfo, MetricKind, ParseCaptureError,
    ParseSymbolsError, ProfileWindow, Readiness, RuntimeHooks, ShedFuture, ShedLayer, ShedService,
    Site, Stack, Stall, StallDetector, StallLayer, StallProfile, StallService, Symbols,
    Unavailable, Watched,
};

/// What `pub use` names that are traits.
const TRAITS: [&str; 4] = ["OnStall", "RuntimeBuilderExt", "ShedAnswer", "WatchExt"];

/// Calls the function for each type, and returns their names.
macro_rules! each {
    ($is:ident: $($type:ty),+ $(,)?) => {{
        $($is::<$type>();)+
        [$(stringify!($type)),+]
    }};
}

/// The types that the modules of the public API give out.
fn exported() -> BTreeSet<String> {
    let mut sources =
        vec![include_str!("../../src/lib.rs"), include_str!("../../src/layer/mod.rs")];
    if cfg!(feature = "testing") {
        sources.push(include_str!("../../src/testing/mod.rs"));
    }
    let lines = sources.into_iter().flat_map(|source| source.split("\npub use ").skip(1));
    let items = lines.filter_map(|line| line.split(';').next());
    let names = items.flat_map(|item| item.split(|part: char| !part.is_alphanumeric()));
    let is_type = |name: &&str| {
        name.starts_with(char::is_uppercase)
            && name.contains(char::is_lowercase)
            && !TRAITS.contains(name)
    };
    names.filter(is_type).map(str::to_owned).collect()
}

#[test]
fn all_public_types_go_anywhere() {
    fn anywhere<T: Send + Sync + Unpin + Debug + 'static>() {}
    // It holds hooks, which need not be `Sync`.
    fn sent<T: Send + Unpin + Debug + 'static>() {}

    let mut checked: BTreeSet<&str> = BTreeSet::new();
    checked.extend(each!(sent: Builder));
    checked.extend(each!(anywhere:
        Await, AwaitKind, Awaits, BuildError, Capture, Cause, Degree, DelayedFuture<Ready<()>>, DelayedLayer,
        DelayedService<()>, Frame, Health, HealthReport, HeldBy, Holder, HoldingRole, HoldingThread, LaterSample, LeftBehind,
        MetricInfo, MetricKind, ParseCaptureError, ParseSymbolsError, ProfileWindow, Readiness,
        RequestHead<'static>, ResponseBody<Full<Bytes>>, ResponseFuture<Ready<()>>, RuntimeHooks,
        ShedFuture<Ready<()>, Full<Bytes>>, ShedLayer, ShedService<()>, Site, Stack, Stall, StallDetector,
        StallLayer, StallProfile, StallService<()>, Symbols, Unavailable, Watched<Ready<()>>,
    ));
    #[cfg(feature = "testing")]
    checked.extend(each!(anywhere: NoStalls));
    let names = checked.iter().filter_map(|name| name.split([' ', '<']).next());
    assert_eq!(names.map(str::to_owned).collect::<BTreeSet<_>>(), exported());
}

#[test]
fn what_a_users_future_is_is_up_to_them() {
    fn shared<T: Send + Sync + Debug + 'static>() {}
    let pinned = each!(shared:
        ResponseBody<PhantomPinned>, ResponseFuture<Pending<PhantomPinned>>,
        DelayedFuture<Pending<PhantomPinned>>, ShedFuture<Pending<PhantomPinned>, ()>, Watched<Pending<PhantomPinned>>,
    );
    assert_eq!(pinned.len(), 5);
}

#[test]
fn handles_layers_and_records_are_cloned_and_errors_are_errors() {
    fn cloned<T: Clone>() {}
    fn error<T: Error>() {}
    let all = each!(cloned:
        Capture, Cause, Frame, Health, HealthReport, LeftBehind, MetricInfo, MetricKind, Readiness,
        RequestHead<'static>, ShedLayer, ShedService<()>, Site, Stack, Stall, StallDetector,
        StallLayer, StallService<()>, Symbols,
    );
    let errors = each!(error: BuildError, LeftBehind, ParseCaptureError, ParseSymbolsError);
    assert_eq!((all.len(), errors.len()), (19, 4));
}
