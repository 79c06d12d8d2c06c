//! Files of one thread that are kept open. They report when the thread has ended, even if another
//! thread has its id by then.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::lines::{Schedstat, Status, ThreadState};

/// More than the kernel writes into `syscall` or `schedstat`.
const LONGEST_LINE: usize = 256;
/// More than the kernel writes into `status`.
const LONGEST_STATUS: usize = 8192;

/// Open files of one thread.
pub(crate) struct ThreadFiles {
    syscall: File,
    schedstat: File,
    status: File,
}

/// The content of `schedstat` and `syscall`. If it is the same before and after a copy of the stack,
/// the thread stood still.
#[derive(PartialEq, Eq)]
pub(crate) struct Moment {
    schedstat: String,
    syscall: String,
}

impl Moment {
    /// Where the thread was.
    pub(crate) fn state(&self) -> ThreadState {
        ThreadState::of_syscall(&self.syscall)
    }
}

impl ThreadFiles {
    /// # Errors
    ///
    /// Why the files cannot be opened, in words.
    pub(crate) fn open(thread: u32) -> Result<Self, &'static str> {
        let open = |file: &str| {
            File::open(format!("/proc/self/task/{thread}/{file}")).map_err(|error| why(&error))
        };
        Ok(Self {
            syscall: open("syscall")?,
            schedstat: open("schedstat")?,
            status: open("status")?,
        })
    }

    /// # Errors
    ///
    /// The thread has ended, or the kernel does not show whether it stands still.
    pub(crate) fn moment(&self) -> Result<Moment, &'static str> {
        let schedstat = read::<LONGEST_LINE>(&self.schedstat)?;
        if Schedstat::parse(&schedstat).is_none() {
            return Err("the kernel keeps no schedstat");
        }
        Ok(Moment { schedstat, syscall: read::<LONGEST_LINE>(&self.syscall)? })
    }

    /// Whether the thread is in no system call.
    pub(crate) fn runs(&self) -> bool {
        let line = read::<LONGEST_LINE>(&self.syscall);
        line.is_ok_and(|line| ThreadState::of_syscall(&line) == ThreadState::Running)
    }

    /// # Errors
    ///
    /// The thread has ended.
    pub(crate) fn status(&self) -> Result<Status, &'static str> {
        Ok(Status::parse(&read::<LONGEST_STATUS>(&self.status)?))
    }
}

fn read<const LONGEST: usize>(file: &File) -> Result<String, &'static str> {
    let mut bytes = [0; LONGEST];
    match file.read_at(&mut bytes, 0).map_err(|error| why(&error))? {
        0 => Err("the thread has ended"),
        // The name of a thread, in the first line of `status`, may hold any bytes.
        length => Ok(String::from_utf8_lossy(&bytes[..length]).into_owned()),
    }
}

fn why(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "no such thread, or /proc does not show it",
        io::ErrorKind::PermissionDenied => "/proc does not show the thread: permission denied",
        // Among them ESRCH, which the files report once the thread has ended.
        _ => "/proc does not show the thread",
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_said() {
        let why = |errno| why(&io::Error::from_raw_os_error(errno));
        assert_eq!(why(libc::ENOENT), "no such thread, or /proc does not show it");
        assert_eq!(why(libc::EACCES), "/proc does not show the thread: permission denied");
        assert_eq!(why(libc::ESRCH), "/proc does not show the thread");
    }

    #[test]
    fn a_thread_is_found_and_what_is_none_is_not() {
        let own = ThreadFiles::open(crate::sys::thread_id()).expect("its files");
        // The kernel knows of a thread that reads its own line where it is.
        assert_ne!(own.moment().expect("its lines").state(), ThreadState::Unknown);
        let waits = || own.status().expect("its status").waits.expect("a number");
        let before = waits();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(waits() > before);
        assert!(ThreadFiles::open(0).is_err());
    }
}
