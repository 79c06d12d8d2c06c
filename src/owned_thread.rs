//! A named thread that ends when it is told to, or is left behind.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sync::lock;

/// A running thread.
#[derive(Debug)]
pub(crate) struct OwnedThread {
    name: &'static str,
    handle: JoinHandle<()>,
    /// Never carries a value: it is disconnected when the thread ends. The mutex makes it `Sync`.
    ended: Mutex<Receiver<()>>,
}

impl OwnedThread {
    pub(crate) fn spawn(
        name: &'static str,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (alive, ended) = channel();
        let handle = std::thread::Builder::new().name(name.into()).spawn(move || {
            let _alive = alive;
            run();
        })?;
        Ok(Self { name, handle, ended: Mutex::new(ended) })
    }

    /// Wakes the thread from `park`.
    pub(crate) fn unpark(&self) {
        self.handle.thread().unpark();
    }

    /// Waits at most `limit` for the end of a thread that was told to end. Does not wait for the
    /// calling thread itself.
    ///
    /// # Errors
    ///
    /// The name of the thread that had to be left behind.
    pub(crate) fn join(self, limit: Duration) -> Result<(), &'static str> {
        if std::thread::current().id() == self.handle.thread().id() {
            return Ok(());
        }
        match lock(&self.ended).recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => Err(self.name),
            // The sender is gone: the thread is past its last statement of ours.
            _ => self.handle.join().map_err(|_| self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_is_joined_and_one_that_does_not_is_named() {
        let quick = OwnedThread::spawn("quick", || ()).expect("a thread");
        assert_eq!(quick.join(Duration::from_secs(10)), Ok(()));

        let (release, held) = channel::<()>();
        let slow = OwnedThread::spawn("slow", move || {
            assert!(held.recv().is_err(), "released by its end going away");
        })
        .expect("a thread");
        assert_eq!(slow.join(Duration::from_millis(5)), Err("slow"));
        drop(release);
    }

    #[test]
    fn a_thread_does_not_wait_for_itself() {
        let (hand_over, own) = channel::<OwnedThread>();
        let (tell, told) = channel();
        let worker = OwnedThread::spawn("itself", move || {
            let own = own.recv().expect("the handle");
            tell.send(own.join(Duration::from_secs(60))).expect("somebody listens");
        })
        .expect("a thread");
        hand_over.send(worker).expect("the thread runs");
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(Ok(())));
    }
}
