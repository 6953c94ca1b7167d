//! Looks into a part of the machine's memory on demand: the biggest files of a file system in memory, System V segments, the caches
//! of the slab. Orders come through one `watch` channel, results go out through another. It takes a bounded time and stops there.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use tokio::sync::watch;

use super::{inspect, proc::bounded};
use crate::{
    model::{Contents, ContentsItem, ContentsOrder, PartKind},
    system::users::Users,
};

/// Time from one look to the next, at least; a look is followed by a hundred times as long as it took.
const EVERY: Duration = Duration::from_secs(10);
const REST: u32 = 100;
/// Longest time of a look.
const LONGEST: Duration = Duration::from_millis(300);
/// Most entries of a file system that are looked at, and how deep.
const MOST_ENTRIES: u64 = 100_000;
const MOST_LEVELS: usize = 32;
/// Folders that wait to be looked at.
const MOST_FOLDERS: usize = 10_000;
/// How many are listed.
const LISTED: usize = 100;
/// Longest table of caches or segments that is read.
const TABLE_BYTES: usize = 1 << 20;
/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of the kernel's include/uapi/linux/magic.h.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Starts looking at what is ordered, on the current tokio runtime. It ends when the sender of the orders is dropped.
/// `root` is where procfs is mounted.
pub fn spawn(
    root: PathBuf,
    mut orders: watch::Receiver<Option<ContentsOrder>>,
) -> watch::Receiver<Option<Arc<Contents>>> {
    let (found, receiver) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let order = orders.borrow_and_update().clone();
            let rest = match order {
                None => {
                    found.send_if_modified(|found| found.take().is_some());
                    None
                }
                Some(order) => {
                    let (root, of) = (root.clone(), order.clone());
                    // A file system that hangs would keep this thread, and no other.
                    let Ok(contents) = tokio::task::spawn_blocking(move || look(&root, of)).await else { return };
                    let rest = contents.took.saturating_mul(REST).max(EVERY);
                    if orders.borrow().as_ref() == Some(&order) {
                        found.send_replace(Some(Arc::new(contents)));
                    }
                    Some(rest)
                }
            };
            if !inspect::wait(&mut orders, rest).await {
                return;
            }
        }
    });
    receiver
}

/// Looks into a part once. `root` is where procfs is mounted.
pub fn look(root: &Path, of: ContentsOrder) -> Contents {
    let started = Instant::now();
    let mut biggest = Biggest::default();
    let looked = match (of.kind, &of.mount) {
        (PartKind::Tmpfs, Some(mount)) => files(Path::new(&**mount), started, &mut biggest),
        (PartKind::SystemV, _) => segments(root, &mut biggest),
        (PartKind::Slab | PartKind::SlabReclaimable, _) => caches(root, of.kind, &mut biggest),
        _ => Ok(true),
    };
    let (complete, trouble) = looked.map_or_else(|trouble| (false, trouble), |complete| (complete, String::new()));
    let Biggest { heap, rest_bytes, seen } = biggest;
    let items =
        heap.into_sorted_vec().into_iter().map(|Reverse((bytes, name, count))| ContentsItem { name, bytes, count });
    Contents { of, items: items.collect(), rest_bytes, seen, complete, took: started.elapsed(), trouble }
}

/// The biggest of many, and the sum of the others.
#[derive(Default)]
struct Biggest {
    heap: BinaryHeap<Reverse<(u64, String, Option<u64>)>>,
    rest_bytes: u64,
    seen: u64,
}

impl Biggest {
    fn add(&mut self, bytes: u64, count: Option<u64>, name: impl FnOnce() -> String) {
        self.seen += 1;
        let listed = self.heap.len() < LISTED || self.heap.peek().is_some_and(|Reverse((least, ..))| bytes > *least);
        if bytes == 0 || !listed {
            self.rest_bytes = self.rest_bytes.saturating_add(bytes);
            return;
        }
        self.heap.push(Reverse((bytes, name(), count)));
        if self.heap.len() > LISTED
            && let Some(Reverse((bytes, ..))) = self.heap.pop()
        {
            self.rest_bytes = self.rest_bytes.saturating_add(bytes);
        }
    }
}

/// Goes through a file system in memory. It follows no links and enters no other mount. False where it had to stop.
fn files(mount: &Path, started: Instant, biggest: &mut Biggest) -> Result<bool, String> {
    let failed = |errno: Errno| format!("{}: {}", mount.display(), std::io::Error::from(errno));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = match of_namespace(mount) {
        None => rustix::fs::openat2(CWD, mount, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(failed)?,
        Some((root, below)) => {
            let root = rustix::fs::open(root, flags - OFlags::NOFOLLOW, Mode::empty()).map_err(failed)?;
            let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let below = if below.as_os_str().is_empty() { Path::new("/") } else { below };
            rustix::fs::openat2(root, below, flags, Mode::empty(), within).map_err(failed)?
        }
    };
    let magic = rustix::fs::fstatfs(&top).map_err(failed)?.f_type;
    if !IN_MEMORY.contains(&(magic as u32)) {
        return Err(format!("{}: this is no file system in memory any more", mount.display()));
    }
    let within =
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut folders = vec![(PathBuf::from("."), 0)];
    let mut complete = true;
    while let Some((folder, level)) = folders.pop() {
        let opened: Result<OwnedFd, _> = rustix::fs::openat2(&top, &folder, flags, Mode::empty(), within);
        let Ok(mut entries) = opened.and_then(Dir::new) else { continue };
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if biggest.seen >= MOST_ENTRIES || started.elapsed() > LONGEST {
                return Ok(false);
            }
            let path = || folder.join(&*String::from_utf8_lossy(name.to_bytes()));
            if entry.file_type() == FileType::Directory {
                if level < MOST_LEVELS && folders.len() < MOST_FOLDERS && name.to_str().is_ok() {
                    folders.push((path(), level + 1));
                } else {
                    complete = false;
                }
                continue;
            }
            let Ok(directory) = entries.fd() else { continue };
            let Ok(status) = rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            // In units of 512 bytes, whatever a block of the file system is (inode(7)).
            let bytes = u64::try_from(status.st_blocks).unwrap_or(0).saturating_mul(512);
            biggest.add(bytes, None, || path().strip_prefix(".").unwrap_or(&path()).display().to_string());
        }
    }
    Ok(complete)
}

/// The root of another mount namespace, and the path there, of a path such as `/proc/7/root/dev/shm`.
fn of_namespace(mount: &Path) -> Option<(PathBuf, &Path)> {
    let mut names = mount.strip_prefix("/proc").ok()?.components();
    let pid: u32 = names.next()?.as_os_str().to_str()?.parse().ok()?;
    let is_root = names.next()?.as_os_str() == "root";
    is_root.then(|| (Path::new("/proc").join(pid.to_string()).join("root"), names.as_path()))
}

/// The table of System V segments.
fn segments(root: &Path, biggest: &mut Biggest) -> Result<bool, String> {
    let path = root.join("sysvipc/shm");
    let text = bounded(&path, TABLE_BYTES).ok_or_else(|| format!("{} cannot be read", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let at = |title: &str| titles.iter().position(|known| *known == title);
    let (Some(id), Some(user), Some(attached), Some(resident)) = (at("shmid"), at("uid"), at("nattch"), at("rss"))
    else {
        return Err(format!("{} is not as proc_sysvipc(5) has it", path.display()));
    };
    let mut users = Users::default();
    for line in lines {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let Some(bytes) = number(resident) else { continue };
        let owner = number(user).and_then(|uid| u32::try_from(uid).ok()).map(|uid| users.name(uid));
        let id = fields.get(id).copied().unwrap_or("?");
        biggest.add(bytes, number(attached), || format!("id {id} of {}", owner.as_deref().unwrap_or("?")));
    }
    Ok(true)
}

/// The caches of the slab (slabinfo(5)) that can, or cannot, be given back.
fn caches(root: &Path, kind: PartKind, biggest: &mut Biggest) -> Result<bool, String> {
    let path = root.join("slabinfo");
    let text =
        bounded(&path, TABLE_BYTES).ok_or_else(|| format!("{} cannot be read: it needs root", path.display()))?;
    let page = rustix::param::page_size() as u64;
    for line in String::from_utf8_lossy(&text).lines().filter(|line| !line.starts_with(['#'])) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let slabs = fields.iter().position(|field| *field == "slabdata").and_then(|at| number(at + 2));
        let (Some(name), Some(objects), Some(pages), Some(slabs)) = (fields.first(), number(1), number(5), slabs)
        else {
            continue;
        };
        let bytes = slabs.saturating_mul(pages).saturating_mul(page);
        if bytes > 0 && is_given_back(root, name).is_none_or(|back| back == kind.is_given_back()) {
            biggest.add(bytes, Some(objects), || (*name).to_owned());
        }
    }
    Ok(true)
}

/// Whether the kernel counts a cache among those that it can give back; `None` where it does not say.
fn is_given_back(root: &Path, name: &str) -> Option<bool> {
    if name.contains('/') {
        return None;
    }
    let text = bounded(&root.join("../sys/kernel/slab").join(name).join("reclaim_account"), 16)?;
    Some(text.starts_with(b"1"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn order(kind: PartKind, mount: Option<&str>) -> ContentsOrder {
        ContentsOrder { kind, mount: mount.map(Arc::from) }
    }

    #[test]
    fn the_biggest_caches_are_listed_by_whether_they_can_be_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("proc");
        fs::create_dir_all(&root).unwrap();
        let text = "slabinfo - version: 2.1\n# name <active_objs> ...\n\
            dentry 10 21 192 21 1 : tunables 0 0 0 : slabdata 7 7 0\n\
            filp 5 6 256 16 2 : tunables 0 0 0 : slabdata 3 3 0\n\
            odd 1 2 3\nminus 1 1 1 1 -1 : tunables 0 0 0 : slabdata 1 1 0\n";
        fs::write(root.join("slabinfo"), text).unwrap();
        for (name, back) in [("dentry", "1\n"), ("filp", "0\n")] {
            let cache = folder.path().join("sys/kernel/slab").join(name);
            fs::create_dir_all(&cache).unwrap();
            fs::write(cache.join("reclaim_account"), back).unwrap();
        }
        let page = rustix::param::page_size() as u64;
        for (kind, name, bytes, objects) in
            [(PartKind::SlabReclaimable, "dentry", 7 * page, 10), (PartKind::Slab, "filp", 6 * page, 5)]
        {
            let contents = look(&root, order(kind, None));
            assert_eq!(contents.items, [ContentsItem { name: name.into(), bytes, count: Some(objects) }]);
            assert!(contents.complete && contents.trouble.is_empty());
        }
        assert!(look(folder.path(), order(PartKind::Slab, None)).trouble.contains("needs root"));
    }

    #[test]
    fn the_biggest_files_are_listed_and_links_lead_nowhere() {
        // Tests may run where /dev/shm is not; then there is nothing to look at.
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
        let mount = order(PartKind::Tmpfs, folder.path().to_str());
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/big"), vec![1; 1 << 20]).unwrap();
        fs::write(folder.path().join("small\u{1b}[2J"), vec![1; 4096]).unwrap();
        std::os::unix::fs::symlink("/proc", folder.path().join("link")).unwrap();
        let contents = look(Path::new("/proc"), mount);
        let items: Vec<_> = contents.items.iter().map(|item| (&*item.name, item.bytes)).collect();
        assert_eq!(items, [("a/b/big", 1 << 20), ("small\u{1b}[2J", 4096)]);
        assert_eq!((contents.seen, contents.complete), (3, true), "{contents:?}");
        let elsewhere = look(Path::new("/proc"), order(PartKind::Tmpfs, Some("/proc")));
        assert!(elsewhere.trouble.contains("no file system in memory"), "{elsewhere:?}");
    }

    #[test]
    fn what_is_not_listed_is_added_up() {
        let mut biggest = Biggest::default();
        for bytes in 1..=LISTED as u64 + 10 {
            biggest.add(bytes, None, || bytes.to_string());
        }
        assert_eq!(
            (biggest.heap.len(), biggest.rest_bytes, biggest.seen),
            (LISTED, (1..=10).sum(), LISTED as u64 + 10)
        );
    }

    #[test]
    fn segments_have_their_id_and_owner() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sysvipc")).unwrap();
        let file = folder.path().join("sysvipc/shm");
        fs::write(
            &file,
            "key shmid perms size cpid lpid nattch uid gid rss swap\n0 7 600 9 1 1 2 4242 0 8192 0\nodd\n",
        )
        .unwrap();
        let contents = look(folder.path(), order(PartKind::SystemV, None));
        assert_eq!(contents.items, [ContentsItem { name: "id 7 of 4242".into(), bytes: 8192, count: Some(2) }]);
        fs::write(&file, "key shmid\n").unwrap();
        assert!(look(folder.path(), order(PartKind::SystemV, None)).trouble.contains("proc_sysvipc"));
    }
}
