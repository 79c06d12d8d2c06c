//! Calls that wait for another thread, most of them for some time.

use std::cell::UnsafeCell;
use std::sync::Arc;

use crate::call::{Call, NAP, Returned, in_a_while, timespec};

pub(crate) fn calls() -> Vec<Call> {
    vec![
        Call::timed("futex", || futex(libc::FUTEX_WAIT)),
        Call::timed("futex until", || futex(libc::FUTEX_WAIT_BITSET)),
        sem_timedwait(),
        pthread_cond_timedwait(),
        pthread_mutex_timedlock(),
        semtimedop(),
        msgrcv(),
    ]
}

/// Waits for a word to change that nobody changes. The second form takes the time when to end.
fn futex(operation: i32) -> Returned {
    let word = 7_u32;
    let until = operation == libc::FUTEX_WAIT_BITSET;
    let time = if until { in_a_while(libc::CLOCK_MONOTONIC) } else { timespec(NAP) };
    // SAFETY: a word and a time of ours; the fifth argument is not used.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_futex,
            &raw const word,
            operation | libc::FUTEX_PRIVATE_FLAG,
            word,
            &raw const time,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    Returned::of(returned)
}

/// What C initializes once and then shares between threads.
struct Shared<T>(Box<UnsafeCell<T>>);

// SAFETY: only functions of libc, which are made for that, ever touch it.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(value: T) -> Arc<Self> {
        Arc::new(Self(Box::new(UnsafeCell::new(value))))
    }

    fn get(&self) -> *mut T {
        self.0.get()
    }
}

fn sem_timedwait() -> Call {
    // SAFETY: zeros are a valid `sem_t`: it is initialized next.
    let semaphore = Shared::<libc::sem_t>::new(unsafe { std::mem::zeroed() });
    // SAFETY: it stays where it is, and is not in use yet.
    assert_eq!(unsafe { libc::sem_init(semaphore.get(), 0, 0) }, 0);
    Call::timed("sem_timedwait", move || {
        let until = in_a_while(libc::CLOCK_REALTIME);
        // SAFETY: a semaphore that was initialized, and a time of ours.
        Returned::of(unsafe { libc::sem_timedwait(semaphore.get(), &raw const until) })
    })
}

fn pthread_cond_timedwait() -> Call {
    let mutex = Shared::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let condition = Shared::new(libc::PTHREAD_COND_INITIALIZER);
    Call::timed("pthread_cond_timedwait", move || {
        let until = in_a_while(libc::CLOCK_REALTIME);
        // SAFETY: both were initialized and stay where they are; the mutex is held for the wait.
        Returned::error(unsafe {
            libc::pthread_mutex_lock(mutex.get());
            let returned =
                libc::pthread_cond_timedwait(condition.get(), mutex.get(), &raw const until);
            libc::pthread_mutex_unlock(mutex.get());
            returned
        })
    })
}

/// Of a mutex that a thread holds which never lets go.
fn pthread_mutex_timedlock() -> Call {
    let mutex = Shared::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let held = Arc::clone(&mutex);
    let hold = move || {
        // SAFETY: it was initialized and stays where it is.
        assert_eq!(unsafe { libc::pthread_mutex_lock(held.get()) }, 0);
    };
    std::thread::spawn(hold).join().expect("no panic");
    Call::timed("pthread_mutex_timedlock", move || {
        let until = in_a_while(libc::CLOCK_REALTIME);
        // SAFETY: a mutex that was initialized, and a time of ours.
        Returned::error(unsafe { libc::pthread_mutex_timedlock(mutex.get(), &raw const until) })
    })
}

/// A set of semaphores, or a queue, of System V: removed when this is dropped.
struct SystemV {
    id: i32,
    remove: fn(i32),
}

impl Drop for SystemV {
    fn drop(&mut self) {
        (self.remove)(self.id);
    }
}

fn semtimedop() -> Call {
    // SAFETY: takes numbers.
    let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
    assert!(id >= 0, "{}", std::io::Error::last_os_error());
    let remove = |id| {
        // SAFETY: takes numbers.
        unsafe { libc::semctl(id, 0, libc::IPC_RMID) };
    };
    let set = Arc::new(SystemV { id, remove });
    Call::timed("semtimedop", move || {
        let mut take = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
        let nap = timespec(NAP);
        // SAFETY: one operation and a time of ours.
        let returned = unsafe {
            libc::syscall(libc::SYS_semtimedop, set.id, &raw mut take, 1_usize, &raw const nap)
        };
        Returned::of(returned)
    })
}

/// As the kernel has it: a kind, then the text.
#[repr(C)]
struct Message {
    kind: libc::c_long,
    text: [u8; 8],
}

/// Never restarted after a signal.
fn msgrcv() -> Call {
    // SAFETY: takes numbers.
    let id = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) };
    assert!(id >= 0, "{}", std::io::Error::last_os_error());
    let remove = |id| {
        // SAFETY: takes numbers.
        unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    };
    let queue = Arc::new(SystemV { id, remove });
    let theirs = Arc::clone(&queue);
    let receive = move || {
        let mut message = Message { kind: 7, text: [7; 8] };
        // SAFETY: room for eight bytes of text.
        let received = unsafe { libc::msgrcv(queue.id, (&raw mut message).cast(), 8, 0, 0) };
        Returned::of(received).and((message.kind, message.text))
    };
    let send = move || {
        let message = Message { kind: 1, text: *b"message\0" };
        // SAFETY: eight bytes of text.
        assert_eq!(unsafe { libc::msgsnd(theirs.id, (&raw const message).cast(), 8, 0) }, 0);
    };
    Call::released("msgrcv", receive, send)
}
