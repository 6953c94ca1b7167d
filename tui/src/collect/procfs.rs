//! Reads /proc/PID of a process below a proc root, for every collector: files up to a given size, links, memory.
//! It knows paths and how to open them; callers know what the bytes mean. A fake tree is a root like any other.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, Mode, OFlags, Stat as Status, openat, readlinkat, statat},
    io::Errno,
};

use super::proc::stat::Stat;

/// Bytes of /proc/PID/stat that are read; its name is 64 bytes at most, its 52 numbers 20 digits each.
const STAT_BYTES: u64 = 4096;
/// Threads that are looked at for one that lives. Others than the first are gone as soon as they have ended.
const THREADS: usize = 64;

/// Where a procfs is mounted, or a tree that looks like one.
#[derive(Debug, Clone)]
pub(crate) struct Procfs {
    root: Arc<Path>,
}

impl Default for Procfs {
    /// That of this machine.
    fn default() -> Self {
        Self::new(Path::new("/proc"))
    }
}

impl Procfs {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Opens the root itself, to read many processes one after the other; names in it begin with the pid.
    pub(crate) fn open(&self) -> Result<Folder, Errno> {
        Folder::open(&self.root)
    }

    /// Opens the folder of a process.
    pub(crate) fn process(&self, pid: u32) -> Result<Folder, Errno> {
        Folder::open(&self.path(pid, ""))
    }

    /// Path of a file of a process, for the kernel, which opens it itself.
    pub(crate) fn path(&self, pid: u32, name: &str) -> PathBuf {
        let mut path = self.root.join(pid.to_string());
        if !name.is_empty() {
            path.push(name);
        }
        path
    }

    /// Opens a file of a process.
    pub(crate) fn file(&self, pid: u32, name: &str) -> io::Result<File> {
        File::open(self.path(pid, name))
    }

    /// Reads at most `most` bytes of a file of a process.
    pub(crate) fn bytes(&self, pid: u32, name: &str, most: u64) -> io::Result<Vec<u8>> {
        bounded(self.file(pid, name)?, most)
    }

    /// Reads at most `most` bytes of a file of a process. Bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self, pid: u32, name: &str, most: u64) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(pid, name, most)?).into_owned())
    }

    /// Parent of a process.
    pub(crate) fn parent(&self, pid: u32) -> Option<u32> {
        let line = self.bytes(pid, "stat", STAT_BYTES).ok()?;
        Stat::parse(&line, rustix::param::clock_ticks_per_second()).map(|stat| stat.ppid)
    }

    /// When a process started, in clock ticks after boot, and its name.
    ///
    /// # Errors
    /// It is gone, or its stat file is not in the form that is documented.
    pub(crate) fn start(&self, pid: u32) -> io::Result<(u64, Arc<str>)> {
        let line = self.bytes(pid, "stat", STAT_BYTES)?;
        let stat = Stat::parse(&line, rustix::param::clock_ticks_per_second()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((stat.start_ticks, String::from_utf8_lossy(stat.comm).into()))
    }

    /// The effective user of a process: the kernel makes it the owner of /proc/PID.
    pub(crate) fn uid(&self, pid: u32) -> Option<u32> {
        std::fs::metadata(self.path(pid, "")).ok().map(|folder| folder.uid())
    }

    /// Whether there is a process of this id.
    pub(crate) fn is_there(&self, pid: u32) -> bool {
        self.path(pid, "").exists()
    }

    /// The ids of all processes, in no order; none where the root cannot be listed.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }
}

/// An open folder: that of one process, through which only this process is read, also when its pid is in use again; or a
/// root.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(Self)
    }

    /// Opens a file in it, or with `OFlags::DIRECTORY` a folder. It does not allocate for names of ordinary length.
    pub(crate) fn file(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty())
    }

    /// Opens a folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<Self, Errno> {
        self.file(name, OFlags::DIRECTORY).map(Self)
    }

    /// Reads at most `most` bytes of a file.
    pub(crate) fn bytes(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        bounded(self.file(name, OFlags::empty())?.into(), most)
    }

    /// Where a link points to. Bytes that are not UTF-8 are replaced.
    pub(crate) fn link(&self, name: &str) -> Result<Arc<str>, Errno> {
        readlinkat(&self.0, name, Vec::new()).map(|target| target.to_string_lossy().into())
    }

    /// Owner and the like of what is there.
    pub(crate) fn status(&self, name: &str) -> Result<Status, Errno> {
        statat(&self.0, name, AtFlags::empty())
    }
}

/// A thread of a process whose first one has ended. The kernel keeps the first as a zombie until all have ended, with no memory, no
/// command line and the state `Z`; what the process has is shown by the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LivingThread {
    /// Number.
    pub id: u32,
    /// State letter.
    pub state: char,
    /// Resident pages of the process.
    pub rss_pages: u64,
}

impl LivingThread {
    /// Looks for one in `task`, the path of a process's folder of threads below `folder`; first at the one that was `known`.
    pub(crate) fn find(folder: &Folder, task: &str, known: Option<u32>) -> Option<Self> {
        let read = |id: u32| {
            let line = folder.bytes(&format!("{task}/{id}/stat"), STAT_BYTES).ok()?;
            let stat = Stat::parse(&line, rustix::param::clock_ticks_per_second())?;
            let lives = !matches!(stat.state, 'Z' | 'X') && stat.pid == id;
            lives.then_some(Self { id, state: stat.state, rss_pages: stat.rss_pages })
        };
        known.and_then(read).or_else(|| {
            let threads = Dir::read_from(folder.file(task, OFlags::DIRECTORY).ok()?).ok()?;
            let ids = threads.flatten().filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok());
            ids.take(THREADS).find_map(read)
        })
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn bounded(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
pub(crate) mod fake {
    //! A tree that looks like a procfs.

    use std::fs;

    use super::Procfs;

    /// A root in a folder of its own, which is removed with it.
    #[derive(Debug)]
    pub(crate) struct Fake {
        folder: tempfile::TempDir,
        pub procfs: Procfs,
    }

    impl Fake {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { procfs: Procfs::new(folder.path()), folder }
        }

        /// Writes a file of a process.
        pub(crate) fn write(&self, pid: u32, name: &str, content: impl AsRef<[u8]>) -> &Self {
            fs::create_dir_all(self.folder.path().join(pid.to_string())).unwrap();
            fs::write(self.procfs.path(pid, name), content).unwrap();
            self
        }

        /// Makes a process with a name and a parent.
        pub(crate) fn process(&self, pid: u32, comm: &str, parent: u32) -> &Self {
            let numbers = "0 0 0 -1 0 0 0 0 0 70 30 0 0 20 0 1 0 123456 1000000 2048";
            self.write(pid, "stat", format!("{pid} ({comm}) S {parent} {numbers}\n"));
            self.write(pid, "comm", format!("{comm}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fake::Fake, *};

    #[test]
    fn what_is_read_is_bounded_and_of_the_process_that_was_asked_for() {
        let fake = Fake::new();
        fake.process(7, "a) S 3 (b", 5).write(7, "cmdline", b"php\0\xff\0x.php\0").process(9, "other", 1);
        let procfs = &fake.procfs;
        assert_eq!((procfs.parent(7), procfs.parent(9), procfs.parent(8)), (Some(5), Some(1), None));
        assert_eq!(procfs.bytes(7, "cmdline", 4).unwrap(), b"php\0");
        assert_eq!(procfs.text(7, "cmdline", 64).unwrap(), "php\0\u{fffd}\0x.php\0");
        assert_eq!((procfs.is_there(7), procfs.is_there(8)), (true, false));
        let mut pids = procfs.pids();
        pids.sort_unstable();
        assert_eq!(pids, [7, 9]);
        assert_eq!(procfs.bytes(8, "stat", 9).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(Procfs::new(Path::new("/nonexistent")).pids(), [0; 0]);
    }

    #[test]
    fn the_parent_of_this_test_is_found() {
        let procfs = Procfs::default();
        assert_eq!(procfs.parent(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!(procfs.parent(u32::MAX), None);
    }
}
