//! How often a thread comes to an address: a hardware breakpoint, counted by the kernel.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use counting::Returns;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) use nothing::Returns;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod counting {
    use std::fs::File;
    use std::io::{self, Read};

    use crate::sys::perf::{self, Attributes, OWN_CODE, PINNED};

    /// Counts, until it is dropped, how often one thread comes to one address. Nothing happens to
    /// the thread but that each time takes it about a microsecond longer.
    #[derive(Debug)]
    pub(crate) struct Returns(File);

    const BREAKPOINT: u32 = 5;
    const EXECUTES: u32 = 4;

    impl Returns {
        /// Begins to count.
        ///
        /// # Errors
        ///
        /// The system does not allow it (`perf_event_paranoid`, a filter of system calls), or has
        /// no breakpoint left.
        pub(crate) fn count(thread: u32, address: u64) -> io::Result<Self> {
            let attributes = Attributes {
                kind: BREAKPOINT,
                flags: PINNED | OWN_CODE,
                breakpoint_kind: EXECUTES,
                breakpoint_address: address,
                breakpoint_length: size_of::<libc::c_long>() as u64,
                ..Attributes::default()
            };
            Ok(Self(perf::open(attributes, thread)?.into()))
        }

        /// How often so far; `None` where the kernel could not count all the time.
        pub(crate) fn so_far(&self) -> Option<u64> {
            let mut count = [0; 8];
            // What cannot be on the CPU all the time reads as nothing.
            let read = (&self.0).read(&mut count).ok()?;
            (read == count.len()).then(|| u64::from_ne_bytes(count))
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod nothing {
    use std::io;

    /// Nothing is counted here.
    #[derive(Debug)]
    pub(crate) enum Returns {}

    impl Returns {
        pub(crate) fn count(_: u32, _: u64) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn so_far(&self) -> Option<u64> {
            match *self {}
        }
    }
}

/// Whether counting works here: some virtual machines have breakpoints that never are.
pub(crate) fn returns_are_counted() -> bool {
    #[inline(never)]
    fn come_by(number: u64) -> u64 {
        std::hint::black_box(number) + 1
    }

    // Called by the pointer, so that it is not optimized away.
    let come_by: fn(u64) -> u64 = std::hint::black_box(come_by);
    let Ok(returns) = Returns::count(super::thread_id(), come_by as usize as u64) else {
        return false;
    };
    std::hint::black_box([come_by(1), come_by(2), come_by(3)]);
    returns.so_far() == Some(3)
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
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

    #[cfg(feature = "capture")]
    #[test]
    fn under_a_filter_of_system_calls_nothing_is_tried() {
        let counted = std::thread::spawn(|| {
            crate::sys::testing::filter_system_calls();
            Returns::count(crate::sys::thread_id(), 1).map(drop)
        });
        let error = counted.join().expect("no panic").expect_err("not tried");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(error.raw_os_error(), None, "it is ours, not the system's");
    }

    #[test]
    fn a_thread_that_is_not_there_is_an_error() {
        assert!(Returns::count(u32::MAX, 1).is_err());
    }
}
