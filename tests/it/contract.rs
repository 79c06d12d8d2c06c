//! The contract of a tower service, and that answers come through unchanged.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};
use tower_stall::StallService;
use tower_stall::layer::ResponseBody;
use tower_test::mock::{Handle, Mock, Spawn};

use crate::support::Rig;

type Inner = Mock<Request<()>, Response<Full<Bytes>>>;
type InnerHandle = Handle<Request<()>, Response<Full<Bytes>>>;

fn mocked(rig: &Rig) -> (Spawn<StallService<Inner>>, InnerHandle) {
    tower_test::mock::spawn_layer(rig.stall.layer())
}

fn ready(service: &mut Spawn<StallService<Inner>>) -> bool {
    match service.poll_ready::<Request<()>>() {
        Poll::Ready(readiness) => readiness.is_ok(),
        Poll::Pending => false,
    }
}

#[test]
fn the_service_is_ready_when_the_one_inside_is() {
    let rig = Rig::new(1, |builder| builder);
    let (mut service, mut handle) = mocked(&rig);
    handle.allow(0);
    assert!(!ready(&mut service));
    handle.allow(1);
    assert!(ready(&mut service));
    rig.runtime.block_on(async {
        let answer = tokio::spawn(service.call(Request::new(())));
        let (_, respond) = handle.next_request().await.expect("it arrives");
        respond.send_response(Response::new(Full::from("here")));
        let body = answer.await.expect("no panic").expect("an answer").into_body();
        assert_eq!(body.collect().await.expect("a body").to_bytes(), "here");
    });
    assert!(!ready(&mut service), "one call was allowed");
}

#[test]
fn a_clone_has_to_become_ready_itself() {
    let rig = Rig::new(1, |builder| builder);
    let (mut service, mut handle) = mocked(&rig);
    handle.allow(1);
    assert!(ready(&mut service));
    let mut clone = service.clone();
    rig.runtime.block_on(async {
        // The mock panics when it is called before it is ready.
        let answer = tokio::spawn(service.call(Request::new(())));
        let (_, respond) = handle.next_request().await.expect("it arrives");
        respond.send_response(Response::default());
        assert!(answer.await.expect("no panic").is_ok());
    });
    assert!(!ready(&mut clone), "the readiness was that of the other");
    handle.allow(1);
    assert!(ready(&mut clone));
}

#[test]
fn errors_of_readiness_and_of_calls_come_through() {
    let rig = Rig::new(1, |builder| builder);
    let (mut service, mut handle) = mocked(&rig);
    assert!(ready(&mut service));
    rig.runtime.block_on(async {
        let answer = tokio::spawn(service.call(Request::new(())));
        let (_, respond) = handle.next_request().await.expect("it arrives");
        respond.send_error("the inner error");
        let error = answer.await.expect("no panic").expect_err("an error was sent");
        assert_eq!(error.to_string(), "the inner error");
    });
    handle.send_error("never again");
    let Poll::Ready(Err(error)) = service.poll_ready::<Request<()>>() else {
        panic!("the service inside has failed")
    };
    assert!(error.to_string().contains("never again"), "{error}");
}

#[test]
fn pending_readiness_wakes_who_waits_for_it() {
    let rig = Rig::new(1, |builder| builder);
    let (mut service, mut handle) = mocked(&rig);
    handle.allow(0);
    assert!(!ready(&mut service));
    assert!(!service.is_woken());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(ready(&mut service));
    assert!(ready(&mut service), "asking again takes nothing");
}

#[test]
fn each_clone_waits_for_itself() {
    let rig = Rig::new(1, |builder| builder);
    let (service, mut handle) = mocked(&rig);
    handle.allow(0);
    let (mut one, mut other) = (service.clone(), service.clone());
    assert!(!ready(&mut one) && !ready(&mut other));
    handle.allow(1);
    assert!(one.is_woken() && other.is_woken());
    assert!(ready(&mut one));
    drop(one.call(Request::new(())));
    assert!(!ready(&mut other), "one call was allowed");
    assert!(!other.is_woken());
    handle.allow(1);
    assert!(other.is_woken() && ready(&mut other));
}

/// What a call panics with.
fn panic_of_a_call<S: Service<Request<()>>>(mut service: S) -> String {
    let call = || drop(service.call(Request::new(())));
    let panic = catch_unwind(AssertUnwindSafe(call)).expect_err("the mock panics");
    // The mock's lock is poisoned: its drop would panic too.
    std::mem::forget(service);
    (*panic.downcast::<&str>().expect("a panic with a text")).to_owned()
}

#[test]
fn a_call_without_readiness_panics_as_without_the_layer() {
    let rig = Rig::new(1, |builder| builder);
    let (bare, bare_handle) = tower_test::mock::pair::<Request<()>, Response<Full<Bytes>>>();
    let expected = panic_of_a_call(bare);
    assert!(expected.contains("poll_ready must be called first"), "{expected}");
    let (service, handle) = mocked(&rig);
    assert_eq!(panic_of_a_call(service.into_inner()), expected);
    // Nor does a clone have the readiness of the one it was made of.
    let (mut service, mut handle_of_two) = mocked(&rig);
    handle_of_two.allow(2);
    assert!(ready(&mut service));
    assert_eq!(panic_of_a_call(service.get_ref().clone()), expected);
    std::mem::forget((service, bare_handle, handle, handle_of_two));
}

#[test]
fn a_request_arrives_with_its_call_and_not_before() {
    let rig = Rig::new(1, |builder| builder);
    let (mut service, mut handle) = mocked(&rig);
    assert!(ready(&mut service));
    let mut next = by_hand(async move { handle.next_request().await.is_some() });
    assert!(next().is_pending());
    let call = service.call(Request::new(()));
    assert_eq!(next(), Poll::Ready(true), "the future was not polled yet");
    drop(call);
}

/// A future to poll by hand.
fn by_hand<F: Future>(future: F) -> impl FnMut() -> Poll<F::Output> {
    let mut future = Box::pin(future);
    move || future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// A body with everything a body can have.
struct Frames {
    frames: Vec<Frame<Bytes>>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = (!self.frames.is_empty()).then(|| Ok(self.frames.remove(0)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.frames.iter().filter_map(|frame| frame.data_ref()).map(Bytes::len);
        SizeHint::with_exact(left.sum::<usize>() as u64)
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, "after all".parse().expect("a header"))])
}

#[test]
fn answers_come_through_unchanged() {
    let rig = Rig::new(1, |builder| builder);
    let service = rig.stall.layer().layer(tower::service_fn(async move |request: Request<u8>| {
        assert_eq!((request.uri().path(), *request.body()), ("/there", 7));
        let data = |text: &'static str| Frame::data(Bytes::from(text));
        let frames = vec![data("one"), data("three"), Frame::trailers(trailers())];
        let response = Response::builder().status(StatusCode::IM_A_TEAPOT).header("x-tea", "green");
        Ok::<_, Infallible>(response.extension(42_u64).body(Frames { frames }).expect("an answer"))
    }));
    let request = Request::post("/there").body(7).expect("a request");
    let response = rig.runtime.block_on(service.oneshot(request)).expect("an answer");
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.headers()["x-tea"], "green");
    assert_eq!(response.headers().len(), 1, "nothing is added");
    assert_eq!(response.extensions().get::<u64>(), Some(&42));

    let mut body = response.into_body();
    let next = |body: &mut ResponseBody<Frames>| {
        rig.runtime.block_on(body.frame()).map(|frame| frame.expect("no error"))
    };
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(8), false));
    let data = |frame: Option<Frame<Bytes>>| frame.and_then(|frame| frame.into_data().ok());
    assert_eq!(data(next(&mut body)), Some(Bytes::from("one")));
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    assert_eq!(data(next(&mut body)), Some(Bytes::from("three")));
    let last = next(&mut body).and_then(|frame| frame.into_trailers().ok());
    assert_eq!(last, Some(trailers()));
    assert!(body.is_end_stream());
    assert!(next(&mut body).is_none());
}

#[test]
fn a_body_that_has_ended_is_dropped_in_its_last_poll() {
    struct Told(Frames, Arc<AtomicBool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    impl Body for Told {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
        fn is_end_stream(&self) -> bool {
            self.0.is_end_stream()
        }
    }
    let (rig, dropped) = (Rig::new(1, |builder| builder), Arc::new(AtomicBool::new(false)));
    let service = rig.stall.layer().layer(tower::service_fn(async |_: Request<()>| {
        let frames = ["one", "two"].map(|text| Frame::data(Bytes::from(text))).into();
        let body = Told(Frames { frames }, Arc::clone(&dropped));
        Ok::<_, Infallible>(Response::new(body))
    }));
    let answer = rig.runtime.block_on(service.oneshot(Request::new(()))).expect("an answer");
    let mut body = answer.into_body();
    for left in [1, 0] {
        assert!(rig.runtime.block_on(body.frame()).is_some());
        assert_eq!(dropped.load(Ordering::Relaxed), left == 0);
    }
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
    assert!(rig.runtime.block_on(body.frame()).is_none());
}

#[test]
fn errors_of_a_body_come_through() {
    struct Broken;
    impl Body for Broken {
        type Data = Bytes;
        type Error = &'static str;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(Some(Err("broken")))
        }
    }
    let rig = Rig::new(1, |builder| builder);
    let service =
        tower::service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Broken)));
    let service = rig.stall.layer().layer(service);
    let answer = rig.runtime.block_on(service.oneshot(Request::new(()))).expect("an answer");
    assert_eq!(rig.runtime.block_on(answer.into_body().collect()).expect_err("broken"), "broken");
}

#[test]
fn the_service_inside_can_be_reached() {
    let rig = Rig::new(1, |builder| builder);
    let mut service = rig.stall.layer().layer(7);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (8, 8));
}

#[test]
fn a_service_outlives_its_detector() {
    let rig = Rig::new(1, |builder| builder);
    let inner = tower::service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("still here")))
    });
    let service = rig.stall.layer().layer(inner);
    let Rig { stall, runtime } = rig;
    drop(stall);
    let answer = runtime.block_on(service.oneshot(Request::new(()))).expect("an answer");
    let body = runtime.block_on(answer.into_body().collect()).expect("a body");
    assert_eq!(body.to_bytes(), "still here");
}
