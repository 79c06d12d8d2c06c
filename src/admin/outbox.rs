//! Documents on their way to clients: in chunks that are made as the client takes them, and few
//! documents at a time. So neither large documents nor slow clients take much memory.
//!
//! Where all places are taken by clients that are slow, whoever comes next does not wait for them: the
//! one that has taken longest loses its place, and its connection is closed within the document.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::clock::runtime_now;
use crate::page::Parts;

/// Documents on their way at a time.
const PLACES: usize = 4;
/// Bytes that are made and sent at a time.
const CHUNK: usize = 16 * 1024;
/// For so long a document keeps its place though others wait.
const ENOUGH: Duration = Duration::from_secs(2);
/// How often those who wait look for a document that has had enough.
const LOOK: Duration = Duration::from_millis(200);

/// See the module. Clones share the places.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    places: Arc<Semaphore>,
    /// Makes one chunk at a time, and not on the thread that answers probes.
    turn: Arc<Semaphore>,
    /// Oldest first.
    sent: Arc<Mutex<VecDeque<(Instant, AbortHandle)>>>,
}

/// The right to send a document.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Outbox {
    pub(super) fn new() -> Self {
        let places = Arc::new(Semaphore::new(PLACES));
        Self { places, turn: Arc::new(Semaphore::new(1)), sent: Arc::default() }
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Option<Place> {
        let mut place = pin!(Arc::clone(&self.places).acquire_owned());
        loop {
            match timeout(LOOK, place.as_mut()).await {
                Ok(place) => return place.ok().map(Place),
                Err(_) => self.end_a_slow_one(),
            }
        }
    }

    /// Runs `make` when its turn comes, beside the thread that answers probes. `None` if it panics.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        let make = move || {
            let made = make();
            drop(turn);
            made
        };
        spawn_blocking(make).await.ok()
    }

    /// The body of an answer with this document. `length` in bytes, where it is known.
    pub(super) fn send(&self, place: Place, parts: Parts, length: Option<u64>) -> Body {
        let (sender, chunks) = channel(1);
        let outbox = self.clone();
        let task = tokio::spawn(async move {
            outbox.send_chunks(parts, sender).await;
            drop(place);
        });
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|(_, task)| !task.is_finished());
        sent.push_back((runtime_now(), task.abort_handle()));
        Body::new(Chunks { chunks, left: length })
    }

    /// Until the end, or until the client is gone. Without an end if a part panics.
    async fn send_chunks(&self, parts: Parts, sender: Sender<Option<Bytes>>) {
        let mut chunker = Chunker { parts, made: Vec::new(), taken: 0 };
        loop {
            let next = move || {
                let chunk = chunker.next();
                (chunker, chunk)
            };
            let Some((rest, chunk)) = self.make(next).await else { return };
            let is_last = chunk.is_none();
            if sender.send(chunk).await.is_err() || is_last {
                return;
            }
            chunker = rest;
        }
    }

    /// Ends the oldest document if it has been on its way for long enough.
    fn end_a_slow_one(&self) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|(_, task)| !task.is_finished());
        if sent.front().is_some_and(|(since, _)| since.elapsed() > ENOUGH)
            && let Some((_, slow)) = sent.pop_front()
        {
            slow.abort();
        }
    }
}

/// Makes chunks of parts.
struct Chunker {
    parts: Parts,
    made: Vec<u8>,
    /// How much of `made` is on its way.
    taken: usize,
}

impl Chunker {
    fn next(&mut self) -> Option<Bytes> {
        while self.made.len() - self.taken < CHUNK {
            let Some(part) = self.parts.next() else { break };
            self.made.drain(..self.taken);
            self.taken = 0;
            match self.made.is_empty() {
                true => self.made = part,
                false => self.made.extend_from_slice(&part),
            }
        }
        let rest = &self.made[self.taken..];
        let chunk = &rest[..rest.len().min(CHUNK)];
        self.taken += chunk.len();
        // A copy: what is left of a large part does not stay for its last chunk.
        (!chunk.is_empty()).then(|| Bytes::copy_from_slice(chunk))
    }
}

/// A document as it is sent.
struct Chunks {
    /// The last is `None`. Without it the document has no end.
    chunks: Receiver<Option<Bytes>>,
    /// Bytes to come, where that is known.
    left: Option<u64>,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match ready!(self.chunks.poll_recv(cx)) {
            Some(Some(chunk)) => {
                self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                Some(Ok(Frame::data(chunk)))
            }
            Some(None) => None,
            None => Some(Err(io::ErrorKind::ConnectionAborted.into())),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
