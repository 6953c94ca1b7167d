//! Groups of one snapshot: names are interned, sums are made again at every tick.

use std::{collections::HashMap, sync::Arc};

use crate::model::{Group, Process};

/// Place of a group in [`Groups`]; it holds as long as the group has processes.
pub(super) type GroupId = usize;

/// Most groups. A rule that names groups by pid or command line makes as many as there are processes.
pub const MAX_GROUPS: usize = 1000;
/// The group of what finds no room, and its rule.
pub(super) const MORE: (&str, &str) = ("more groups", "limit");

/// All groups that have processes.
#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: Vec<Group>,
    by_name: HashMap<Arc<str>, GroupId>,
    free: Vec<GroupId>,
}

impl Groups {
    /// Finds or makes a group.
    pub(crate) fn assign(&mut self, name: &str, rule: &Arc<str>) -> GroupId {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let room = MAX_GROUPS + usize::from(self.by_name.contains_key(MORE.0));
        if self.by_name.len() >= room && name != MORE.0 {
            return self.assign(MORE.0, &MORE.1.into());
        }
        let name: Arc<str> = name.into();
        let group = Group::empty(Arc::clone(&name), Arc::clone(rule));
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id] = group;
                id
            }
            None => {
                self.slots.push(group);
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

    /// Ends the tick: the groups, biggest memory first and then by name, and the place of each [`GroupId`] among them.
    /// Groups that neither have processes nor had some that ended are forgotten. `counted` says whether all that started
    /// and ended is known.
    pub(crate) fn finish(&mut self, counted: bool) -> (Vec<Group>, Vec<usize>) {
        for slot in &mut self.slots {
            slot.started = counted.then(|| slot.started.unwrap_or(0));
            slot.ended = counted.then(|| slot.ended.unwrap_or(0));
        }
        let has_used = |slot: &Group| slot.cpu_ratio.is_some_and(|ratio| ratio > 0.0);
        let is_used = |slot: &Group| slot.processes > 0 || slot.ended.is_some_and(|ended| ended > 0) || has_used(slot);
        let mut order: Vec<GroupId> = (0..self.slots.len()).filter(|&id| is_used(&self.slots[id])).collect();
        order.sort_unstable_by(|&a, &b| self.slots[a].order().cmp(&self.slots[b].order()));
        let mut places = vec![usize::MAX; self.slots.len()];
        let mut groups = Vec::with_capacity(order.len());
        for (place, &id) in order.iter().enumerate() {
            places[id] = place;
            groups.push(self.slots[id].clone());
        }
        for (id, slot) in self.slots.iter_mut().enumerate() {
            // A forgotten slot keeps its name, which may by now be that of another slot.
            if slot.processes == 0 && self.by_name.get(&slot.name) == Some(&id) {
                self.by_name.remove(&slot.name);
                self.free.push(id);
            }
            *slot = Group::empty(Arc::clone(&slot.name), Arc::clone(&slot.rule));
        }
        (groups, places)
    }
}
