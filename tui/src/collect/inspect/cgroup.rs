//! What the control groups of a process allow, from the files of its group and of those above it; versions 1 and 2.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::folder::{Folder, unread_io};
use crate::{
    collect::proc::cgroup_mounts::{CgroupMount, UNLIMITED_FROM},
    model::{CgroupLimit, CgroupLimits, Reading, Unread},
};

/// Bytes of /proc/PID/cgroup that are read.
const MOST_BYTES: u64 = 64 * 1024;
/// Groups above each other that are looked at.
const MOST_LEVELS: usize = 64;
/// All mounted hierarchies.
#[derive(Debug, Default)]
pub(super) struct Hierarchies(Vec<CgroupMount>);

/// The files of a limit.
struct Files {
    limit: &'static str,
    used: &'static str,
}

const MEMORY: [Files; 2] = [
    Files { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes" },
    Files { limit: "memory.max", used: "memory.current" },
];
const SWAP: [Files; 2] = [
    Files { limit: "memory.memsw.limit_in_bytes", used: "memory.memsw.usage_in_bytes" },
    Files { limit: "memory.swap.max", used: "memory.swap.current" },
];
const HIGH: Files = Files { limit: "memory.high", used: "memory.current" };
const TASKS: Files = Files { limit: "pids.max", used: "pids.current" };

impl Hierarchies {
    /// Reads which there are. Without any nothing is known of control groups.
    pub(crate) fn read(root: &Path) -> Self {
        Self(CgroupMount::all(&fs::read(root.join("self/mountinfo")).unwrap_or_default()))
    }

    /// What the control groups of a process allow.
    pub(crate) fn limits(&self, process: &Folder) -> Reading<CgroupLimits> {
        let text = process.bytes("cgroup", MOST_BYTES)?;
        let memory = self.place(&text, "memory")?;
        let version = memory.mount.version;
        let files = usize::from(version - 1);
        let tasks = self.place(&text, "pids").ok();
        Ok(CgroupLimits {
            path: memory.path.clone(),
            version,
            memory: memory.value(MEMORY[files].used),
            swap: (version == 2).then(|| memory.value(SWAP[files].used)).flatten(),
            tasks: tasks.as_ref().and_then(|place| place.value(TASKS.used)),
            memory_max: memory.tightest(&MEMORY[files]),
            memory_high: memory.tightest(&HIGH),
            swap_max: memory.tightest(&SWAP[files]),
            tasks_max: tasks.and_then(|place| place.tightest(&TASKS)),
        })
    }

    /// The group of a process in the hierarchy that has a controller: the one of version 1 that has it, else version 2.
    fn place(&self, text: &[u8], controller: &str) -> Reading<Place<'_>> {
        let lines = || text.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let fields = |line| <str>::splitn(line, 3, ':').collect::<Vec<_>>();
        let first = lines().map(fields).find_map(|fields| match fields[..] {
            [_, controllers, path] if controllers.split(',').any(|name| name == controller) => Some((1, path)),
            _ => None,
        });
        let second = || lines().find_map(|line| line.strip_prefix("0::")).map(|path| (2, path));
        let (version, path) = first.or_else(second).ok_or(Unread::Absent)?;
        let has = |mount: &&CgroupMount| mount.version == version && mount.has(controller);
        let mount = self.0.iter().find(has).ok_or(Unread::Absent)?;
        let below = mount.below(Path::new(path)).ok_or(Unread::Elsewhere)?.to_owned();
        let place = Place { mount, below, path: path.into() };
        match fs::metadata(place.mount.point.join(&place.below)) {
            Ok(_) => Ok(place),
            Err(error) => Err(unread_io(&error)),
        }
    }
}

/// A group in a hierarchy.
struct Place<'a> {
    mount: &'a CgroupMount,
    /// Path from where the hierarchy is mounted.
    below: PathBuf,
    path: Arc<str>,
}

impl Place<'_> {
    fn value(&self, file: &str) -> Option<u64> {
        number(&self.mount.point.join(&self.below).join(file))
    }

    /// The limit with the least room left, of this group and those above it.
    fn tightest(&self, files: &Files) -> Option<CgroupLimit> {
        let groups = self.below.ancestors().take(MOST_LEVELS);
        let limits = groups.filter_map(|below| {
            let folder = self.mount.point.join(below);
            let limit = number(&folder.join(files.limit)).filter(|&limit| limit < UNLIMITED_FROM)?;
            let at = self.mount.root.join(below).to_string_lossy().trim_end_matches('/').into();
            Some(CgroupLimit { limit, used: number(&folder.join(files.used)), at })
        });
        limits.min_by_key(|limit| limit.limit.saturating_sub(limit.used.unwrap_or(0)))
    }
}

/// The number in a file; `None` for `max` and where there is no such file.
fn number(path: &Path) -> Option<u64> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(64).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
