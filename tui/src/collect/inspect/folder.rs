//! The /proc/PID of one process, held open, and why a value of it is missing.

use std::sync::Arc;

use rustix::{fd::OwnedFd, fs::OFlags, io::Errno};

use crate::{
    collect::procfs::{self, LivingThread, Procfs},
    model::{Reading, Unread},
};

/// An open /proc/PID.
#[derive(Debug)]
pub(super) struct Folder(procfs::Folder);

impl Folder {
    /// Opens the folder of a process; [`Unread::Ended`] when there is none.
    pub(crate) fn open(procfs: &Procfs, pid: u32) -> Reading<Self> {
        match procfs.process(pid) {
            Ok(folder) => Ok(Self(folder)),
            Err(Errno::NOENT) => Err(Unread::Ended),
            Err(errno) => Err(unread(errno)),
        }
    }

    /// That of a thread that lives, of a process whose first thread has ended, and its resident pages; `None` where none does.
    pub(crate) fn living_thread(&self) -> Option<(Self, char, u64)> {
        let thread = LivingThread::find(&self.0, "task", None)?;
        let folder = self.0.folder(&format!("task/{}", thread.id)).ok()?;
        Some((Self(folder), thread.state, thread.rss_pages))
    }

    /// Opens a file of it, or with `OFlags::DIRECTORY` a folder.
    pub(crate) fn file(&self, name: &str, flags: OFlags) -> Reading<OwnedFd> {
        self.0.file(name, flags).map_err(unread)
    }

    /// Reads at most `most` bytes of a file.
    pub(crate) fn bytes(&self, name: &str, most: u64) -> Reading<Vec<u8>> {
        self.0.bytes(name, most).map_err(|error| unread_io(&error))
    }

    /// Where a link points to. Bytes that are not UTF-8 are replaced.
    pub(crate) fn link(&self, name: &str) -> Reading<Arc<str>> {
        self.0.link(name).map_err(unread)
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
