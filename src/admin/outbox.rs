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
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::helpers;
use crate::clock::runtime_now;
use crate::page::Parts;
use crate::vitals::{OwnThread, Vitals};

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
    vitals: Arc<Vitals>,
    /// Oldest first.
    sent: Arc<Mutex<VecDeque<(Instant, AbortHandle)>>>,
}

/// The right to send a document.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Outbox {
    pub(super) fn new(vitals: Arc<Vitals>) -> Self {
        let places = Arc::new(Semaphore::new(PLACES));
        Self { places, turn: Arc::new(Semaphore::new(1)), vitals, sent: Arc::default() }
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

    /// Runs `make` when its turn comes, beside the thread that answers probes. `None` if it panics, or if there
    /// is no thread for it.
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
        let made = match helpers::run(make) {
            Some(job) => job.await.ok(),
            None => None,
        };
        if made.is_none() {
            self.vitals.count_panic(OwnThread::Admin);
        }
        made
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

#[cfg(test)]
mod tests {
    use std::iter::{once, repeat_with};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    /// A document without an end. Counts the parts that were made.
    fn endless(made: &Arc<AtomicUsize>) -> Parts {
        let made = Arc::clone(made);
        Box::new(repeat_with(move || {
            made.fetch_add(1, Ordering::Relaxed);
            vec![b'x'; 1024]
        }))
    }

    async fn send(outbox: &Outbox, parts: Parts) -> Body {
        let place = outbox.place().await.expect("a place");
        outbox.send(place, parts, None)
    }

    #[tokio::test]
    async fn a_document_comes_whole_and_in_chunks() {
        let parts = [vec![1; 10], vec![2; 3 * CHUNK], Vec::new(), vec![3; 20]];
        let whole: Vec<u8> = parts.concat();
        let outbox = Outbox::new(Arc::default());
        let mut body = send(&outbox, Box::new(parts.into_iter())).await;
        let mut got = Vec::new();
        while let Some(frame) = body.frame().await {
            let chunk = frame.expect("it goes on").into_data().expect("no trailers");
            assert!(chunk.len() <= CHUNK, "{}", chunk.len());
            got.extend_from_slice(&chunk);
        }
        assert!(got == whole);
        let mut none = send(&outbox, Box::new(std::iter::empty())).await;
        assert!(none.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_length_that_is_known_is_told() {
        let outbox = Outbox::new(Arc::default());
        let place = outbox.place().await.expect("a place");
        let body = outbox.send(place, Box::new(once(vec![7; 2 * CHUNK])), Some(2 * CHUNK as u64));
        assert_eq!(body.size_hint().exact(), Some(2 * CHUNK as u64));
        assert_eq!(body.collect().await.expect("it comes").to_bytes().len(), 2 * CHUNK);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_not_made() {
        let (outbox, made) = (Outbox::new(Arc::default()), Arc::default());
        let mut body = send(&outbox, endless(&made)).await;
        for taken in 1..=100 {
            let chunk = body.frame().await.expect("no end").expect("it goes on");
            assert_eq!(chunk.into_data().expect("no trailers").len(), CHUNK);
            tokio::time::sleep(LOOK).await;
            // One waits in the channel, one to go there.
            assert!(made.load(Ordering::Relaxed) <= (taken + 2) * CHUNK / 1024);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_gives_its_place_to_who_waits() {
        let (outbox, made) = (Outbox::new(Arc::default()), Arc::default());
        let mut slow = Vec::new();
        for _ in 0..PLACES {
            slow.push(send(&outbox, endless(&made)).await);
        }
        let mut first = slow.remove(0);
        assert!(timeout(ENOUGH - LOOK, outbox.place()).await.is_err(), "all have a little time");
        let mut next = send(&outbox, Box::new(once(b"hello".to_vec()))).await;
        assert_eq!(
            next.frame().await.expect("data").expect("whole").into_data().expect("it"),
            "hello"
        );
        // What was made is still sent, and then it breaks off.
        let cut = loop {
            match first.frame().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(cut.expect("no end").is_err());
        for others in &mut slow {
            for _ in 0..9 {
                assert!(others.frame().await.expect("no end").is_ok());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_keep_their_places_while_nobody_waits() {
        let (outbox, made) = (Outbox::new(Arc::default()), Arc::default());
        let mut slow = send(&outbox, endless(&made)).await;
        for _ in 0..PLACES {
            tokio::time::sleep(2 * ENOUGH).await;
            drop(send(&outbox, endless(&made)).await);
            assert!(slow.frame().await.expect("no end").is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_has_no_place() {
        let (outbox, made) = (Outbox::new(Arc::default()), Arc::default());
        for _ in 0..3 * PLACES {
            drop(send(&outbox, endless(&made)).await);
        }
        let all = Arc::clone(&outbox.places).acquire_many_owned(PLACES as u32);
        assert!(timeout(ENOUGH, all).await.is_ok());
    }

    #[tokio::test]
    async fn a_document_that_cannot_be_made_has_no_end() {
        let parts = (0..2).map(|number| match number {
            0 => vec![0; CHUNK],
            _ => panic!("on purpose"),
        });
        let mut body = send(&Outbox::new(Arc::default()), Box::new(parts)).await;
        assert!(body.frame().await.expect("a chunk").is_ok());
        assert!(body.frame().await.expect("no end").is_err());
    }
}
