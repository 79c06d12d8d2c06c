//! What tests need of the system: waits without std in between, and handlers of others.

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::signal;

/// Held by every test that sends signals or installs a handler.
///
/// Threads of the test before may still be about to end: with a handler that they keep installed,
/// or an answer that nobody waits for.
pub(crate) fn signals() -> MutexGuard<'static, ()> {
    static SIGNALS: Mutex<()> = Mutex::new(());
    let signals = SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_free = || {
        std::thread::sleep(std::time::Duration::from_millis(1));
        !signal::is_in_use()
    };
    let mut looks = (0..60_000).map(|_| is_free());
    assert!(looks.any(|is_free| is_free), "a test's detector has not ended");
    signals
}

pub(crate) fn usleep(micros: u32) -> i32 {
    // SAFETY: takes a number.
    unsafe { libc::usleep(micros) }
}

/// Sleeps without trying again when interrupted, as std does. Returns the errno, or 0.
pub(crate) fn nanosleep(millis: i64) -> i32 {
    let time = libc::timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 };
    // SAFETY: reads the time and is not asked for what is left of it.
    match unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) } {
        0 => 0,
        _ => super::memory::errno(),
    }
}

/// Waits until there is something to read. Returns what `poll` does, or the negative errno.
pub(crate) fn poll(file: &impl AsRawFd, millis: i32) -> i32 {
    let mut wanted = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure of ours.
    match unsafe { libc::poll(&raw mut wanted, 1, millis) } {
        -1 => -super::memory::errno(),
        ready => ready,
    }
}

/// Starts `true` in a child that first opens this file to read, and waits until it runs. Returns what
/// `posix_spawnp` does, which for that time is in `clone3` or `clone`.
pub(crate) fn spawn_after_opening(file: &std::ffi::CStr) -> i32 {
    let mut actions = std::mem::MaybeUninit::uninit();
    let mut process = 0;
    // SAFETY: strings that end with NUL, arrays that end with null, and actions that are initialized before
    // they are used and destroyed once.
    unsafe {
        assert_eq!(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()), 0);
        let added = libc::posix_spawn_file_actions_addopen(
            actions.as_mut_ptr(),
            0,
            file.as_ptr(),
            libc::O_RDONLY,
            0,
        );
        assert_eq!(added, 0);
        let arguments = [c"true".as_ptr().cast_mut(), std::ptr::null_mut()];
        let spawned = libc::posix_spawnp(
            &raw mut process,
            c"true".as_ptr(),
            actions.as_ptr(),
            std::ptr::null(),
            arguments.as_ptr(),
            std::ptr::null(),
        );
        libc::posix_spawn_file_actions_destroy(actions.as_mut_ptr());
        if spawned == 0 {
            libc::waitpid(process, std::ptr::null_mut(), 0);
        }
        spawned
    }
}

/// Makes a file that keeps whoever opens it to read until it is opened to write.
pub(crate) fn make_fifo(path: &std::ffi::CStr) {
    // SAFETY: a string that ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// Sets errno and finds it unchanged for a while.
pub(crate) fn errno_stays() -> bool {
    // SAFETY: the place of errno is this thread's own.
    let place = unsafe { &mut *libc::__errno_location() };
    (0..1000).all(|number| {
        *place = number;
        std::hint::black_box(&mut *place);
        *place == number
    })
}

/// A library, loaded until this is dropped.
pub(crate) struct Library(*mut libc::c_void);

impl Library {
    pub(crate) fn load(name: &std::ffi::CStr) -> Option<Self> {
        // SAFETY: a library of the system, whose initializers may run at any time.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        (!handle.is_null()).then_some(Self(handle))
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the handle of `load`, given back once; nobody has kept anything of the library.
        unsafe { libc::dlclose(self.0) };
    }
}

/// How many signals the foreign handler has had.
pub(crate) static FOREIGN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn foreign(_: libc::c_int) {
    FOREIGN.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn foreign_with_info(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    assert!(signal == libc::SIGURG && !info.is_null() && !context.is_null());
    FOREIGN.fetch_add(1, Ordering::SeqCst);
}

/// The handlers a program may have for SIGURG with their flags, and whether they count in
/// [`FOREIGN`].
pub(crate) fn handlers() -> [(usize, i32, bool); 4] {
    let with_info = libc::SA_SIGINFO | libc::SA_RESTART;
    [
        (foreign as *const () as usize, 0, true),
        (foreign_with_info as *const () as usize, with_info, true),
        (libc::SIG_IGN, 0, false),
        (libc::SIG_DFL, 0, false),
    ]
}

/// Installs one of them.
pub(crate) fn install(handler: usize, flags: i32) {
    // SAFETY: zeros are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the handlers above have the signature their flags ask for.
    let done = unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// What is installed.
pub(crate) fn installed() -> (usize, i32) {
    // SAFETY: zeros are a valid `sigaction`, and this only reads what is installed.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGURG, std::ptr::null(), &raw mut action);
        action
    };
    (action.sa_sigaction, action.sa_flags & (libc::SA_SIGINFO | libc::SA_RESTART))
}

/// Sends the calling thread a SIGURG that is none of ours.
pub(crate) fn raise() {
    // SAFETY: sends a signal whose handler the test has installed.
    unsafe { libc::raise(libc::SIGURG) };
}

/// Keeps SIGURG from the calling thread until told otherwise.
pub(crate) fn block_signal(block: bool) {
    let how = if block { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: a set of ours, filled before it is used.
    let done = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGURG);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut())
    };
    assert_eq!(done, 0);
}

/// Sends SIGURG to the calling thread by a timer that is none of ours.
pub(crate) fn raise_by_a_timer() {
    // SAFETY: zeros are a valid `sigevent`, and a valid time.
    let (mut event, mut time): (libc::sigevent, libc::itimerspec) = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_notify_thread_id = crate::sys::thread_id() as libc::pid_t;
    event.sigev_signo = libc::SIGURG;
    time.it_value.tv_nsec = 1;
    let mut timer: libc::timer_t = std::ptr::null_mut();
    let before = FOREIGN.load(Ordering::SeqCst);
    // SAFETY: structures of ours; the handler of the signal is one that the test has installed.
    let done = unsafe {
        libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)
            | libc::timer_settime(timer, 0, &raw const time, std::ptr::null_mut())
    };
    assert_eq!(done, 0);
    while FOREIGN.load(Ordering::SeqCst) == before {
        std::thread::yield_now();
    }
    // SAFETY: it is there, and not used any more.
    assert_eq!(unsafe { libc::timer_delete(timer) }, 0);
}

extern "C" fn called<F: Fn()>(run: *const c_void) {
    // SAFETY: that is what was handed over, and it is borrowed meanwhile.
    let run = unsafe { &*run.cast::<F>() };
    run();
}

/// The begin of a function of libc.
pub(crate) fn function_of_libc() -> u64 {
    libc::getppid as *const () as u64
}

/// Calls `run` from a function that has no unwind information.
pub(crate) fn call_from_bare_code<F: Fn()>(run: &F) {
    // SAFETY: it passes the pointer on, and keeps to the convention of C.
    unsafe { tower_stall_bare_call(called::<F>, std::ptr::from_ref(run).cast()) }
}

/// The same from one whose first instructions show its frame. These words are in it, and it is called through a
/// pointer.
pub(crate) fn call_from_bare_frame<F: Fn()>(run: &F, words: &[u64; 8]) {
    type Bare = unsafe extern "C" fn(extern "C" fn(*const c_void), *const c_void, *const u64);
    let bare = std::hint::black_box(tower_stall_bare_frame as Bare);
    // SAFETY: it copies eight words, passes the pointer on, and keeps to the convention of C.
    unsafe { bare(called::<F>, std::ptr::from_ref(run).cast(), words.as_ptr()) }
}

unsafe extern "C" {
    fn tower_stall_bare_call(called: extern "C" fn(*const c_void), with: *const c_void);
    fn tower_stall_bare_frame(
        called: extern "C" fn(*const c_void),
        with: *const c_void,
        words: *const u64,
    );
}

// A frame that no prologue shows, as musl's `__syscall_cp` has.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl tower_stall_bare_call",
    ".type tower_stall_bare_call, @function",
    "tower_stall_bare_call:",
    "push rbx",
    "sub rsp, 64",
    "mov rax, rdi",
    "mov rdi, rsi",
    "call rax",
    "add rsp, 64",
    "pop rbx",
    "ret",
    ".size tower_stall_bare_call, . - tower_stall_bare_call",
    ".globl tower_stall_bare_frame",
    ".type tower_stall_bare_frame, @function",
    "tower_stall_bare_frame:",
    "push rbx",
    "sub rsp, 64",
    "movups xmm0, [rdx]",
    "movups xmm1, [rdx + 16]",
    "movups xmm2, [rdx + 32]",
    "movups xmm3, [rdx + 48]",
    "movups [rsp], xmm0",
    "movups [rsp + 16], xmm1",
    "movups [rsp + 32], xmm2",
    "movups [rsp + 48], xmm3",
    "mov rax, rdi",
    "mov rdi, rsi",
    "call rax",
    "add rsp, 64",
    "pop rbx",
    "ret",
    ".size tower_stall_bare_frame, . - tower_stall_bare_frame",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".globl tower_stall_bare_call",
    ".type tower_stall_bare_call, @function",
    "tower_stall_bare_call:",
    "stp x29, x30, [sp, #-64]!",
    "mov x2, x0",
    "mov x0, x1",
    "blr x2",
    "ldp x29, x30, [sp], #64",
    "ret",
    ".size tower_stall_bare_call, . - tower_stall_bare_call",
    ".globl tower_stall_bare_frame",
    ".type tower_stall_bare_frame, @function",
    "tower_stall_bare_frame:",
    "sub sp, sp, #80",
    "stp x29, x30, [sp, #64]",
    "add x29, sp, #64",
    "ldp q0, q1, [x2]",
    "ldp q2, q3, [x2, #32]",
    "stp q0, q1, [sp]",
    "stp q2, q3, [sp, #32]",
    "mov x2, x0",
    "mov x0, x1",
    "blr x2",
    "ldp x29, x30, [sp, #64]",
    "add sp, sp, #80",
    "ret",
    ".size tower_stall_bare_frame, . - tower_stall_bare_frame",
);
