//! What the preset lets pass: short locks, calls that do not wait, and a call that is allowed.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, TryRecvError};

/// The guard is gone before the future waits.
pub async fn short_lock(lock: &Mutex<u8>) -> Option<u8> {
    let value = *lock.lock().ok()?;
    std::future::ready(()).await;
    Some(value)
}

/// Asks, and does not wait.
pub async fn tries(receiver: &Receiver<u8>, child: &mut Child) -> Result<u8, TryRecvError> {
    let _ = child.try_wait();
    receiver.try_recv()
}

/// A path is only text.
pub async fn path(folder: &Path) -> PathBuf {
    folder.join("file").with_extension("txt")
}

/// Runs before there is a runtime.
#[allow(clippy::disallowed_methods, reason = "nothing waits for it yet")]
pub fn settings() -> std::io::Result<String> {
    std::fs::read_to_string("settings.toml")
}
