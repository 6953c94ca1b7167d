//! File systems in memory of other mount namespaces, such as those of containers. A thread of its own looks for the namespaces and
//! asks: what may hang in there hangs this thread, which is then not asked again.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Dir, Mode, OFlags, ResolveFlags},
    time::{ClockId, clock_gettime},
};

use super::shared::{MemoryMount, Mount, bounded, in_memory};

/// Namespaces that are known at once, and those that are read for the first time in a round.
const MAX_NAMESPACES: usize = 64;
const NEW_PER_ROUND: usize = 4;
/// Processes that are asked for their namespace in a round, and in the first.
const PROCESSES_PER_ROUND: usize = 64;
const PROCESSES_AT_FIRST: usize = 1024;
/// File systems that are asked in a round, and those that are known at once.
const MOUNTS_PER_ROUND: usize = 32;
const MAX_MOUNTS: usize = 256;
/// Longest table of mounts that is read; of a longer one nothing is taken.
const MOUNTS_BYTES: usize = 256 << 10;
/// After a round it rests for so many times the CPU time that it took, but no longer than this: a round is bounded, too.
const REST: u32 = 2_000;
const LONGEST_REST: Duration = Duration::from_secs(3);
/// Looks without an answer after which it is left behind.
const PATIENCE: u32 = 5;

/// What is known of them, and the thread that looks.
#[derive(Debug)]
pub(super) struct Namespaces {
    asks: SyncSender<()>,
    answers: Receiver<(Vec<MemoryMount>, Duration)>,
    known: Vec<MemoryMount>,
    /// Looks since it was asked; `None` while it rests.
    waits: Option<u32>,
    rests_until: Option<Instant>,
}

impl Namespaces {
    /// Starts the thread; `None` where that cannot be done. It ends when this is dropped.
    pub(super) fn start(root: &Path) -> Option<Self> {
        let (asks, asked) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let mut reader = Reader::new(root);
        let work = move || {
            while asked.recv().is_ok() {
                let started = clock_gettime(ClockId::ThreadCPUTime);
                reader.round();
                let cost = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - started).unwrap_or_default();
                if answer.send((reader.mounts(), cost)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("namespaces".to_owned()).spawn(work).ok()?;
        Some(Self { asks, answers, known: Vec::new(), waits: None, rests_until: None })
    }

    /// What was found last; and has the next round begin if it is time. It never waits.
    pub(super) fn look(&mut self) -> &[MemoryMount] {
        match self.answers.try_recv() {
            Ok((mounts, cost)) => {
                self.known = mounts;
                self.waits = None;
                self.rests_until = Instant::now().checked_add(cost.saturating_mul(REST).min(LONGEST_REST));
            }
            Err(TryRecvError::Empty) => self.waits = self.waits.map(|looks| looks.saturating_add(1)),
            Err(TryRecvError::Disconnected) => self.known.clear(),
        }
        match self.waits {
            // What it said before is no longer known to be so.
            Some(PATIENCE..) => self.known.clear(),
            Some(_) => {}
            None if self.rests_until.is_none_or(|until| Instant::now() >= until) => {
                self.waits = self.asks.try_send(()).is_ok().then_some(0);
            }
            None => {}
        }
        &self.known
    }
}

/// A mount namespace.
#[derive(Debug)]
struct Namespace {
    /// A process in it.
    pid: u32,
    mounts: Vec<Mount>,
}

/// Looks, a bounded number at a time.
#[derive(Debug)]
struct Reader {
    root: PathBuf,
    /// Processes that are still to be asked, the next at the end.
    processes: Vec<u32>,
    listed: bool,
    namespaces: HashMap<u64, Namespace>,
    /// The namespace whose table is read again next, and the mount that is asked next.
    rotation: usize,
    mounts_rotation: usize,
}

impl Reader {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            processes: Vec::new(),
            listed: false,
            namespaces: HashMap::new(),
            rotation: 0,
            mounts_rotation: 0,
        }
    }

    fn round(&mut self) {
        let most = if self.listed { PROCESSES_PER_ROUND } else { PROCESSES_AT_FIRST };
        if self.processes.is_empty() {
            self.processes = self.list();
            self.listed = true;
        }
        let Some(own) = self.namespace_of("self") else { return };
        let mut gone = Vec::new();
        for (&id, namespace) in &self.namespaces {
            if self.namespace_of(&namespace.pid.to_string()) != Some(id) {
                gone.push(id);
            }
        }
        for id in gone {
            self.namespaces.remove(&id);
        }
        let mut new = 0;
        for _ in 0..most.min(self.processes.len()) {
            let Some(pid) = self.processes.pop() else { break };
            let id = self.namespace_of(&pid.to_string());
            let Some(id) = id.filter(|id| *id != own && !self.namespaces.contains_key(id)) else { continue };
            if new == NEW_PER_ROUND || self.namespaces.len() == MAX_NAMESPACES {
                // Its turn comes in the next round, or when there is room.
                if new == NEW_PER_ROUND {
                    self.processes.push(pid);
                }
                break;
            }
            new += 1;
            self.namespaces.insert(id, Namespace { pid, mounts: Vec::new() });
            self.read(id);
        }
        let mut ids: Vec<u64> = self.namespaces.keys().copied().collect();
        ids.sort_unstable();
        if !ids.is_empty() {
            self.rotation = (self.rotation + 1) % ids.len();
            self.read(ids[self.rotation]);
        }
        self.ask(&ids);
    }

    /// All processes, the newest first to be asked.
    fn list(&self) -> Vec<u32> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.root, flags, Mode::empty()).and_then(Dir::new);
        let names = opened.into_iter().flatten().filter_map(Result::ok);
        let mut pids: Vec<u32> = names.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok()).collect();
        pids.sort_unstable();
        pids
    }

    /// The number of a process's mount namespace, of a link such as `mnt:[4026531841]`.
    fn namespace_of(&self, process: &str) -> Option<u64> {
        let link = rustix::fs::readlink(self.root.join(process).join("ns/mnt"), Vec::new()).ok()?;
        link.to_str().ok()?.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
    }

    /// Reads the mounts of a namespace. Those that are seen elsewhere, too, are left out.
    fn read(&mut self, id: u64) {
        let own = bounded(&self.root.join("self/mountinfo"), MOUNTS_BYTES).unwrap_or_default();
        let own = in_memory(&own);
        let Some(Namespace { pid, mut mounts }) = self.namespaces.remove(&id) else { return };
        let text = bounded(&self.root.join(format!("{pid}/mountinfo")), MOUNTS_BYTES).unwrap_or_default();
        let before = std::mem::take(&mut mounts);
        let elsewhere = |device: u64| {
            let mut others = self.namespaces.values().flat_map(|other| &other.mounts);
            own.iter().any(|mount| mount.device == device) || others.any(|mount| mount.device == device)
        };
        let all = self.namespaces.values().map(|other| other.mounts.len()).sum::<usize>();
        mounts = in_memory(&text);
        mounts.retain(|mount| !elsewhere(mount.device));
        mounts.truncate(MAX_MOUNTS.saturating_sub(all));
        for mount in &mut mounts {
            if let Some(same) = before.iter().find(|same| same.device == mount.device && same.path == mount.path) {
                mount.known.clone_from(&same.known);
            } else {
                // As it can be reached from here.
                mount.known.point = format!("/proc/{pid}/root{}", mount.path.display()).into();
            }
        }
        self.namespaces.insert(id, Namespace { pid, mounts });
    }

    /// Asks the file systems whose turn it is.
    fn ask(&mut self, ids: &[u64]) {
        let count = self.namespaces.values().map(|namespace| namespace.mounts.len()).sum::<usize>();
        let (first, mut at) = (self.mounts_rotation, 0);
        let is_due = |at: usize| (at + count - first % count.max(1)) % count.max(1) < MOUNTS_PER_ROUND;
        for id in ids {
            let Some(namespace) = self.namespaces.get_mut(id) else { continue };
            let mut top: Option<OwnedFd> = None;
            for mount in &mut namespace.mounts {
                at += 1;
                if !is_due(at - 1) {
                    continue;
                }
                if top.is_none() {
                    let path = self.root.join(format!("{}/root", namespace.pid));
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    top = rustix::fs::open(path, flags, Mode::empty()).ok();
                }
                mount.ask_at(top.as_ref().map(|top| (top.as_fd(), ResolveFlags::IN_ROOT)));
            }
        }
        self.mounts_rotation = if count > 0 { (first + MOUNTS_PER_ROUND) % count } else { 0 };
    }

    fn mounts(&self) -> Vec<MemoryMount> {
        self.namespaces.values().flat_map(|namespace| &namespace.mounts).map(|mount| mount.known.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// A proc root where process 7 is in another namespace than this one.
    fn machine() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (process, namespace) in [("self", "mnt:[1]"), ("7", "mnt:[2]"), ("8", "mnt:[1]"), ("9", "odd")] {
            fs::create_dir_all(folder.path().join(process).join("ns")).unwrap();
            symlink(namespace, folder.path().join(process).join("ns/mnt")).unwrap();
        }
        fs::write(folder.path().join("self/mountinfo"), "25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw\n").unwrap();
        folder
    }

    #[test]
    fn only_what_is_in_no_other_namespace_is_found_and_what_may_hang_is_not_asked() {
        let machine = machine();
        let text = "25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw\n\
            26 24 0:99 / /cache rw - tmpfs tmpfs rw\n\
            27 24 0:98 / /nas rw - nfs4 nas:/x rw\n28 24 0:97 / /nas/t rw - tmpfs t rw\nbroken\n";
        fs::write(machine.path().join("7/mountinfo"), text).unwrap();
        let mut reader = Reader::new(machine.path());
        reader.round();
        let found = reader.mounts();
        // Nothing is there at its root, so it is not known what it has.
        assert_eq!(
            found.iter().map(|mount| (&*mount.point, mount.used_bytes)).collect::<Vec<_>>(),
            [("/proc/7/root/cache", None)]
        );
        fs::write(machine.path().join("7/mountinfo"), "odd\n").unwrap();
        reader.round();
        assert!(reader.mounts().is_empty());
        fs::remove_dir_all(machine.path().join("7")).unwrap();
        reader.round();
        assert!(reader.namespaces.is_empty());
    }

    #[test]
    fn one_that_hangs_stops_nothing_else() {
        let machine = machine();
        // Whoever opens it waits until somebody writes.
        let pipe = machine.path().join("7/mountinfo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RWXU).unwrap();
        let mut namespaces = Namespaces::start(machine.path()).unwrap();
        for _ in 0..PATIENCE + 2 {
            assert!(namespaces.look().is_empty());
        }
        assert!(namespaces.waits > Some(PATIENCE), "it was not asked a second time");
        // The thread ends with the test.
        fs::write(&pipe, "").unwrap();
    }
}
