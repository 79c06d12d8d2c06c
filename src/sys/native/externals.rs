//! Functions of libraries that the clean-up of a frame calls, told apart by their addresses.

use std::sync::OnceLock;

use super::arch::thread_area;

/// What such a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum External {
    /// It goes on with the unwinding, and does not return.
    Resume,
    /// It gives something back, and changes no memory that is still used.
    Frees,
    /// A system call with any number.
    SystemCall,
    /// It tells where libc's data about the thread lies.
    ThreadArea,
    /// It tells where the thread has its last error.
    ErrorNumber,
    /// It looks a value up that the kernel has given to the process.
    SystemValue,
    /// It copies memory, as `memmove` does.
    Copies,
}

/// The function at `address`.
pub(crate) fn external(address: u64) -> Option<External> {
    static KNOWN: OnceLock<[(u64, External); 11]> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        [
            (resume(), External::Resume),
            (libc::free as *const () as u64, External::Frees),
            (libc::close as *const () as u64, External::Frees),
            (libc::sigaltstack as *const () as u64, External::Frees),
            (libc::munmap as *const () as u64, External::Frees),
            (libc::pthread_self as *const () as u64, External::ThreadArea),
            (libc::__errno_location as *const () as u64, External::ErrorNumber),
            (libc::getauxval as *const () as u64, External::SystemValue),
            (libc::syscall as *const () as u64, External::SystemCall),
            (libc::memcpy as *const () as u64, External::Copies),
            (libc::memmove as *const () as u64, External::Copies),
        ]
    });
    let known = known.iter().find(|(at, _)| *at == address && *at != 0);
    known.map(|(_, external)| *external)
}

/// Where a thread has its last error, relative to libc's data about it: the same for each thread.
pub(crate) fn error_offset() -> u64 {
    // SAFETY: it only tells an address, and has no preconditions.
    let own = unsafe { libc::__errno_location() } as u64;
    own.wrapping_sub(thread_area())
}

/// The value of that kind that the kernel has given to the process; 0 for none.
pub(crate) fn system_value(kind: u64) -> u64 {
    // SAFETY: it only looks for the number in a list that the process has from its begin.
    unsafe { libc::getauxval(kind) }
}

/// The address of the function that goes on with unwinding; 0 where it is not in a library.
fn resume() -> u64 {
    // SAFETY: the name ends with a nul, and the handle stands for all that is loaded. The function is
    // not called.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_Unwind_Resume".as_ptr()) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unwinder_is_known() {
        assert_ne!(resume(), 0);
        assert_eq!(external(resume()), Some(External::Resume));
        assert_eq!(external(libc::free as *const () as u64), Some(External::Frees));
        assert_eq!(external(libc::malloc as *const () as u64), None);
        assert_eq!(external(0), None);
    }
}
