//! Memory of control groups: usage and limit of each that a process is in, a bounded number per pass in rotation.
//! cgroup(7), and in the kernel's documentation cgroup-v2.rst (`memory.current`, `memory.max`) and cgroup-v1/memory.rst.

use std::{
    collections::HashMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

use super::Details;
use crate::model::Cgroup;

/// Most control groups that are read; a machine with more has them in `more`.
pub const MAX_CGROUPS: usize = 512;
/// Control groups read in one pass; about 10 us each.
const PER_PASS: usize = 64;
/// Limits change rarely, and those above count, too: they are read at first and then at every so many readings.
const READINGS_PER_LIMIT: u8 = 16;
/// What version 1 shows where there is no limit is the highest multiple of a page below 2^63; no machine has this much.
const NO_LIMIT: u64 = 1 << 62;

/// The control group that a process is charged to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemoryCgroup {
    /// Path in its hierarchy.
    pub path: Arc<str>,
    /// 1 or 2.
    pub version: u8,
}

/// Where a process is, remembered between two passes.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// The details that it was found in.
    found_in: Option<Arc<Details>>,
    slot: Option<usize>,
}

/// Reads the control groups of a machine.
#[derive(Debug)]
pub(super) struct CgroupReader {
    mounts: Mounts,
    slots: Vec<Slot>,
    by_name: HashMap<MemoryCgroup, usize>,
    free: Vec<usize>,
    /// Slots in use in this pass; the place here is the place in the sample.
    used: Vec<usize>,
    without_room: u32,
    rotation: usize,
    path: String,
}

#[derive(Debug)]
struct Slot {
    name: MemoryCgroup,
    /// Its place in `used`.
    place: Option<usize>,
    current_bytes: Option<u64>,
    limit: Limit,
    readings: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Unknown,
    None,
    Bytes(u64),
}

impl CgroupReader {
    /// A reader for the hierarchies that are mounted where a proc root says.
    pub fn new(root: &Path) -> Self {
        let mountinfo = std::fs::read(root.join("self/mountinfo")).unwrap_or_default();
        Self {
            mounts: Mounts::parse(&mountinfo),
            slots: Vec::new(),
            by_name: HashMap::new(),
            free: Vec::new(),
            used: Vec::new(),
            without_room: 0,
            rotation: 0,
            path: String::new(),
        }
    }

    /// Begins a pass.
    pub fn begin(&mut self) {
        for slot in self.used.drain(..) {
            self.slots[slot].place = None;
        }
        self.without_room = 0;
    }

    /// The place of a process's control group in the sample of this pass.
    pub fn place(&mut self, seat: &mut Seat, details: &Arc<Details>) -> Option<usize> {
        let name = details.memory_cgroup.as_ref()?;
        let known = seat.found_in.as_ref().is_some_and(|found_in| Arc::ptr_eq(found_in, details));
        if !known || (seat.slot.is_none() && self.by_name.len() < MAX_CGROUPS) {
            seat.slot = self.slot(name);
            seat.found_in = Some(Arc::clone(details));
        }
        let Some(at) = seat.slot else {
            self.without_room = self.without_room.saturating_add(1);
            return None;
        };
        let slot = &mut self.slots[at];
        Some(*slot.place.get_or_insert_with(|| {
            self.used.push(at);
            self.used.len() - 1
        }))
    }

    fn slot(&mut self, name: &MemoryCgroup) -> Option<usize> {
        if let Some(&slot) = self.by_name.get(name) {
            return Some(slot);
        }
        if self.by_name.len() >= MAX_CGROUPS {
            return None;
        }
        let slot = Slot { name: name.clone(), place: None, current_bytes: None, limit: Limit::Unknown, readings: 0 };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.by_name.insert(name.clone(), at);
        Some(at)
    }

    /// Ends a pass: reads those whose turn it is, forgets those without processes, and says what is known, and how many
    /// processes are in one that found no room.
    pub fn read(&mut self) -> (Vec<Cgroup>, u32) {
        let Self { slots, by_name, free, .. } = self;
        by_name.retain(|_, &mut at| {
            let used = slots[at].place.is_some();
            if !used {
                free.push(at);
            }
            used
        });
        let count = self.used.len();
        for turn in 0..count.min(PER_PASS) {
            let slot = &mut self.slots[self.used[(self.rotation + turn) % count]];
            self.path.clear();
            self.mounts.read(slot, &mut self.path);
        }
        self.rotation = if count > 0 { (self.rotation + PER_PASS) % count } else { 0 };
        let cgroup = |&at: &usize| {
            let Slot { name, current_bytes, limit, .. } = &self.slots[at];
            Cgroup {
                path: Arc::clone(&name.path),
                version: name.version,
                memory_current_bytes: *current_bytes,
                memory_max_bytes: match limit {
                    Limit::Bytes(bytes) => Some(*bytes),
                    Limit::None | Limit::Unknown => None,
                },
                unlimited: *limit == Limit::None,
            }
        };
        (self.used.iter().map(cgroup).collect(), self.without_room)
    }
}

/// Where the hierarchies with the memory controller are.
#[derive(Debug, Default)]
struct Mounts {
    version_1: Option<Mount>,
    version_2: Option<Mount>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The part of the hierarchy that is mounted: not all of it in a container.
    root: String,
    point: PathBuf,
}

impl Mounts {
    /// Reads proc_pid_mountinfo(5). A mount point with a blank, which is escaped there, is not found.
    fn parse(mountinfo: &[u8]) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let (mut mount, mut filesystem) = (mount.split(' ').skip(3), filesystem.split(' '));
            let (Some(root), Some(point), Some(kind)) = (mount.next(), mount.next(), filesystem.next()) else {
                continue;
            };
            let of = match kind {
                "cgroup2" => &mut mounts.version_2,
                "cgroup" if filesystem.nth(1).is_some_and(|options| options.split(',').any(|o| o == "memory")) => {
                    &mut mounts.version_1
                }
                _ => continue,
            };
            // The mount that shows most.
            if of.as_ref().is_none_or(|known| known.root.len() > root.len()) {
                *of = Some(Mount { root: root.to_owned(), point: point.into() });
            }
        }
        mounts
    }

    fn read(&self, slot: &mut Slot, path: &mut String) {
        let (mount, usage, limit) = match slot.name.version {
            1 => (&self.version_1, "memory.usage_in_bytes", "memory.limit_in_bytes"),
            _ => (&self.version_2, "memory.current", "memory.max"),
        };
        let Some((point, below)) = mount.as_ref().and_then(|mount| mount.locate(&slot.name.path)) else { return };
        slot.current_bytes = number(point, below, usage, path).and_then(|limit| match limit {
            Limit::Bytes(bytes) => Some(bytes),
            Limit::None | Limit::Unknown => None,
        });
        if slot.readings.is_multiple_of(READINGS_PER_LIMIT) {
            slot.limit = lowest(point, below, limit, path);
        }
        slot.readings = slot.readings.wrapping_add(1);
    }
}

impl Mount {
    /// The mount point and the path below it; `None` when this mount does not show it.
    fn locate<'a>(&self, path: &'a str) -> Option<(&str, &'a str)> {
        // A process outside the namespace of the reader has a path that goes up.
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        let below = path.strip_prefix(self.root.trim_end_matches('/'))?;
        (below.starts_with('/') || below.is_empty()).then_some((self.point.to_str()?, below))
    }
}

/// The lowest limit of a control group and of all above it but the root of the mount, which has none in version 2.
fn lowest(point: &str, below: &str, file: &str, path: &mut String) -> Limit {
    let Some(mut lowest) = number(point, below, file, path) else { return Limit::Unknown };
    let mut above = below;
    while let Some((parent, _)) = above.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
        above = parent;
        lowest = match (lowest, number(point, above, file, path)) {
            (Limit::Bytes(a), Some(Limit::Bytes(b))) => Limit::Bytes(a.min(b)),
            (Limit::None, Some(other)) => other,
            (Limit::None, None) => Limit::Unknown,
            (known, _) => known,
        };
    }
    lowest
}

/// The number in a file; `None` when it cannot be read or is none.
fn number(point: &str, below: &str, file: &str, path: &mut String) -> Option<Limit> {
    path.clear();
    // Writing to a String cannot fail.
    let _ = write!(path, "{point}{below}/{file}");
    let descriptor = rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut content = [0_u8; 32];
    let length = rustix::io::pread(descriptor, &mut content, 0).ok()?;
    let text = std::str::from_utf8(&content[..length]).ok()?.trim();
    if text == "max" {
        return Some(Limit::None);
    }
    let bytes = text.parse().ok()?;
    Some(if bytes >= NO_LIMIT { Limit::None } else { Limit::Bytes(bytes) })
}

#[cfg(test)]
#[path = "memory_cgroup_tests.rs"]
mod tests;
