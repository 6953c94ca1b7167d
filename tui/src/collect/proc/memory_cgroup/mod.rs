//! Memory of control groups: usage and limit of each that a process is in, a bounded number per pass in rotation.

mod hierarchy;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::hierarchy::{Limit, Mounts, Usage};
use super::Details;
use crate::model::Cgroup;

/// Most control groups that are read; processes in others have none, and are counted.
pub const MAX_CGROUPS: usize = 512;
/// Control groups read in one pass; about 10 us each, three times that with a limit.
const PER_PASS: usize = 64;
/// Passes after which it is looked again where the hierarchies are mounted.
const PASSES_PER_MOUNTS: u32 = 60;
/// Control groups whose `memory.stat` is read in one pass; some 50 us each.
const PARTS_PER_PASS: usize = 8;

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
    root: PathBuf,
    mounts: Mounts,
    /// Until they are read again.
    passes: u32,
    slots: Vec<Slot>,
    by_name: HashMap<MemoryCgroup, usize>,
    free: Vec<usize>,
    /// Slots in use in this pass; the place here is the place in the sample.
    used: Vec<usize>,
    without_room: u32,
    rotation: usize,
    /// The next whose parts are read; `None` before the first pass, which reads many at once.
    parts_rotation: Option<usize>,
    path: String,
}

#[derive(Debug)]
struct Slot {
    name: MemoryCgroup,
    /// Its place in `used`.
    place: Option<usize>,
    usage: Usage,
}

impl CgroupReader {
    /// A reader for the hierarchies that are mounted where a proc root says.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            mounts: Mounts::default(),
            passes: 0,
            slots: Vec::new(),
            by_name: HashMap::new(),
            free: Vec::new(),
            used: Vec::new(),
            without_room: 0,
            rotation: 0,
            parts_rotation: None,
            path: String::new(),
        }
    }

    /// Begins a pass.
    pub(crate) fn begin(&mut self) {
        if self.passes == 0 {
            self.mounts = Mounts::find(&std::fs::read(self.root.join("self/mountinfo")).unwrap_or_default());
            self.passes = PASSES_PER_MOUNTS;
        }
        self.passes -= 1;
        for slot in self.used.drain(..) {
            self.slots[slot].place = None;
        }
        self.without_room = 0;
    }

    /// The place of a process's control group in the sample of this pass.
    pub(crate) fn place(&mut self, seat: &mut Seat, details: &Arc<Details>) -> Option<usize> {
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
        let slot = Slot { name: name.clone(), place: None, usage: Usage::default() };
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
    pub(crate) fn read(&mut self) -> (Vec<Cgroup>, u32) {
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
            self.mounts.read(&slot.name, &mut slot.usage, &mut self.path);
        }
        self.rotation = if count > 0 { (self.rotation + PER_PASS) % count } else { 0 };
        let whole = if self.parts_rotation.is_none() { PER_PASS } else { PARTS_PER_PASS };
        let first = self.parts_rotation.unwrap_or(0);
        for turn in 0..count.min(whole) {
            let slot = &mut self.slots[self.used[(first + turn) % count]];
            self.mounts.read_parts(&slot.name, &mut slot.usage, &mut self.path);
        }
        if count > 0 {
            self.parts_rotation = Some((first + whole) % count);
        }
        let cgroup = |&at: &usize| {
            let Slot { name, usage, .. } = &self.slots[at];
            Cgroup {
                path: Arc::clone(&name.path),
                version: name.version,
                memory_current_bytes: usage.current_bytes,
                memory_max_bytes: usage.limit.bytes(),
                memory_available_bytes: usage.available_bytes,
                unlimited: usage.limit == Limit::None,
                growth_bytes_per_minute: None,
                limit_is_high: usage.limit_is_high,
                parts: usage.parts,
                events: usage.events,
            }
        };
        (self.used.iter().map(cgroup).collect(), self.without_room)
    }
}

#[cfg(test)]
mod tests;
