//! The files of control groups with the memory controller: which of them are read, and what they say.
//! cgroup(7), and in the kernel's documentation cgroup-v2.rst (`memory.current`, `memory.max`) and cgroup-v1/memory.rst.

use std::{fmt::Write as _, path::Path};

use rustix::fs::{Mode, OFlags};

use super::MemoryCgroup;
use crate::collect::proc::cgroup_mounts::{CgroupMount, UNLIMITED_FROM};

/// Limits change rarely, and those above count, too: they are read at first and then at every so many readings.
const READINGS_PER_LIMIT: u8 = 16;
/// What is known of one control group.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub current_bytes: Option<u64>,
    pub limit: Limit,
    /// What may be charged before the limit is reached.
    pub available_bytes: Option<u64>,
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

    /// Reads a control group. `path` is room to write in.
    pub(crate) fn read(&self, name: &MemoryCgroup, known: &mut Usage, path: &mut String) {
        let (mount, files) = match name.version {
            1 => (&self.version_1, &VERSION_1),
            _ => (&self.version_2, &VERSION_2),
        };
        let located = mount
            .as_ref()
            .and_then(|mount| Some((mount.point.to_str()?, mount.below(Path::new(&*name.path))?.to_str()?)));
        let Some((point, below)) = located else { return };
        known.current_bytes = number(point, below, files.usage, path).and_then(Limit::bytes);
        if known.readings.is_multiple_of(READINGS_PER_LIMIT) {
            (known.limit, known.limited_at) = lowest(point, below, files.limit, path);
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
    inactive: &'static str,
}

const VERSION_1: Names =
    Names { usage: "memory.usage_in_bytes", limit: "memory.limit_in_bytes", inactive: "total_inactive_file" };
const VERSION_2: Names = Names { usage: "memory.current", limit: "memory.max", inactive: "inactive_file" };

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
    let mut content = [0_u8; 8192];
    let text = read(point, below, "memory.stat", path, &mut content)?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?.trim().parse().ok()
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
