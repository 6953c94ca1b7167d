//! The messages of places where something went wrong: those that come often. The kernel has room for a few of a place; here it is
//! decided which of them give way.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tusktop_shared::{ContentKey, MESSAGE_BYTES, Message};

use crate::{
    collect::php::kernel::{FailureMaps, kept::head},
    words::secrets::Secrets,
};

/// Messages of a place that stay in the kernel from one reading to the next, the most frequent ones.
const STAY: usize = 8;

/// Readings without a change after which a message gives way.
const REST: u32 = 60;

/// Messages by slot, and what was counted of them since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Messages {
    slots: HashMap<ContentKey, Slot>,
    /// By place.
    counted: HashMap<ContentKey, HashMap<Arc<str>, u64>>,
}

#[derive(Debug)]
struct Slot {
    place: ContentKey,
    text_key: u64,
    text: Arc<str>,
    /// What the kernel said last.
    count: u64,
    others: u64,
    /// What it had more than at the reading before.
    new: u64,
    /// Readings in which it did not change.
    idle: u32,
}

impl Messages {
    /// Reads what the kernel has, and makes room there for messages that may come more often.
    pub(super) fn read(&mut self, maps: &mut FailureMaps, secrets: Secrets) {
        let mut seen = HashSet::new();
        let mut free = Vec::new();
        for (key, raw) in maps.messages() {
            if raw.complete == 0 {
                continue;
            }
            seen.insert(key);
            let is_same = |slot: &Slot| slot.text_key == raw.text_key && slot.count <= raw.count;
            if !self.slots.get(&key).is_some_and(is_same) {
                self.slots.insert(key, slot(key, &raw, secrets));
            }
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            (slot.new, slot.count) = (raw.count.saturating_sub(slot.count), raw.count);
            slot.idle = if slot.new > 0 { 0 } else { slot.idle + 1 };
            if slot.new > 0 && !slot.text.is_empty() {
                let of_place = self.counted.entry(slot.place).or_default();
                *of_place.entry(Arc::clone(&slot.text)).or_default() += slot.new;
            }
            // Another message wants this slot, and comes more often.
            if slot.idle > REST || raw.others.saturating_sub(slot.others) > slot.new {
                free.push(key);
            }
            slot.others = raw.others;
        }
        self.slots.retain(|key, _| seen.contains(key));
        free.extend(self.rare());
        for key in free {
            self.slots.remove(&key);
            maps.free(key);
        }
    }

    /// The slots of messages that are not among the most frequent ones of their place.
    fn rare(&self) -> Vec<ContentKey> {
        let mut places: HashMap<ContentKey, Vec<(ContentKey, &Slot)>> = HashMap::new();
        for (key, slot) in &self.slots {
            places.entry(slot.place).or_default().push((*key, slot));
        }
        let mut rare = Vec::new();
        for slots in places.values_mut().filter(|slots| slots.len() > STAY) {
            slots.sort_by_key(|(_, slot)| Reverse((slot.new, slot.count)));
            rare.extend(slots.drain(STAY..).map(|(key, _)| key));
        }
        rare
    }

    /// What was counted of all places since the last call.
    pub(super) fn take(&mut self) -> HashMap<ContentKey, HashMap<Arc<str>, u64>> {
        std::mem::take(&mut self.counted)
    }
}

fn slot(key: ContentKey, raw: &Message, secrets: Secrets) -> Slot {
    Slot {
        place: ContentKey::new(raw.place, key.user),
        text_key: raw.text_key,
        text: secrets.message(&head(&raw.text, raw.len, MESSAGE_BYTES)).into(),
        count: 0,
        others: 0,
        new: 0,
        idle: 0,
    }
}
