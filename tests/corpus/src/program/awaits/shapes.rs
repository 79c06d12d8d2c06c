//! The shapes. Each ends in `hold`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use futures::future::{BoxFuture, FutureExt, join_all};
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use tower_stall::StallDetector;
use tracing::Instrument;

use super::hold;

/// A service with a path for each of them.
pub(super) fn router(detector: &StallDetector) -> Router {
    Router::new()
        .route("/nested", get(show_order))
        .route("/block", get(block))
        .route("/method", get(|| async { Store.get().await }))
        .route("/generic", get(|| retry(fetch)))
        .route("/closure", get(closure))
        .route(
            "/future",
            get(|| async {
                quick().await;
                Job.await
            }),
        )
        .route("/recursion", get(|| descend(2)))
        .route("/boxed", get(boxed))
        .route("/async-trait", get(by_trait))
        .route("/join", get(join))
        .route("/futures-join", get(futures_join))
        .route("/try-join", get(try_join))
        .route("/select", get(select))
        .route("/join-all", get(all))
        .route("/unordered", get(unordered))
        .route("/buffered", get(buffered))
        .route("/stream", get(next_of_stream))
        .route("/timeout", get(in_time))
        .route("/instrument", get(in_span))
        .route("/middleware", get(show_order).layer(from_fn(authenticate)))
        .route("/executor", get(executor))
        .route("/spawned", get(spawned))
        .route("/join-set", get(join_set))
        .route("/local", get(local))
        .layer(detector.layer())
        .layer(from_fn(outermost))
}

pub(super) async fn root() {
    // The detector has to know the runtime.
    tokio::time::sleep(Duration::from_millis(300)).await;
    load().await;
}

async fn show_order() {
    load().await;
}

async fn load() {
    let orders = fetch().await;
    std::hint::black_box(orders);
}

async fn fetch() {
    tokio::task::yield_now().await;
    hold();
}

async fn quick() {
    tokio::task::yield_now().await;
}

async fn block() {
    let inner = async {
        let deeper = async {
            fetch().await;
        };
        deeper.await;
    };
    inner.await;
}

struct Store;

impl Store {
    async fn get(&self) {
        self.read(7).await;
    }

    async fn read<T: Send>(&self, of: T) {
        fetch().await;
        drop(of);
    }
}

async fn retry<F: Future<Output = ()>>(make: impl Fn() -> F) {
    let mut left = 1;
    while left > 0 {
        make().await;
        left -= 1;
    }
}

async fn closure() {
    quick().await;
    let held: Vec<()> = (0..2).map(|_| hold()).take(1).collect();
    std::hint::black_box(held);
}

struct Job;

impl Future for Job {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        hold();
        std::hint::black_box(Poll::Ready(()))
    }
}

fn descend(depth: u32) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        match depth {
            0 => fetch().await,
            _ => descend(depth - 1).await,
        }
    })
}

async fn boxed() {
    let future: BoxFuture<'static, ()> = fetch().boxed();
    future.await;
}

#[async_trait::async_trait]
trait Repository: Send + Sync {
    async fn find(&self);
}

#[async_trait::async_trait]
impl Repository for Store {
    async fn find(&self) {
        fetch().await;
    }
}

async fn by_trait() {
    let repository: Arc<dyn Repository> = Arc::new(Store);
    repository.find().await;
}

async fn join() {
    let both = tokio::join!(quick(), load());
    std::hint::black_box(both);
}

async fn futures_join() {
    let both = futures::join!(quick(), load());
    std::hint::black_box(both);
}

async fn fallible() -> Result<(), ()> {
    load().await;
    Ok(())
}

async fn try_join() {
    let second = async {
        quick().await;
        Ok(())
    };
    let both = tokio::try_join!(fallible(), second);
    std::hint::black_box(both).expect("they do not fail");
}

async fn select() {
    tokio::select! {
        () = load() => {}
        () = tokio::time::sleep(Duration::from_secs(3600)) => {}
    }
}

async fn all() {
    join_all([load().left_future(), quick().right_future()]).await;
}

async fn unordered() {
    let mut futures = FuturesUnordered::new();
    futures.push(load());
    while futures.next().await.is_some() {}
}

async fn buffered() {
    let loads = stream::iter(0..1).map(|_| load()).buffer_unordered(2);
    loads.for_each(|()| async {}).await;
}

struct Rows;

impl Stream for Rows {
    type Item = ();

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
        hold();
        std::hint::black_box(Poll::Ready(Some(())))
    }
}

async fn next_of_stream() {
    let mut rows = pin!(Rows.map(|row| row));
    rows.next().await;
}

async fn in_time() {
    let result = tokio::time::timeout(Duration::from_secs(3600), load()).await;
    result.expect("in time");
}

async fn in_span() {
    load().instrument(tracing::info_span!("load")).await;
}

async fn outermost(request: Request, next: Next) -> Response {
    next.run(request).await
}

async fn authenticate(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    std::hint::black_box(response)
}

async fn executor() {
    let result = futures::executor::block_on(at_once());
    std::hint::black_box(result);
}

/// Another executor than Tokio's would wait for Tokio's `yield_now` for ever.
async fn at_once() -> u32 {
    hold();
    7
}

async fn spawned() {
    tokio::spawn(load()).await.expect("no panic");
}

async fn join_set() {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async { load().await });
    while tasks.join_next().await.is_some() {}
}

async fn local() {
    let both = async { load().await };
    pin!(both).await;
}
