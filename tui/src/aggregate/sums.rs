//! Groups of one snapshot: names are interned, sums are made again at every tick. There are as many as their processes make; a
//! snapshot has the biggest, whichever came first, and one for the rest.

use std::{collections::HashMap, sync::Arc};

use crate::model::{Group, MORE_GROUPS, Process};

/// Place of a group in [`Groups`]; it holds as long as the group has processes.
pub(super) type GroupId = usize;

/// Most groups of a snapshot, and one for the rest. A rule that names groups by pid or command line makes as many as there are
/// processes.
pub const MAX_GROUPS: usize = 1000;
/// A group that is listed stays until another one is so many times bigger.
const STAY: f64 = 2.0;

/// All groups that have processes.
#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: Vec<Group>,
    /// Whether a slot's group was in the last snapshot under its own name.
    listed: Vec<bool>,
    by_name: HashMap<Arc<str>, GroupId>,
    free: Vec<GroupId>,
}

/// The groups of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Biggest memory first and then by name.
    pub groups: Vec<Group>,
    /// The place of each [`GroupId`] among them.
    pub places: Vec<usize>,
    /// Processes whose own group is not listed.
    pub without_room: u32,
}

impl Groups {
    /// Finds or makes a group.
    pub(crate) fn assign(&mut self, name: &str, rule: &Arc<str>) -> GroupId {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let name: Arc<str> = name.into();
        let group = Group::empty(Arc::clone(&name), Arc::clone(rule));
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id] = group;
                self.listed[id] = false;
                id
            }
            None => {
                self.slots.push(group);
                self.listed.push(false);
                self.slots.len() - 1
            }
        };
        self.by_name.insert(name, id);
        id
    }

    /// The name of a group.
    pub(crate) fn name(&self, id: GroupId) -> &Arc<str> {
        &self.slots[id].name
    }

    /// Adds a process to the sums of its group.
    pub(crate) fn add(&mut self, id: GroupId, process: &Process) {
        self.slots[id].add(process);
    }

    /// Counts a process that is new since the sample before.
    pub(crate) fn add_started(&mut self, id: GroupId) {
        *self.slots[id].started.get_or_insert(0) += 1;
    }

    /// Counts a process that ended.
    pub(crate) fn add_ended(&mut self, id: GroupId) {
        *self.slots[id].ended.get_or_insert(0) += 1;
    }

    /// Adds CPU in cores that is not that of a process in the sums.
    pub(crate) fn add_used(&mut self, id: GroupId, cpu_ratio: Option<f64>) {
        let group = &mut self.slots[id];
        if let Some(ratio) = cpu_ratio {
            group.cpu_ratio = Some(group.cpu_ratio.unwrap_or(0.0) + ratio);
        }
    }

    /// Ends the tick. Groups that neither have processes nor had some that ended are forgotten. `counted` says whether all that
    /// started and ended is known.
    pub(crate) fn finish(&mut self, counted: bool) -> Listed {
        for slot in &mut self.slots {
            slot.started = counted.then(|| slot.started.unwrap_or(0));
            slot.ended = counted.then(|| slot.ended.unwrap_or(0));
        }
        let has_used = |slot: &Group| slot.cpu_ratio.is_some_and(|ratio| ratio > 0.0);
        let is_used = |slot: &Group| slot.processes > 0 || slot.ended.is_some_and(|ended| ended > 0) || has_used(slot);
        let mut order: Vec<GroupId> = (0..self.slots.len()).filter(|&id| is_used(&self.slots[id])).collect();
        let small = self.split_off_small(&mut order);
        self.listed.fill(false);
        order.iter().for_each(|&id| self.listed[id] = true);
        order.sort_unstable_by(|&a, &b| self.slots[a].order().cmp(&self.slots[b].order()));
        let mut groups: Vec<Group> = Vec::with_capacity(order.len() + 1);
        groups.extend(order.iter().map(|&id| self.slots[id].clone()));
        let mut places = vec![usize::MAX; self.slots.len()];
        order.iter().enumerate().for_each(|(place, &id)| places[id] = place);
        let mut without_room = 0;
        if !small.is_empty() {
            let mut more = Group::empty(MORE_GROUPS.0.into(), MORE_GROUPS.1.into());
            small.iter().for_each(|&id| more.merge(&self.slots[id]));
            without_room = more.processes;
            let at = groups.partition_point(|group| group.order() < more.order());
            groups.insert(at, more);
            order[at..].iter().for_each(|&id| places[id] += 1);
            small.iter().for_each(|&id| places[id] = at);
        }
        for (id, slot) in self.slots.iter_mut().enumerate() {
            // A forgotten slot keeps its name, which may by now be that of another slot.
            if slot.processes == 0 && self.by_name.get(&slot.name) == Some(&id) {
                self.by_name.remove(&slot.name);
                self.free.push(id);
            }
            *slot = Group::empty(Arc::clone(&slot.name), Arc::clone(&slot.rule));
        }
        Listed { groups, places, without_room }
    }

    /// Takes away those for which there is no room: those with the least memory and CPU time.
    fn split_off_small(&self, ids: &mut Vec<GroupId>) -> Vec<GroupId> {
        if ids.len() <= MAX_GROUPS {
            return Vec::new();
        }
        let bytes = |id: &GroupId| self.slots[*id].order().0.0 as f64;
        let cpu = |id: &GroupId| self.slots[*id].cpu_ratio.unwrap_or(0.0);
        let (all_bytes, all_cpu) = (ids.iter().map(bytes).sum::<f64>(), ids.iter().map(cpu).sum::<f64>());
        let score = |id: &GroupId| {
            if &*self.slots[*id].name == MORE_GROUPS.0 {
                // There is one of this name.
                return -1.0;
            }
            let stay = if self.listed[*id] { STAY } else { 1.0 };
            stay * (bytes(id) / all_bytes.max(1.0) + cpu(id) / all_cpu.max(f64::MIN_POSITIVE))
        };
        let scores: Vec<f64> = (0..self.slots.len()).map(|id| score(&id)).collect();
        let name = |id: GroupId| &self.slots[id].name;
        ids.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then_with(|| name(a).cmp(name(b))));
        ids.split_off(MAX_GROUPS)
    }
}
