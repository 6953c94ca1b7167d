//! Reads small files of all processes into one reused buffer, through descriptors that stay open if possible. `procfs` opens
//! them; other files here know what the bytes mean.

use std::{collections::BTreeMap, fmt::Write as _, mem::MaybeUninit, path::Path, sync::Arc};

use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{OFlags, RawDir, SeekFrom},
    io::Errno,
    process::{Resource, getrlimit, setrlimit},
};

use super::{ProcError, details::CMDLINE_BYTES};
use crate::{
    collect::{
        pool,
        procfs::{Folder, LivingThread, Procfs},
        trust::Owners,
    },
    system::users::Users,
    words::secrets::Secrets,
};

/// Descriptors that are left for the rest of the program.
const RESERVED_DESCRIPTORS: usize = 512;
/// Room for one getdents64 call.
const DIRECTORY_BYTES: usize = 32 * 1024;

/// Why a process could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It ended between the listing and the reading.
    Vanished,
    /// The kernel refuses, for example because of `hidepid`.
    Refused,
}

/// A proc root and the buffers to read it with.
#[derive(Debug)]
pub(super) struct Files {
    root: Folder,
    procfs: Procfs,
    owners: Owners,
    secrets: Secrets,
    directory: Box<[MaybeUninit<u8>]>,
    content: Box<[u8]>,
    path: String,
    users: Users,
    keep: usize,
    kept: usize,
    /// Processes whose first thread has ended, each with the thread that its files are read of; and those of the pass before.
    threads: BTreeMap<u32, u32>,
    threads_before: BTreeMap<u32, u32>,
}

impl Files {
    /// Opens the root and raises the soft limit of open descriptors to the hard one.
    pub(crate) fn open(root: &Path, passwd: &Path, owners: Owners, secrets: Secrets) -> Result<Self, ProcError> {
        let procfs = Procfs::new(root);
        let opened = procfs.open();
        let opened = opened.map_err(|errno| ProcError::Root { path: root.to_owned(), source: errno.into() })?;
        Ok(Self {
            root: opened,
            procfs,
            owners,
            secrets,
            directory: vec![MaybeUninit::uninit(); DIRECTORY_BYTES].into(),
            content: vec![0; CMDLINE_BYTES].into(),
            path: String::with_capacity(32),
            users: Users::read(passwd.to_owned()),
            keep: descriptors().saturating_sub(RESERVED_DESCRIPTORS),
            kept: 0,
            threads: BTreeMap::new(),
            threads_before: BTreeMap::new(),
        })
    }

    /// A pass begins.
    pub(crate) fn begin(&mut self) {
        self.threads_before = std::mem::take(&mut self.threads);
    }

    /// Has the files of a process whose first thread has ended read of another one, in this pass: the thread, if any lives.
    pub(crate) fn living_thread(&mut self, pid: u32) -> Option<LivingThread> {
        self.set_path(pid, "task");
        let thread = LivingThread::find(&self.root, &self.path, self.threads_before.get(&pid).copied())?;
        self.threads.insert(pid, thread.id);
        Some(thread)
    }

    /// Lists the process ids into `pids`, ascending.
    pub(crate) fn pids(&mut self, pids: &mut Vec<u32>) -> Result<(), ProcError> {
        pids.clear();
        let failed = |errno: Errno| ProcError::List { source: errno.into() };
        rustix::fs::seek(&self.root, SeekFrom::Start(0)).map_err(failed)?;
        let mut entries = RawDir::new(self.root.as_fd(), &mut self.directory);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            if let Ok(pid) = entry.file_name().to_str().unwrap_or_default().parse() {
                pids.push(pid);
            }
        }
        pids.sort_unstable();
        Ok(())
    }

    /// Reads /proc/PID/stat by the kept descriptor, or by a new one that is kept when there is room.
    pub(crate) fn stat(&mut self, pid: u32, kept: &mut Option<OwnedFd>) -> Result<&[u8], Unread> {
        if let Some(descriptor) = kept {
            // A descriptor of an ended process answers ESRCH even when its pid is in use again.
            match rustix::io::pread(descriptor, &mut *self.content, 0) {
                Ok(length) if length > 0 => return Ok(&self.content[..length]),
                _ => self.release(kept),
            }
        }
        let descriptor = self.open_file(pid, "stat").map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => Unread::Vanished,
            _ => Unread::Refused,
        })?;
        let length = rustix::io::pread(&descriptor, &mut *self.content, 0).map_err(|errno| match errno {
            Errno::SRCH => Unread::Vanished,
            _ => Unread::Refused,
        })?;
        if self.kept < self.keep {
            self.kept += 1;
            *kept = Some(descriptor);
        }
        Ok(&self.content[..length])
    }

    /// Closes a kept descriptor.
    pub(crate) fn release(&mut self, kept: &mut Option<OwnedFd>) {
        if kept.take().is_some() {
            self.kept -= 1;
        }
    }

    /// The first [`CMDLINE_BYTES`] of a file of a process; `None` when it cannot be read.
    pub(crate) fn read(&mut self, pid: u32, name: &str) -> Option<&[u8]> {
        let descriptor = self.open_of_thread(pid, name).ok()?;
        let length = rustix::io::pread(descriptor, &mut *self.content, 0).ok()?;
        Some(&self.content[..length])
    }

    /// Name of the program that a process runs, without its folders.
    pub(crate) fn program(&mut self, pid: u32) -> Option<String> {
        self.set_path(pid, "exe");
        let target = self.root.link(&self.path).ok()?;
        target.rsplit('/').next().map(str::to_owned)
    }

    /// The text of /proc/PID/smaps_rollup.
    pub(crate) fn rollup(&mut self, pid: u32) -> Result<&[u8], Errno> {
        let descriptor = self.open_of_thread(pid, "smaps_rollup")?;
        let length = rustix::io::pread(descriptor, &mut *self.content, 0)?;
        Ok(&self.content[..length])
    }

    /// Whether there is still a process of this id.
    pub(crate) fn is_there(&mut self, pid: u32) -> bool {
        self.set_path(pid, "stat");
        self.root.status(&self.path).is_ok()
    }

    /// The effective user of a process: the kernel makes it the owner of /proc/PID.
    pub(crate) fn user(&mut self, pid: u32) -> Option<Arc<str>> {
        let uid = self.uid(pid)?;
        Some(self.users.name(uid))
    }

    /// The same as a number.
    pub(crate) fn uid(&mut self, pid: u32) -> Option<u32> {
        self.set_path(pid, "");
        self.root.status(&self.path).ok().map(|status| status.st_uid)
    }

    /// The pool in which a process is whose title names `pool`.
    pub(crate) fn pool(&mut self, pid: u32, uid: Option<u32>, parent: u32, pool: &str) -> Arc<str> {
        pool::of(&self.procfs, &self.owners, &mut self.users, (pid, uid, parent), pool)
    }

    /// Keeps no descriptors from now on.
    pub(crate) fn keep_none(&mut self) {
        self.keep = 0;
    }

    /// The name of a user, or the number where it has no name.
    pub(crate) fn user_name(&mut self, uid: u32) -> Arc<str> {
        self.users.name(uid)
    }

    /// Whether secrets in command lines are masked.
    pub(crate) fn secrets(&self) -> Secrets {
        self.secrets
    }

    /// Whether the root is a procfs, and not a folder that looks like one.
    pub(crate) fn is_procfs(&self) -> bool {
        rustix::fs::fstatfs(&self.root).is_ok_and(|system| system.f_type == rustix::fs::PROC_SUPER_MAGIC)
    }

    fn open_file(&mut self, pid: u32, name: &str) -> Result<OwnedFd, Errno> {
        self.set_path(pid, name);
        self.root.file(&self.path, OFlags::empty())
    }

    /// Opens a file of a process, or of a living thread in place of its first.
    fn open_of_thread(&mut self, pid: u32, name: &str) -> Result<OwnedFd, Errno> {
        let Some(thread) = self.threads.get(&pid) else { return self.open_file(pid, name) };
        self.path.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "{pid}/task/{thread}/{name}");
        self.root.file(&self.path, OFlags::empty())
    }

    fn set_path(&mut self, pid: u32, name: &str) {
        self.path.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "{pid}/{name}");
    }
}

/// The number of descriptors this process may have, after raising the soft limit to the hard one.
fn descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current;
    limit.current = limit.maximum;
    let reached = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { soft };
    reached.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn without_room_for_descriptors_files_are_opened_for_each_reading() {
        let root = tempfile::tempdir().unwrap();
        for pid in 1..=3 {
            fs::create_dir(root.path().join(pid.to_string())).unwrap();
            fs::write(root.path().join(format!("{pid}/stat")), pid.to_string()).unwrap();
        }
        let mut files =
            Files::open(root.path(), Path::new("/nonexistent"), Owners::default(), Secrets::Masked).unwrap();
        files.keep = 2;
        let mut kept = [None, None, None];
        for _ in 0..2 {
            for (pid, kept) in (1..).zip(&mut kept) {
                assert_eq!(files.stat(pid, kept), Ok(pid.to_string().as_bytes()));
            }
            assert_eq!((kept.iter().flatten().count(), files.kept), (2, 2));
        }
        files.release(&mut kept[0]);
        files.stat(3, &mut kept[2]).unwrap();
        assert!(kept[0].is_none() && kept[2].is_some(), "a descriptor that became free is used");
        assert_eq!(files.stat(4, &mut None), Err(Unread::Vanished));
    }

    #[test]
    fn pids_are_listed_in_order() {
        let root = tempfile::tempdir().unwrap();
        let names = ["10", "9", "self", "2", "4194304", "x1", "1x", "-3", "5000000000"];
        for name in names {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let mut files =
            Files::open(root.path(), Path::new("/nonexistent"), Owners::default(), Secrets::Masked).unwrap();
        let mut pids = vec![77];
        for _ in 0..2 {
            files.pids(&mut pids).unwrap();
            assert_eq!(pids, [2, 9, 10, 4_194_304]);
        }
    }
}
