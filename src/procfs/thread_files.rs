//! Files of one thread that are kept open: when the thread has ended they say so, whoever has its
//! number by then.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::lines::{Schedstat, Status, ThreadState};

/// Longer than any line of `syscall` and `schedstat`.
const LONGEST_LINE: usize = 256;
/// More than the kernel writes into `status`.
const LONGEST_STATUS: usize = 8192;

/// Open files of one thread.
pub(crate) struct ThreadFiles {
    syscall: File,
    schedstat: File,
    status: File,
}

/// What must be the same before and after a copy of a stack, for the thread to have stood still: the
/// bytes themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    schedstat: Text<LONGEST_LINE>,
    syscall: Text<LONGEST_LINE>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Text<const LONGEST: usize> {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Moment {
    /// Where the thread was.
    pub(crate) fn state(&self) -> ThreadState {
        ThreadState::of_syscall(&self.syscall.text())
    }
}

impl ThreadFiles {
    /// # Errors
    ///
    /// What keeps the files from being opened, in words.
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
    /// The thread has ended, or the kernel does not tell whether it stands still.
    pub(crate) fn moment(&self) -> Result<Moment, &'static str> {
        let schedstat = read(&self.schedstat)?;
        if Schedstat::parse(&schedstat.text()).is_none() {
            return Err("the kernel keeps no schedstat");
        }
        Ok(Moment { schedstat, syscall: read(&self.syscall)? })
    }

    /// Whether the thread is not in a call.
    pub(crate) fn runs(&self) -> bool {
        let line = read::<LONGEST_LINE>(&self.syscall);
        line.is_ok_and(|line| ThreadState::of_syscall(&line.text()) == ThreadState::Running)
    }

    /// # Errors
    ///
    /// The thread has ended.
    pub(crate) fn status(&self) -> Result<Status, &'static str> {
        Ok(Status::parse(&read::<LONGEST_STATUS>(&self.status)?.text()))
    }
}

impl<const LONGEST: usize> Text<LONGEST> {
    /// A thread may have any bytes for its name, in the first line of `status`.
    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes[..self.length])
    }
}

fn read<const LONGEST: usize>(file: &File) -> Result<Text<LONGEST>, &'static str> {
    let mut bytes = [0; LONGEST];
    let length = file.read_at(&mut bytes, 0).map_err(|error| why(&error))?;
    if length == 0 { Err("the thread has ended") } else { Ok(Text { bytes, length }) }
}

fn why(error: &io::Error) -> &'static str {
    match error.kind() {
        // ESRCH, which has no kind of its own, is what the files of a thread say that has ended.
        io::ErrorKind::NotFound => "no such thread, or /proc does not show it",
        io::ErrorKind::PermissionDenied => "/proc does not show the thread: permission denied",
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
