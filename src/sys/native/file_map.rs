//! A file mapped into memory, to be read.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

/// The bytes of a file. Its pages belong to the page cache: they are not memory of the process's
/// own, and the kernel takes them back when it needs them.
///
/// A file that is cut short while it is mapped ends the process that reads it. What is mapped here
/// are programs, libraries and their debug information, and for a moment at a time. Whoever cuts a
/// running program short ends it anyway, since its code is mapped in the same way, and package
/// managers replace files by new ones.
#[derive(Debug)]
pub(crate) struct FileMap {
    at: NonNull<u8>,
    length: usize,
}

impl FileMap {
    /// Maps a regular file that is not empty.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let length = usize::try_from(metadata.len()).unwrap_or(0);
        if !metadata.is_file() || length == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: a new mapping, at a place of the kernel's choice, of a file that is open.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(at.cast::<u8>()) {
            Some(at) if at.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { at, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is that long, readable, and stays until `drop`. It is private and
        // nobody here writes to it; see the type for files that others change.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }
}

impl Drop for FileMap {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `open`, to which no reference is left.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_is() {
        let path = Path::new("/proc/self/exe");
        let read = std::fs::read(path).expect("this program");
        assert!(*FileMap::open(path).expect("the same") == read[..]);
    }

    #[test]
    fn what_is_no_file_or_empty_is_an_error() {
        for path in ["/", "/dev/null", "/proc/self/status", "/does/not/exist"] {
            assert!(FileMap::open(Path::new(path)).is_err(), "{path}");
        }
    }
}
