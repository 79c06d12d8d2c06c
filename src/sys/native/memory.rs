//! Reads memory of this process without a fault where nothing is mapped.

use std::os::unix::fs::FileExt;

/// No piece of a copy crosses a page, so that everything before an unmapped page is copied.
pub(super) const PAGE: u64 = 4096;
/// Pieces in one call: 256 KiB, and one more for an unaligned start.
pub(super) const PIECES: usize = 65;

pub(super) const NO_PIECE: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// Copies from `address` on, until memory is not readable or `into` is full. Returns how many bytes
/// were copied.
pub(crate) fn copy(address: u64, into: &mut [u8]) -> usize {
    let process = std::process::id() as libc::pid_t;
    let mut pieces = [NO_PIECE; PIECES];
    let mut done = 0;
    while done < into.len() {
        let Some(from) = address.checked_add(done as u64) else { break };
        let rest = &mut into[done..];
        // SAFETY: `rest` is valid for writes of its length, and borrowed exclusively.
        let copied =
            unsafe { copy_pieces(process, from, rest.as_mut_ptr(), rest.len(), &mut pieces) };
        match copied {
            Ok(0) => break,
            Ok(copied) => done += copied,
            Err(libc::EFAULT) => break,
            // The call is forbidden, or not built into this kernel.
            Err(_) => return done + copy_by_file(from, rest),
        }
    }
    done
}

/// The fallback, by `/proc/self/mem`.
fn copy_by_file(address: u64, into: &mut [u8]) -> usize {
    // Opened each time: a file that was opened before a fork shows the parent's memory.
    let Ok(memory) = std::fs::File::open("/proc/self/mem") else { return 0 };
    let mut done = 0;
    while done < into.len() {
        // The kernel reads the file page by page and stops before an unmapped page.
        match memory.read_at(&mut into[done..], address.wrapping_add(done as u64)) {
            Ok(0) | Err(_) => break,
            Ok(read) => done += read,
        }
    }
    done
}

/// Copies from `address` to `into`, as much as the pieces can hold. The error is an errno.
/// Async-signal-safe: one system call, no allocation, nothing else.
///
/// # Safety
///
/// `into` is valid for writes of `length` bytes, and nobody else accesses them meanwhile.
pub(super) unsafe fn copy_pieces(
    process: libc::pid_t,
    address: u64,
    into: *mut u8,
    length: usize,
    pieces: &mut [libc::iovec; PIECES],
) -> Result<usize, i32> {
    let mut count = 0;
    let mut at = address;
    let end = address.saturating_add(length as u64);
    for piece in pieces.iter_mut() {
        if at >= end {
            break;
        }
        let page_end = (at | (PAGE - 1)).saturating_add(1);
        let piece_end = page_end.min(end);
        let (iov_base, iov_len) = (at as *mut libc::c_void, (piece_end - at) as usize);
        *piece = libc::iovec { iov_base, iov_len };
        at = piece_end;
        count += 1;
    }
    let local = libc::iovec { iov_base: into.cast(), iov_len: (at - address) as usize };
    // SAFETY: the kernel checks the remote pieces and writes only into `local`, which the caller
    // vouches for (`at - address` is at most `length`). Both lists live until the call returns.
    let copied = unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            libc::c_long::from(process),
            &raw const local,
            1_usize,
            pieces.as_ptr(),
            count as usize,
            0_usize,
        )
    };
    if copied < 0 { Err(errno()) } else { Ok(copied as usize) }
}

/// The error of the last call of libc that failed on this thread.
pub(super) fn errno() -> i32 {
    // SAFETY: libc gives each thread its own errno, valid as long as the thread.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pages of which the middle one may not be read.
    struct Pages(*mut libc::c_void);

    impl Pages {
        fn new() -> Self {
            let page = PAGE as usize;
            // SAFETY: a new mapping at a place of the kernel's choice.
            let at = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    3 * page,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(at, libc::MAP_FAILED);
            // SAFETY: all within the mapping made above.
            unsafe {
                at.cast::<u8>().write_bytes(7, page);
                assert_eq!(libc::mprotect(at.byte_add(page), page, libc::PROT_NONE), 0);
            }
            Self(at)
        }

        fn address(&self) -> u64 {
            self.0 as u64
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // SAFETY: the mapping made in `new`, which nobody refers to any more.
            unsafe { libc::munmap(self.0, 3 * PAGE as usize) };
        }
    }

    #[test]
    fn what_is_readable_is_copied() {
        let source: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let mut copied = vec![0; source.len()];
        assert_eq!(copy(source.as_ptr() as u64, &mut copied), source.len());
        assert_eq!(copied, source);
    }

    #[test]
    fn a_copy_ends_where_memory_does() {
        let pages = Pages::new();
        let mut into = [0; 8192];
        assert_eq!(copy(pages.address() + PAGE - 100, &mut into), 100);
        assert_eq!(into[..100], [7; 100]);
        assert_eq!(copy(pages.address() + PAGE, &mut into), 0);
        assert_eq!(copy(8, &mut [0; 8]), 0);
        assert_eq!(copy(u64::MAX - 3, &mut [0; 8]), 0);
    }

    #[test]
    fn the_second_way_copies_the_same() {
        let source: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut copied = vec![0; source.len()];
        assert_eq!(copy_by_file(source.as_ptr() as u64, &mut copied), source.len());
        assert_eq!(copied, source);
        for nowhere in [8, u64::MAX - 3, u64::MAX] {
            assert_eq!(copy_by_file(nowhere, &mut [0; 8]), 0);
        }
    }
}
