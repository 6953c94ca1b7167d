//! The files of control groups with the memory controller: which of them are read, and what they say.
//! cgroup(7), and in the kernel's documentation cgroup-v2.rst (`memory.current`, `memory.max`) and cgroup-v1/memory.rst.

use std::{fmt::Write as _, path::Path};

use rustix::fs::{Mode, OFlags};

use super::MemoryCgroup;
use crate::{
    collect::proc::cgroup_mounts::{CgroupMount, UNLIMITED_FROM},
    model::{CgroupEvents, CgroupParts},
};

/// Limits change rarely, and those above count, too: they are read at first and then at every so many readings.
const READINGS_PER_LIMIT: u8 = 16;
/// What is known of one control group.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub current_bytes: Option<u64>,
    pub limit: Limit,
    /// What may be charged before the limit is reached.
    pub available_bytes: Option<u64>,
    /// The limit is `memory.high`.
    pub limit_is_high: bool,
    pub parts: Option<CgroupParts>,
    pub events: Option<CgroupEvents>,
    /// Length of the part of the path where the limit is set.
    limited_at: usize,
    readings: u8,
}

/// The lowest limit that holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Limit {
    #[default]
    Unknown,
    None,
    Bytes(u64),
}

/// Where the hierarchies with the memory controller are.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    version_1: Option<CgroupMount>,
    version_2: Option<CgroupMount>,
}

impl Mounts {
    /// Takes the mounts that show most.
    pub(crate) fn find(mountinfo: &[u8]) -> Self {
        let mut mounts = Self::default();
        for mount in CgroupMount::all(mountinfo).into_iter().filter(|mount| mount.has("memory")) {
            let of = if mount.version == 2 { &mut mounts.version_2 } else { &mut mounts.version_1 };
            if of.as_ref().is_none_or(|known| known.root.as_os_str().len() > mount.root.as_os_str().len()) {
                *of = Some(mount);
            }
        }
        mounts
    }

    /// Where a control group is mounted, and its path below.
    fn place<'a>(&'a self, name: &'a MemoryCgroup) -> Option<(&'a str, &'a str)> {
        let mount = if name.version == 1 { &self.version_1 } else { &self.version_2 };
        let mount = mount.as_ref()?;
        Some((mount.point.to_str()?, mount.below(Path::new(&*name.path))?.to_str()?))
    }

    /// Reads what the memory of a control group is, and what happened at its limits: the kernel adds up counters of all CPUs for it.
    pub(crate) fn read_parts(&self, name: &MemoryCgroup, known: &mut Usage, path: &mut String) {
        let Some((point, below)) = self.place(name) else { return };
        known.parts = parts(point, below, name.version, path);
        known.events = events(point, below, name.version, path);
    }

    /// Reads a control group. `path` is room to write in.
    pub(crate) fn read(&self, name: &MemoryCgroup, known: &mut Usage, path: &mut String) {
        let files = if name.version == 1 { &VERSION_1 } else { &VERSION_2 };
        let Some((point, below)) = self.place(name) else { return };
        known.current_bytes = number(point, below, files.usage, path).and_then(Limit::bytes);
        if known.readings.is_multiple_of(READINGS_PER_LIMIT) {
            (known.limit, known.limited_at) = lowest(point, below, files.limit, path);
            known.limit_is_high = false;
            if let Some((high, at)) = files.high.map(|high| lowest(point, below, high, path))
                && let Some(bytes) = high.bytes()
                && known.limit.bytes().is_none_or(|limit| bytes < limit)
            {
                (known.limit, known.limited_at, known.limit_is_high) = (high, at, true);
            }
        }
        known.readings = known.readings.wrapping_add(1);
        known.available_bytes = known.limit.bytes().and_then(|limit| {
            let at = below.get(..known.limited_at)?;
            let used = number(point, at, files.usage, path).and_then(Limit::bytes)?;
            let cache = inactive_cache(point, at, files.inactive, path)?;
            Some(limit.saturating_sub(used.saturating_sub(cache)))
        });
    }
}

impl Limit {
    pub(crate) fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::None | Self::Unknown => None,
        }
    }
}

/// Names of the files of a version, and of the line in its `memory.stat`.
struct Names {
    usage: &'static str,
    limit: &'static str,
    high: Option<&'static str>,
    inactive: &'static str,
}

const VERSION_1: Names = Names {
    usage: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    high: None,
    inactive: "total_inactive_file",
};
const VERSION_2: Names =
    Names { usage: "memory.current", limit: "memory.max", high: Some("memory.high"), inactive: "inactive_file" };
/// Room for `memory.stat`, which has some 3 KB.
const STAT_BYTES: usize = 8192;
/// Room for the table of caches of a group of version 1: some 100 lines.
const SLAB_BYTES: usize = 16 << 10;

/// What the memory of a group is.
fn parts(point: &str, below: &str, version: u8, path: &mut String) -> Option<CgroupParts> {
    let mut content = [0_u8; STAT_BYTES];
    let text = read(point, below, "memory.stat", path, &mut content)?;
    let value = |name: &str| line(text, name);
    let less = |all: Option<u64>, part: Option<u64>| Some(all?.saturating_sub(part.unwrap_or(0)));
    let own = |file, path: &mut String| number(point, below, file, path).and_then(Limit::bytes);
    Some(if version == 1 {
        let shmem_bytes = value("total_shmem");
        // There are no sums of it: each group has its own, without those below it.
        let slab_bytes = own_slab(point, below, path);
        CgroupParts {
            anon_bytes: value("total_rss"),
            file_bytes: less(value("total_cache"), shmem_bytes),
            shmem_bytes,
            slab_bytes,
            sock_bytes: own("memory.kmem.tcp.usage_in_bytes", path),
            swap_bytes: value("total_swap"),
            kernel_bytes: own("memory.kmem.usage_in_bytes", path),
        }
    } else {
        let shmem_bytes = value("shmem");
        // Before Linux 5.18 it is the sum of its parts.
        let sum = || {
            let parts = ["slab", "kernel_stack", "pagetables", "percpu", "sock"];
            parts.into_iter().filter_map(value).reduce(u64::saturating_add)
        };
        CgroupParts {
            anon_bytes: value("anon"),
            file_bytes: less(value("file"), shmem_bytes),
            shmem_bytes,
            slab_bytes: value("slab_unreclaimable"),
            sock_bytes: value("sock"),
            kernel_bytes: value("kernel").or_else(sum),
            swap_bytes: own("memory.swap.current", path),
        }
    })
}

/// What a group of version 1 has in the slab, by its table of caches, which is empty since Linux 5.9; `None` where it says nothing.
fn own_slab(point: &str, below: &str, path: &mut String) -> Option<u64> {
    let mut content = [0_u8; SLAB_BYTES];
    let text = read(point, below, "memory.kmem.slabinfo", path, &mut content)?;
    // One that fills its room was cut.
    if text.len() == SLAB_BYTES {
        return None;
    }
    let page = rustix::param::page_size() as u64;
    let caches = text.lines().filter_map(|line| slab_cache(line, page));
    caches.reduce(u64::saturating_add)
}

/// What a cache takes, by its line in a table of the slab.
fn slab_cache(line: &str, page: u64) -> Option<u64> {
    let (counts, slabs) = line.split_once(": slabdata")?;
    let pages: u64 = counts.split_whitespace().nth(5)?.parse().ok()?;
    let slabs: u64 = slabs.split_whitespace().nth(1)?.parse().ok()?;
    slabs.checked_mul(pages)?.checked_mul(page)
}

/// What happened at the limits of a group.
fn events(point: &str, below: &str, version: u8, path: &mut String) -> Option<CgroupEvents> {
    let mut content = [0_u8; 512];
    if version == 1 {
        let max = number(point, below, "memory.failcnt", path).and_then(Limit::bytes);
        let text = read(point, below, "memory.oom_control", path, &mut content);
        let oom_kill = text.and_then(|text| line(text, "oom_kill"));
        return (max.is_some() || oom_kill.is_some()).then_some(CgroupEvents {
            max,
            oom_kill,
            ..CgroupEvents::default()
        });
    }
    let text = read(point, below, "memory.events", path, &mut content)?;
    let value = |name: &str| line(text, name);
    Some(CgroupEvents { high: value("high"), max: value("max"), oom: value("oom"), oom_kill: value("oom_kill") })
}

/// The number behind a name, each on a line of its own.
fn line(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.trim().parse().ok()
}

/// The lowest limit of a control group and of all above it but the root of the mount, which has none in version 2; and the
/// length of the path to where it is set.
fn lowest(point: &str, below: &str, file: &str, path: &mut String) -> (Limit, usize) {
    let Some(own) = number(point, below, file, path) else { return (Limit::Unknown, 0) };
    let mut lowest = (own, below.len());
    let mut above = below;
    while let Some((parent, _)) = above.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
        above = parent;
        lowest = match (lowest.0, number(point, above, file, path)) {
            (Limit::Bytes(lower), Some(Limit::Bytes(bytes))) if bytes >= lower => lowest,
            (_, Some(Limit::Bytes(bytes))) => (Limit::Bytes(bytes), above.len()),
            // There is one that cannot be read: it may be lower than none.
            (Limit::None, None) => (Limit::Unknown, 0),
            _ => lowest,
        };
    }
    lowest
}

/// Page cache that was not used lately, from `memory.stat`.
fn inactive_cache(point: &str, below: &str, name: &str, path: &mut String) -> Option<u64> {
    let mut content = [0_u8; STAT_BYTES];
    line(read(point, below, "memory.stat", path, &mut content)?, name)
}

/// The number in a file; `None` when it cannot be read or is none.
fn number(point: &str, below: &str, file: &str, path: &mut String) -> Option<Limit> {
    let mut content = [0_u8; 32];
    let text = read(point, below, file, path, &mut content)?.trim();
    if text == "max" {
        return Some(Limit::None);
    }
    let bytes = text.parse().ok()?;
    Some(if bytes >= UNLIMITED_FROM { Limit::None } else { Limit::Bytes(bytes) })
}

fn read<'a>(point: &str, below: &str, file: &str, path: &mut String, content: &'a mut [u8]) -> Option<&'a str> {
    path.clear();
    // Writing to a String cannot fail.
    let _ = write!(path, "{point}/{below}/{file}");
    let descriptor = rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::pread(descriptor, &mut *content, 0).ok()?;
    std::str::from_utf8(&content[..length]).ok()
}
