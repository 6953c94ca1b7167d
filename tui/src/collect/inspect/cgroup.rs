//! What the control groups of a process allow, from the files of its group and of those above it; versions 1 and 2.

use std::{
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use procfs::{FromRead as _, process::MountInfos};

use super::folder::{Folder, unread_io};
use crate::model::{CgroupLimit, CgroupLimits, Reading, Unread};

/// Bytes of /proc/PID/cgroup that are read.
const MOST_BYTES: u64 = 64 * 1024;
/// Groups above each other that are looked at.
const MOST_LEVELS: usize = 64;
/// Version 1 has no word for "unlimited" but the biggest number of pages (mm/page_counter.c).
const UNLIMITED_FROM: u64 = 1 << 62;

/// A mounted hierarchy.
#[derive(Debug)]
struct Hierarchy {
    version: u8,
    controllers: Vec<String>,
    /// Where it is mounted, and which group of it is there.
    mounted: PathBuf,
    top: PathBuf,
}

/// All mounted hierarchies.
#[derive(Debug, Default)]
pub(super) struct Hierarchies(Vec<Hierarchy>);

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
    pub fn read(root: &Path) -> Self {
        let text = fs::File::open(root.join("self/mountinfo")).map(MountInfos::from_read);
        let Ok(Ok(MountInfos(mounts))) = text else { return Self::default() };
        let found = mounts.into_iter().filter_map(|mount| {
            let version = match &*mount.fs_type {
                "cgroup2" => 2,
                "cgroup" => 1,
                _ => return None,
            };
            Some(Hierarchy {
                version,
                controllers: mount.super_options.into_keys().collect(),
                mounted: mount.mount_point,
                top: mount.root.into(),
            })
        });
        Self(found.collect())
    }

    /// What the control groups of a process allow.
    pub fn limits(&self, process: &Folder) -> Reading<CgroupLimits> {
        let text = process.bytes("cgroup", MOST_BYTES)?;
        let memory = self.place(&text, "memory")?;
        let version = memory.hierarchy.version;
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
        let has = |hierarchy: &&Hierarchy| {
            hierarchy.version == version
                && (version == 2 || hierarchy.controllers.iter().any(|name| name == controller))
        };
        let hierarchy = self.0.iter().find(has).ok_or(Unread::Absent)?;
        let below = Path::new(path).strip_prefix(&hierarchy.top).map_err(|_| Unread::Elsewhere)?;
        if below.components().any(|component| !matches!(component, Component::Normal(_) | Component::CurDir)) {
            return Err(Unread::Elsewhere);
        }
        let place = Place { hierarchy, below: below.to_owned(), path: path.into() };
        match fs::metadata(place.hierarchy.mounted.join(&place.below)) {
            Ok(_) => Ok(place),
            Err(error) => Err(unread_io(&error)),
        }
    }
}

/// A group in a hierarchy.
struct Place<'a> {
    hierarchy: &'a Hierarchy,
    /// Path from where the hierarchy is mounted.
    below: PathBuf,
    path: Arc<str>,
}

impl Place<'_> {
    fn value(&self, file: &str) -> Option<u64> {
        number(&self.hierarchy.mounted.join(&self.below).join(file))
    }

    /// The limit with the least room left, of this group and those above it.
    fn tightest(&self, files: &Files) -> Option<CgroupLimit> {
        let groups = self.below.ancestors().take(MOST_LEVELS);
        let limits = groups.filter_map(|below| {
            let folder = self.hierarchy.mounted.join(below);
            let limit = number(&folder.join(files.limit)).filter(|&limit| limit < UNLIMITED_FROM)?;
            let at = self.hierarchy.top.join(below).to_string_lossy().trim_end_matches('/').into();
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
