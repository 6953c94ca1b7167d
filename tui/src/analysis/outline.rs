//! The memory of each group over all that can be gone to, coarsely: of the first snapshot of each minute. It is read bit by bit, and
//! bounded, however long a recording is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::recorded::Recorded;
use crate::{
    model::{Group, Snapshot},
    recording::Parts,
};

/// Minutes that are looked at: of a recording of more than a day every second one, or fewer.
const MAX_MINUTES: usize = 1440;
/// Groups of a minute that have a point, the biggest first.
const MAX_GROUPS: usize = 64;
/// Different groups; later ones have no points.
const MAX_NAMES: usize = 4096;
/// Minutes that one step reads.
const STEP: usize = 6;

/// Points of all groups.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    names: HashMap<Arc<str>, u32>,
    /// By the start of the minute: groups by number, with their bytes.
    minutes: BTreeMap<Timestamp, Vec<(u32, u64)>>,
}

impl Outline {
    /// Reads some minutes that are missing, and says how many it was.
    pub(crate) fn step(&mut self, stored: &mut Recorded) -> usize {
        let all = stored.minutes(Timestamp::MIN, Timestamp::MAX);
        let every = all.len().div_ceil(MAX_MINUTES).max(1);
        let missing = all.iter().step_by(every).filter(|minute| !self.minutes.contains_key(&minute.first));
        let missing: Vec<_> = missing.take(STEP).copied().collect();
        if let Some(oldest) = all.first() {
            // The past of a session moves on.
            self.minutes = self.minutes.split_off(&oldest.first);
        }
        for minute in &missing {
            // What cannot be read has no points, and is not tried again.
            self.minutes.insert(minute.first, Vec::new());
            stored.first_of_minutes(*minute, Parts::GROUPS, |at, json| {
                let points = Snapshot::read_groups(json).map(|groups| self.points(&groups)).unwrap_or_default();
                self.minutes.insert(at, points);
            });
        }
        missing.len()
    }

    /// Takes the first snapshot of a minute as it comes, so that it need not be read.
    pub(crate) fn push(&mut self, snapshot: &Snapshot) {
        let points = self.points(&snapshot.groups);
        self.minutes.insert(snapshot.at, points);
    }

    /// Groups by number, with their bytes.
    fn points(&mut self, groups: &[Group]) -> Vec<(u32, u64)> {
        let mut points = Vec::new();
        for group in groups.iter().take(MAX_GROUPS) {
            let next = self.names.len() as u32;
            let number = match self.names.get(&group.name) {
                Some(&number) => number,
                None if self.names.len() < MAX_NAMES => *self.names.entry(group.name.clone()).or_insert(next),
                None => continue,
            };
            points.extend(group.footprint_bytes.or(group.memory.rss_bytes).map(|bytes| (number, bytes)));
        }
        points
    }

    /// The points of a group, the oldest first.
    pub(crate) fn of(&self, group: &str) -> Vec<(Timestamp, u64)> {
        let Some(&number) = self.names.get(group) else { return Vec::new() };
        let point = |(&at, groups): (&Timestamp, &Vec<(u32, u64)>)| {
            groups.iter().find(|(known, _)| *known == number).map(|&(_, bytes)| (at, bytes))
        };
        self.minutes.iter().filter_map(point).collect()
    }
}
