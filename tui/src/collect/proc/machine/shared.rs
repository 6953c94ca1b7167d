//! Memory that belongs to no process: file systems in memory by mount, and System V segments. Only file systems in memory are
//! asked, and only where no file system that may hang lies on the way (network, FUSE).

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, ResolveFlags},
};

use crate::collect::proc::cgroup_mounts::unescaped;

/// File systems whose files lie in memory.
const IN_MEMORY: [&[u8]; 3] = [b"tmpfs", b"devtmpfs", b"ramfs"];
/// File systems that answer without a network and without another process. A path through any other is not walked.
const LOCAL: [&[u8]; 26] = [
    b"rootfs",
    b"tmpfs",
    b"devtmpfs",
    b"ramfs",
    b"proc",
    b"sysfs",
    b"devpts",
    b"mqueue",
    b"hugetlbfs",
    b"cgroup",
    b"cgroup2",
    b"securityfs",
    b"debugfs",
    b"tracefs",
    b"configfs",
    b"bpf",
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"zfs",
    b"f2fs",
    b"overlay",
    b"squashfs",
    b"erofs",
];
/// Most mounts that are asked.
const MAX_MOUNTS: usize = 256;
/// Mounts asked in one pass; some microseconds each.
const MOUNTS_PER_PASS: usize = 32;
/// Longest table of mounts that is read.
const MOUNTS_BYTES: usize = 1 << 20;
/// Passes after which mounts are read again at the earliest, when they change all the time.
const PASSES_PER_MOUNTS: u32 = 5;
/// Longest table of segments that is read: some 500 segments.
const SEGMENTS_BYTES: usize = 64 << 10;

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryMount {
    /// Where it is mounted.
    pub point: Arc<str>,
    /// What its files take, in memory or in swap; `None` where it does not say: it has no limit, or is hidden below another.
    pub used_bytes: Option<u64>,
    /// The most that it may take.
    pub limit_bytes: Option<u64>,
}

/// System V segments of the namespace of the proc root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Segments {
    /// How many.
    pub count: u32,
    /// What of them is in memory.
    pub resident_bytes: u64,
}

/// Reads both, again and again.
#[derive(Debug, Default)]
pub(super) struct SharedReader {
    root: PathBuf,
    mountinfo: Option<OwnedFd>,
    mounts: Vec<Mount>,
    rotation: usize,
    passes: u32,
}

/// A file system in memory, in a namespace.
#[derive(Debug)]
pub(super) struct Mount {
    pub device: u64,
    pub path: PathBuf,
    pub known: MemoryMount,
}

impl SharedReader {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// All file systems in memory, as they were asked last.
    pub(crate) fn mounts(&mut self) -> Vec<MemoryMount> {
        if self.changed() {
            self.find();
        }
        let count = self.mounts.len();
        for turn in 0..count.min(MOUNTS_PER_PASS) {
            self.mounts[(self.rotation + turn) % count].ask();
        }
        self.rotation = if count > 0 { (self.rotation + MOUNTS_PER_PASS) % count } else { 0 };
        self.mounts.iter().map(|mount| mount.known.clone()).collect()
    }

    /// System V segments; `None` where they cannot be read, or where there are too many.
    pub(crate) fn segments(&self) -> Option<Segments> {
        let text = bounded(&self.root.join("sysvipc/shm"), SEGMENTS_BYTES)?;
        segments(&String::from_utf8_lossy(&text))
    }

    /// The kernel tells of a change on a descriptor that is kept.
    fn changed(&mut self) -> bool {
        self.passes = self.passes.saturating_add(1);
        let Some(mountinfo) = &self.mountinfo else { return true };
        if self.passes < PASSES_PER_MOUNTS {
            return false;
        }
        let mut wanted = [PollFd::new(mountinfo, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut wanted, Some(&now)).is_ok_and(|_| wanted[0].revents().intersects(PollFlags::PRI | PollFlags::ERR))
    }

    fn find(&mut self) {
        self.passes = 0;
        let path = self.root.join("self/mountinfo");
        let Ok(file) = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
        let mut text = vec![0; 16 << 10];
        let mut length = 0;
        while let Ok(read @ 1..) = rustix::io::read(&file, &mut text[length..]) {
            length += read;
            if length == text.len() {
                if length >= MOUNTS_BYTES {
                    break;
                }
                text.resize(length * 2, 0);
            }
        }
        let before = std::mem::take(&mut self.mounts);
        self.mounts = in_memory(&text[..length]);
        for mount in &mut self.mounts {
            if let Some(same) = before.iter().find(|same| same.device == mount.device && same.path == mount.path) {
                mount.known.clone_from(&same.known);
            }
        }
        self.mountinfo = Some(file);
    }
}

impl Mount {
    /// Asks the file system, if it is still the one that is seen there.
    fn ask(&mut self) {
        self.ask_at(Some((CWD, ResolveFlags::empty())));
    }

    /// As [`ask`](Self::ask), from the root of another namespace; without one it is not known what it has.
    pub(super) fn ask_at(&mut self, top: Option<(BorrowedFd, ResolveFlags)>) {
        let asked = (|| {
            let (top, within) = top?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let seen = rustix::fs::openat2(top, &self.path, flags, Mode::empty(), within | ResolveFlags::NO_SYMLINKS);
            let seen = match seen {
                // Before Linux 5.6, where a path cannot be kept within another root.
                Err(rustix::io::Errno::NOSYS) if within.is_empty() => {
                    rustix::fs::open(&self.path, flags, Mode::empty())
                }
                seen => seen,
            };
            let seen = seen.ok()?;
            if rustix::fs::fstat(&seen).ok()?.st_dev != self.device {
                return None;
            }
            let system = rustix::fs::fstatfs(&seen).ok()?;
            let block = u64::try_from(system.f_bsize).ok()?;
            let (all, free) = (system.f_blocks.checked_mul(block)?, system.f_bfree.checked_mul(block)?);
            (all > 0).then(|| (all.saturating_sub(free), all))
        })();
        (self.known.used_bytes, self.known.limit_bytes) = (asked.map(|(used, _)| used), asked.map(|(_, limit)| limit));
    }
}

/// The file systems in memory of a table of mounts: each once, where it is seen by the shortest path.
pub(super) fn in_memory(mountinfo: &[u8]) -> Vec<Mount> {
    let (mut found, mut elsewhere): (Vec<Mount>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let Some((device, root, path, kind)) = mount(line) else { continue };
        if !LOCAL.contains(&kind) {
            elsewhere.push(path);
        } else if IN_MEMORY.contains(&kind) {
            match found.iter().position(|known| known.device == device) {
                Some(at) if root == b"/" && path.as_os_str().len() < found[at].path.as_os_str().len() => {
                    found[at] = of(device, path);
                }
                None if found.len() < MAX_MOUNTS => found.push(of(device, path)),
                _ => {}
            }
        }
    }
    found.retain(|mount| !elsewhere.iter().any(|other| mount.path.starts_with(other)));
    found
}

fn of(device: u64, path: PathBuf) -> Mount {
    let point = path.to_string_lossy().into();
    Mount { device, path, known: MemoryMount { point, used_bytes: None, limit_bytes: None } }
}

/// Device, root, mount point and type of a line of mountinfo (proc_pid_mountinfo(5)).
fn mount(line: &[u8]) -> Option<(u64, &[u8], PathBuf, &[u8])> {
    let mut fields = line.split(|&byte| byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let (root, point) = (fields.next()?, fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    // Those with a subtype (`fuse.sshfs`) are named by it, too.
    Some((device, root, unescaped(point), kind))
}

/// The table of System V segments (proc_sysvipc_shm in the kernel's ipc/shm.c): the columns `rss` and `swap` since Linux 2.6.30.
pub(super) fn segments(text: &str) -> Option<Segments> {
    let mut lines = text.lines();
    let at = lines.next()?.split_whitespace().position(|title| title == "rss")?;
    let mut sum = Segments::default();
    for line in lines {
        let resident: u64 = line.split_whitespace().nth(at)?.parse().ok()?;
        sum.count += 1;
        sum.resident_bytes = sum.resident_bytes.saturating_add(resident);
    }
    Some(sum)
}

/// A file of at most so many bytes; `None` where it is longer.
pub(in crate::collect) fn bounded(path: &Path, most: usize) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(most as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= most).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_in_memory_are_found_once_and_never_behind_one_that_may_hang() {
        let text = b"25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw\n\
            26 24 0:23 / /var/lib/long/shm rw - tmpfs tmpfs rw\n\
            27 1 8:1 / / rw - ext4 /dev/vda rw\n\
            28 27 0:40 / /mnt/nas rw - nfs4 nas:/x rw\n\
            29 28 0:41 / /mnt/nas/scratch rw - tmpfs tmpfs rw\n\
            30 27 0:42 / /mnt/nasty rw shared:3 master:1 - tmpfs tmpfs rw\n\
            31 27 0:43 / /home/a\\040b rw - fuse.sshfs x rw\n\
            32 31 0:44 / /home/a\\040b/t rw - tmpfs t rw\n\
            broken\n33 27 x:1 / /y rw - tmpfs t rw\n34 27 0:45 / /auto rw - autofs a rw\n35 34 0:46 / /auto/t rw - tmpfs t rw\n";
        let found: Vec<_> = in_memory(text).iter().map(|mount| mount.known.point.to_string()).collect();
        assert_eq!(found, ["/dev/shm", "/mnt/nasty"]);
    }

    #[test]
    fn segments_are_added_up_by_the_title_of_their_column() {
        let text = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n         0          0  1600              67108864   401   401      1     0     0     0     0          0          0          0              67108864                     0\n         7          3   600                  4096   401   401      0     0     0     0     0          0          0          0                  8192                     0\n";
        assert_eq!(segments(text), Some(Segments { count: 2, resident_bytes: (64 << 20) + 8192 }));
        assert_eq!(segments(text.lines().next().unwrap_or_default()), Some(Segments::default()));
        for odd in ["", "key shmid\n", "key rss\n1\n", "key rss\n1 x\n", "key rss\n1 -1\n"] {
            assert_eq!(segments(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_mounted_here_is_asked() {
        let mut reader = SharedReader::new(Path::new("/proc"));
        let mounts = reader.mounts();
        // One that is mounted over another hides it.
        let shm: Vec<_> = mounts.iter().filter(|mount| &*mount.point == "/dev/shm").collect();
        let known = |mount: &&MemoryMount| mount.used_bytes.is_some_and(|used| Some(used) <= mount.limit_bytes);
        assert!(shm.is_empty() || shm.iter().any(known), "{mounts:?}");
        assert_eq!(reader.mounts().len(), mounts.len());
    }
}
