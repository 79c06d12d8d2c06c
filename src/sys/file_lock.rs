//! A file that one process at a time has open.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file to read and write, and makes it if need be; `None` while somebody else has it open by this
/// function, in this process or another. It is free as soon as it is closed, also by the end of a process.
///
/// On systems that are neither Unix nor Windows nobody is kept out.
pub(crate) fn open_alone(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open(&mut options, path)
}

#[cfg(unix)]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
    use std::os::fd::AsRawFd;

    let file = options.open(path)?;
    // SAFETY: flock touches no memory of ours, and the descriptor is open as long as `file` lives.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(Some(file));
    }
    let error = io::Error::last_os_error();
    let again = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
    if again { Ok(None) } else { Err(error) }
}

#[cfg(windows)]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
    use std::os::windows::fs::OpenOptionsExt;

    const SHARING_VIOLATION: i32 = 32;
    match options.share_mode(0).open(path) {
        Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
        opened => opened.map(Some),
    }
}

#[cfg(not(any(unix, windows)))]
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<File>> {
    options.open(path).map(Some)
}

#[cfg(all(test, any(unix, windows)))]
mod tests {
    use super::open_alone;

    #[test]
    fn a_file_is_open_once() {
        let path = std::env::temp_dir().join(format!("tower-stall-lock-{}", std::process::id()));
        let first = open_alone(&path).expect("a file");
        assert!(first.is_some() && open_alone(&path).expect("a file").is_none());
        drop(first);
        assert!(open_alone(&path).expect("a file").is_some());
        std::fs::remove_file(&path).expect("it is there");
        assert!(open_alone(&path.join("below")).is_err());
    }
}
