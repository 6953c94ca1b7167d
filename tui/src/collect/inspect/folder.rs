//! The /proc/PID of one process, held open: what is read through it is of that process or fails, also when the pid is in use
//! again.

use std::{io::Read, path::Path, sync::Arc};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, open, openat, readlinkat},
    io::Errno,
};

use crate::model::{Reading, Unread};

/// An open /proc/PID.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens the folder of a process; [`Unread::Ended`] when there is none.
    pub fn open(root: &Path, pid: u32) -> Reading<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(root.join(pid.to_string()), flags, Mode::empty()) {
            Ok(folder) => Ok(Self(folder)),
            Err(Errno::NOENT) => Err(Unread::Ended),
            Err(errno) => Err(unread(errno)),
        }
    }

    /// Opens a file of it, or with `OFlags::DIRECTORY` a folder.
    pub fn file(&self, name: &str, flags: OFlags) -> Reading<OwnedFd> {
        openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty()).map_err(unread)
    }

    /// Reads at most `most` bytes of a file.
    pub fn bytes(&self, name: &str, most: u64) -> Reading<Vec<u8>> {
        let mut content = Vec::new();
        let file = std::fs::File::from(self.file(name, OFlags::empty())?);
        file.take(most).read_to_end(&mut content).map_err(|error| unread_io(&error))?;
        Ok(content)
    }

    /// Where a link points to. Bytes that are not UTF-8 are replaced.
    pub fn link(&self, name: &str) -> Reading<Arc<str>> {
        let target = readlinkat(&self.0, name, Vec::new()).map_err(unread)?;
        Ok(target.to_string_lossy().into())
    }
}

/// What an error of the kernel means here.
pub(super) fn unread(errno: Errno) -> Unread {
    match errno {
        Errno::ACCESS | Errno::PERM => Unread::Refused,
        Errno::SRCH => Unread::Ended,
        Errno::NOENT | Errno::INVAL => Unread::Absent,
        errno => Unread::Failed(errno.raw_os_error()),
    }
}

/// As [`unread`], for errors that went through `std`.
pub(super) fn unread_io(error: &std::io::Error) -> Unread {
    Errno::from_io_error(error).map_or(Unread::Malformed, unread)
}
