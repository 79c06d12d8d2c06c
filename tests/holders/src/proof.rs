//! Slow work on a pool of rayon: the other example of `docs/fix/lock.md`.

use std::time::Duration;

use rayon::ThreadPool;

/// Waits until a thread of the pool has done the work.
#[inline(never)]
pub fn prove(pool: &ThreadPool) -> Vec<u8> {
    pool.install(load_key)
}

#[inline(never)]
fn load_key() -> Vec<u8> {
    std::thread::sleep(Duration::from_secs(10));
    vec![7; 32]
}
