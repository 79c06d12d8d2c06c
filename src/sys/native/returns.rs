//! Counts how many times a thread reaches an address: a hardware breakpoint, counted by the kernel.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::FromRawFd;

use super::arch::BREAKPOINT_LENGTH;

/// Counts, until it is dropped, how many times one thread reaches one address. The thread is not
/// disturbed; each time costs it about a microsecond.
#[derive(Debug)]
pub(crate) struct Returns(File);

/// `struct perf_event_attr`, up to and including `bp_len` (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_kind: u32,
    breakpoint_address: u64,
    breakpoint_length: u64,
}

const BREAKPOINT: u32 = 5;
const EXECUTES: u32 = 4;
const PINNED: u64 = 1 << 2;
const NOT_IN_THE_KERNEL: u64 = 1 << 5;
const NOT_IN_THE_HYPERVISOR: u64 = 1 << 6;
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;

impl Returns {
    /// Starts to count.
    ///
    /// # Errors
    ///
    /// The system does not allow it (`perf_event_paranoid`, seccomp), or no breakpoint is free.
    pub(crate) fn count(thread: u32, address: u64) -> io::Result<Self> {
        let attributes = Attributes {
            kind: BREAKPOINT,
            size: size_of::<Attributes>() as u32,
            flags: PINNED | NOT_IN_THE_KERNEL | NOT_IN_THE_HYPERVISOR,
            breakpoint_kind: EXECUTES,
            breakpoint_address: address,
            breakpoint_length: BREAKPOINT_LENGTH,
            ..Attributes::default()
        };
        let (any_cpu, no_group): (libc::c_int, libc::c_int) = (-1, -1);
        // SAFETY: the kernel reads `size` bytes of the attributes, which outlive the call, and writes
        // nothing but their field `size`.
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
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just opened this descriptor, and nobody else knows it.
        Ok(Self(unsafe { File::from_raw_fd(file as libc::c_int) }))
    }

    /// The count so far; `None` if the kernel could not count all the time.
    pub(crate) fn so_far(&self) -> Option<u64> {
        let mut count = [0; 8];
        // A pinned event that could not stay on the CPU reads as end of file.
        let read = (&self.0).read(&mut count).ok()?;
        (read == count.len()).then(|| u64::from_ne_bytes(count))
    }
}

/// Whether counting works here: on some virtual machines breakpoints never fire.
pub(crate) fn returns_are_counted() -> bool {
    #[inline(never)]
    fn come_by(number: u64) -> u64 {
        std::hint::black_box(number) + 1
    }

    // Called by the pointer, so that it is not optimized away.
    let come_by: fn(u64) -> u64 = std::hint::black_box(come_by);
    let Ok(returns) = Returns::count(crate::sys::thread_id(), come_by as usize as u64) else {
        return false;
    };
    std::hint::black_box([come_by(1), come_by(2), come_by(3)]);
    returns.so_far() == Some(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn come_by(number: u64) -> u64 {
        std::hint::black_box(number) * 2
    }

    #[test]
    fn each_time_is_counted_and_no_other() {
        let address = come_by as fn(u64) -> u64 as usize as u64;
        let Ok(returns) = Returns::count(crate::sys::thread_id(), address) else {
            assert!(!returns_are_counted());
            eprintln!("skipped: breakpoints are not allowed here");
            return;
        };
        assert!(returns_are_counted());
        assert_eq!(returns.so_far(), Some(0));
        std::thread::spawn(|| come_by(1)).join().expect("no panic");
        assert_eq!(returns.so_far(), Some(0), "another thread");
        for _ in 0..7 {
            std::hint::black_box(come_by as fn(u64) -> u64)(2);
        }
        assert_eq!(returns.so_far(), Some(7));
    }

    #[test]
    fn a_thread_that_is_not_there_is_an_error() {
        assert!(Returns::count(u32::MAX, 1).is_err());
    }
}
