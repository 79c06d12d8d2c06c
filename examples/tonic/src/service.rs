//! What the methods do: they echo, and wait, work, block or fail as the request says.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use echo::v1::echo_server::Echo;
use echo::v1::{Answer, Ask, FiguresAnswer};
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Request, Response, Status, Streaming};

type Answers = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

/// The service; clones count together.
#[derive(Clone, Default)]
pub(crate) struct Service {
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    open: AtomicU64,
    blocking: AtomicU64,
    made: AtomicU64,
}

/// A call, from its request until it is answered or dropped.
struct Call {
    counts: Arc<Counts>,
    metadata: MetadataMap,
}

#[tonic::async_trait]
impl Echo for Service {
    type ServerStreamStream = Answers;
    type BidiStream = Answers;

    async fn unary(&self, request: Request<Ask>) -> Result<Response<Answer>, Status> {
        let (call, ask) = self.call(request);
        call.prepare(&ask).await;
        block(&call.counts, &ask);
        call.end(&ask)?;
        Ok(call.response(answer(&ask, 0)))
    }

    async fn server_stream(&self, request: Request<Ask>) -> Result<Response<Answers>, Status> {
        let (call, ask) = self.call(request);
        let head = call.metadata.clone();
        let (call, ask) = (Arc::new(call), Arc::new(ask));
        // Made as it is read, so the layer sees what blocks in it. What a spawned task sends
        // through a channel would be that task's: name it with `stall.watched(..)`.
        let numbers = tokio_stream::iter(0..=ask.messages);
        let answers = numbers.then(move |number| {
            let (call, ask) = (Arc::clone(&call), Arc::clone(&ask));
            async move {
                if number == ask.messages {
                    return call.end(&ask).err().map(Err);
                }
                call.prepare(&ask).await;
                if number == ask.block_at {
                    block(&call.counts, &ask);
                }
                call.counts.made.fetch_add(1, Relaxed);
                Some(Ok(answer(&ask, number)))
            }
        });
        Ok(respond(head, Box::pin(answers.filter_map(|answer| answer))))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<Ask>>,
    ) -> Result<Response<Answer>, Status> {
        let (call, mut asks) = self.call(request);
        let (mut texts, mut number) = (Vec::new(), 0);
        while let Some(ask) = asks.message().await? {
            call.prepare(&ask).await;
            block(&call.counts, &ask);
            call.end(&ask)?;
            texts.push(ask.text);
            number += 1;
        }
        Ok(call.response(Answer { text: texts.join(" "), number, padding: Vec::new() }))
    }

    async fn bidi(&self, request: Request<Streaming<Ask>>) -> Result<Response<Answers>, Status> {
        let (call, asks) = self.call(request);
        let head = call.metadata.clone();
        let call = Arc::new(call);
        let mut next = 0..;
        let answers = asks.then(move |ask| {
            let (call, number) = (Arc::clone(&call), next.next().unwrap_or(u32::MAX));
            async move {
                let ask = ask?;
                call.prepare(&ask).await;
                block(&call.counts, &ask);
                call.end(&ask)?;
                Ok(answer(&ask, number))
            }
        });
        Ok(respond(head, Box::pin(answers)))
    }

    async fn figures(&self, request: Request<Ask>) -> Result<Response<FiguresAnswer>, Status> {
        let Counts { open, blocking, made } = &*self.counts;
        block(&self.counts, request.get_ref());
        Ok(Response::new(FiguresAnswer {
            open: open.load(Relaxed),
            blocking: blocking.load(Relaxed),
            made: made.load(Relaxed),
        }))
    }
}

impl Service {
    fn call<T>(&self, request: Request<T>) -> (Call, T) {
        self.counts.open.fetch_add(1, Relaxed);
        let metadata = echoed(request.metadata());
        (Call { counts: Arc::clone(&self.counts), metadata }, request.into_inner())
    }
}

impl Call {
    /// What an answer waits for without blocking its worker.
    async fn prepare(&self, ask: &Ask) {
        if ask.wait_ms > 0 {
            tokio::time::sleep(millis(ask.wait_ms)).await;
        }
        if ask.work_ms > 0 {
            let time = millis(ask.work_ms);
            drop(tokio::task::spawn_blocking(move || std::thread::sleep(time)).await);
        }
    }

    /// The status that was asked for, with what is echoed in the trailers.
    fn end(&self, ask: &Ask) -> Result<(), Status> {
        match Code::from_i32(ask.status) {
            Code::Ok => Ok(()),
            code => Err(Status::with_metadata(code, &ask.text, self.metadata.clone())),
        }
    }

    fn response<T>(&self, message: T) -> Response<T> {
        respond(self.metadata.clone(), message)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Relaxed);
    }
}

/// What this example is about: it should be `tokio::time::sleep(..).await`.
fn block(counts: &Counts, ask: &Ask) {
    if ask.block_ms > 0 {
        counts.blocking.fetch_add(1, Relaxed);
        std::thread::sleep(millis(ask.block_ms));
        counts.blocking.fetch_sub(1, Relaxed);
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

fn answer(ask: &Ask, number: u32) -> Answer {
    Answer { text: ask.text.clone(), number, padding: vec![b'x'; ask.size as usize] }
}

fn respond<T>(metadata: MetadataMap, message: T) -> Response<T> {
    let mut response = Response::new(message);
    *response.metadata_mut() = metadata;
    response
}

/// The metadata whose names begin with `x-`.
fn echoed(metadata: &MetadataMap) -> MetadataMap {
    let mut echoed = MetadataMap::new();
    for entry in metadata.iter() {
        match entry {
            KeyAndValueRef::Ascii(key, value) if key.as_str().starts_with("x-") => {
                echoed.append(key.clone(), value.clone());
            }
            KeyAndValueRef::Binary(key, value) if key.as_str().starts_with("x-") => {
                echoed.append_bin(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    echoed
}
