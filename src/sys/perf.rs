//! Events of one thread, as the kernel counts or times them: `perf_event_open`.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `struct perf_event_attr`, up to and with `bp_len` (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) kind: u32,
    pub(super) size: u32,
    pub(super) config: u64,
    pub(super) sample_period: u64,
    pub(super) sample_type: u64,
    pub(super) read_format: u64,
    pub(super) flags: u64,
    pub(super) wakeup_events: u32,
    pub(super) breakpoint_kind: u32,
    pub(super) breakpoint_address: u64,
    pub(super) breakpoint_length: u64,
}

#[cfg(feature = "capture")]
pub(super) const DISABLED: u64 = 1;
pub(super) const PINNED: u64 = 1 << 2;
/// Only what happens in the thread's own code.
pub(super) const OWN_CODE: u64 = NOT_IN_THE_KERNEL | NOT_IN_THE_HYPERVISOR;
const NOT_IN_THE_KERNEL: u64 = 1 << 5;
const NOT_IN_THE_HYPERVISOR: u64 = 1 << 6;
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;

/// Begins to watch for the event, until what it returns is closed.
///
/// # Errors
///
/// The system does not allow it (`perf_event_paranoid`), or has not got it. Where there is a filter
/// of system calls it is not even tried: some filters end the process for it.
pub(super) fn open(attributes: Attributes, thread: u32) -> io::Result<OwnedFd> {
    if is_filtered() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let attributes = Attributes { size: size_of::<Attributes>() as u32, ..attributes };
    let any_cpu: libc::c_int = -1;
    let no_group: libc::c_int = -1;
    // SAFETY: the kernel reads `size` bytes of attributes, which are there until the call
    // returns, and writes nothing but `size`, in place.
    let file = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            libc::pid_t::try_from(thread).unwrap_or(-1),
            any_cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    let Ok(file) = i32::try_from(file) else { return Err(io::ErrorKind::Other.into()) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Whether the calling thread has a filter of system calls.
fn is_filtered() -> bool {
    // SAFETY: takes a number, and touches no memory.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP) };
    mode != 0
}
