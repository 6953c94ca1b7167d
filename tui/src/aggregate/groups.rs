//! Groups of one snapshot: names are interned, sums are made anew at every tick.

use std::{collections::HashMap, sync::Arc};

use super::rules::Rules;
use crate::{
    collect::proc::Details,
    model::{Group, Memory},
};

/// Place of a group in [`Groups`]; it holds as long as the group has processes.
pub(super) type GroupId = usize;

/// All groups that have processes.
#[derive(Debug, Default)]
pub(super) struct Groups {
    rules: Rules,
    slots: Vec<Slot>,
    by_name: HashMap<Arc<str>, GroupId>,
    free: Vec<GroupId>,
}

#[derive(Debug)]
struct Slot {
    name: Arc<str>,
    rule: Arc<str>,
    sums: Sums,
}

/// What one process adds to its group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub threads: u32,
    pub cpu_ratio: Option<f64>,
    pub rss_bytes: u64,
    pub swap_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    processes: u32,
    threads: u32,
    cpu_ratio: Option<f64>,
    rss_bytes: u64,
    swap_bytes: u64,
    swap_unknown: bool,
}

impl Groups {
    /// Finds or makes the group of a process.
    pub fn assign(&mut self, process: &Details) -> GroupId {
        let (name, rule) = self.rules.group(process);
        if let Some(&id) = self.by_name.get(&*name) {
            return id;
        }
        let name: Arc<str> = name.into();
        let slot = Slot { name: Arc::clone(&name), rule: Arc::clone(rule), sums: Sums::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.by_name.insert(name, id);
        id
    }

    /// Adds a process to the sums of its group.
    pub fn add(&mut self, id: GroupId, share: Share) {
        let sums = &mut self.slots[id].sums;
        sums.processes += 1;
        sums.threads = sums.threads.saturating_add(share.threads);
        if let Some(ratio) = share.cpu_ratio {
            sums.cpu_ratio = Some(sums.cpu_ratio.unwrap_or(0.0) + ratio);
        }
        sums.rss_bytes = sums.rss_bytes.saturating_add(share.rss_bytes);
        match share.swap_bytes {
            Some(swap) => sums.swap_bytes = sums.swap_bytes.saturating_add(swap),
            None => sums.swap_unknown = true,
        }
    }

    /// Ends the tick: the groups, biggest memory first and then by name, and the place of each [`GroupId`] among them.
    /// Groups without processes are forgotten.
    pub fn finish(&mut self) -> (Vec<Group>, Vec<usize>) {
        let mut order: Vec<GroupId> = (0..self.slots.len()).filter(|&id| self.slots[id].sums.processes > 0).collect();
        let key = |id: GroupId| {
            let slot = &self.slots[id];
            let bytes = slot.sums.rss_bytes.saturating_add(slot.sums.swap_bytes);
            (std::cmp::Reverse(bytes), &slot.name)
        };
        order.sort_unstable_by(|&a, &b| key(a).cmp(&key(b)));
        let mut places = vec![usize::MAX; self.slots.len()];
        let groups = order
            .iter()
            .enumerate()
            .map(|(place, &id)| {
                places[id] = place;
                self.slots[id].group()
            })
            .collect();
        for (id, slot) in self.slots.iter_mut().enumerate() {
            // A forgotten slot keeps its name, which may by now be that of another slot.
            if slot.sums.processes == 0 && self.by_name.get(&slot.name) == Some(&id) {
                self.by_name.remove(&slot.name);
                self.free.push(id);
            }
            slot.sums = Sums::default();
        }
        (groups, places)
    }
}

impl Slot {
    fn group(&self) -> Group {
        Group {
            name: Arc::clone(&self.name),
            rule: Arc::clone(&self.rule),
            processes: self.sums.processes,
            threads: self.sums.threads,
            cpu_ratio: self.sums.cpu_ratio,
            memory: Memory {
                rss_bytes: Some(self.sums.rss_bytes),
                swap_bytes: (!self.sums.swap_unknown).then_some(self.sums.swap_bytes),
                ..Memory::default()
            },
        }
    }
}
