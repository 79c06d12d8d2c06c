//! A thread of this process as the kernel shows it in `/proc`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::state::{self, ThreadState};
use crate::sys::Given;
use crate::sys::signal::has_signal;

/// Longer than any line of these files.
const LONGEST_LINE: usize = 256;
/// More than the kernel writes into `status`.
const LONGEST_STATUS: usize = 8192;

/// Open files of one thread: when it has ended they say so, whoever has its number by then.
pub(super) struct ThreadFiles {
    syscall: File,
    schedstat: File,
    status: File,
}

/// What must be the same before and after a copy, for the thread to have stood still.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    schedstat: Line,
    syscall: Line,
}

type Line = ([u8; LONGEST_LINE], usize);

impl Moment {
    /// The call that the thread is in, if it is in one, and what that was given in memory.
    pub(super) fn given(&self) -> Option<(&'static str, Given)> {
        let (line, length) = &self.syscall;
        state::given(std::str::from_utf8(&line[..*length]).ok()?)
    }
}

impl ThreadFiles {
    /// # Errors
    ///
    /// What keeps the files from being opened, in words.
    pub(super) fn open(thread: u32) -> Result<Self, &'static str> {
        let open = |file: &str| {
            File::open(format!("/proc/self/task/{thread}/{file}")).map_err(|error| why(&error))
        };
        Ok(Self {
            syscall: open("syscall")?,
            schedstat: open("schedstat")?,
            status: open("status")?,
        })
    }

    /// What the thread does now.
    pub(super) fn look(&self) -> Result<(ThreadState, Moment), &'static str> {
        let moment = self.moment()?;
        let (line, length) = &moment.syscall;
        let line = std::str::from_utf8(&line[..*length]).ok();
        match line.and_then(state::parse) {
            Some(state) => Ok((state, moment)),
            None => Err("the thread has no stack"),
        }
    }

    pub(super) fn moment(&self) -> Result<Moment, &'static str> {
        let schedstat = read(&self.schedstat)?;
        // A kernel without these statistics says so for every thread. One that has them counts at
        // least the turn in which the thread began.
        if schedstat.0.starts_with(b"0 0 0\n") {
            return Err("the kernel keeps no schedstat");
        }
        Ok(Moment { schedstat, syscall: read(&self.syscall)? })
    }

    /// Whether the thread is not in a call.
    pub(super) fn runs(&self) -> bool {
        let line = read(&self.syscall);
        let state = line.as_ref().ok().and_then(|(line, length)| {
            std::str::from_utf8(&line[..*length]).ok().and_then(state::parse)
        });
        matches!(state, Some(ThreadState::Running))
    }

    /// Whether the thread lets no signal of ours through.
    pub(super) fn is_deaf(&self) -> Result<bool, &'static str> {
        Ok(has_signal(&self.status()?, "SigBlk:"))
    }

    /// How often the thread has begun to wait for something, since it began.
    pub(super) fn waits(&self) -> Result<u64, &'static str> {
        let text = self.status()?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|number| number.trim().parse().ok()).ok_or("the kernel does not count waits")
    }

    fn status(&self) -> Result<String, &'static str> {
        let mut text = [0; LONGEST_STATUS];
        let length = self.status.read_at(&mut text, 0).map_err(|error| why(&error))?;
        Ok(String::from_utf8_lossy(&text[..length]).into_owned())
    }
}

fn read(file: &File) -> Result<Line, &'static str> {
    let mut line = [0; LONGEST_LINE];
    let length = file.read_at(&mut line, 0).map_err(|error| why(&error))?;
    if length == 0 { Err("the thread has ended") } else { Ok((line, length)) }
}

fn why(error: &io::Error) -> &'static str {
    match error.kind() {
        // ESRCH, which has no kind of its own, is what the files of a thread say that has ended.
        io::ErrorKind::NotFound => "no such thread, or /proc does not show it",
        io::ErrorKind::PermissionDenied => "/proc does not show the thread: permission denied",
        _ => "/proc does not show the thread",
    }
}

#[cfg(test)]
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
        assert!(own.look().is_ok());
        let before = own.waits().expect("a number");
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(own.waits().expect("a number") > before);
        assert!(ThreadFiles::open(0).is_err());
    }
}
