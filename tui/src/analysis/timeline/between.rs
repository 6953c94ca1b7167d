//! What lies between two moments: PHP's lists as sums over all intervals, how each group grew, and a summary to compare with that
//! of another span. It is read bit by bit.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::{
    super::{
        difference::Summary,
        recorded::{Recorded, just_before},
        windows::Windows,
    },
    Worked,
};
use crate::{
    model::{Group, Snapshot},
    recording::Parts,
};

/// Snapshots that one step reads.
const STEP: usize = 4;

/// Snapshots after which what is there is shown.
const SHOWN: u32 = 60;

/// A span that is added up.
#[derive(Debug)]
pub(crate) struct Between {
    /// The moment before its first interval.
    pub from: Timestamp,
    /// The end of its last interval.
    pub to: Timestamp,
    upto: Timestamp,
    snapshots: u32,
    /// Everything up to `to` is in.
    done: bool,
    /// PHP's lists are shown, and not only compared.
    listed: bool,
    pub(super) windows: Windows,
    pub(super) summary: Summary,
    first: Option<(Timestamp, Vec<Group>)>,
    last: Option<(Timestamp, Vec<Group>)>,
    /// Memory that groups gained, in bytes per minute.
    growth: HashMap<Arc<str>, f64>,
}

impl Between {
    /// The intervals that end later than `from` and not later than `to`; where both are one moment, the one that ends there.
    pub(super) fn new(from: Timestamp, to: Timestamp) -> Self {
        let from = if from < to { from } else { just_before(to) };
        Self {
            from,
            to,
            upto: from,
            snapshots: 0,
            done: false,
            listed: true,
            windows: Windows::default(),
            summary: Summary::default(),
            first: None,
            last: None,
            growth: HashMap::new(),
        }
    }

    /// The same for a summary alone.
    pub(super) fn to_compare(from: Timestamp, to: Timestamp) -> Self {
        Self { listed: false, ..Self::new(from, to) }
    }

    /// Adds a snapshot that has just come, of a span that goes on.
    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        if self.summary.is_empty() {
            self.from = just_before(snapshot.at);
        }
        (self.to, self.upto, self.done) = (snapshot.at, snapshot.at, true);
        self.summary.add(snapshot);
    }

    /// Reads the next snapshots.
    pub(super) fn step(&mut self, stored: &mut Recorded) -> Worked {
        if self.done {
            return Worked::Nothing;
        }
        if self.first.is_none() && self.listed {
            let first = stored.time_at(self.from).and_then(|at| stored.snapshot(at));
            self.first = first.map(|first| (first.at, first.groups));
        }
        let mut left = STEP;
        stored.each(
            self.upto,
            self.to,
            |_| Parts::ALL,
            |at, json| {
                self.upto = at;
                // What cannot be read is missing; the line says that there is damage.
                if let Ok(snapshot) = Snapshot::read(json) {
                    self.summary.add(&snapshot);
                    if self.listed {
                        self.windows.push(at, &snapshot.php);
                        self.last = Some((at, snapshot.groups));
                    }
                }
                left -= 1;
                left > 0
            },
        );
        if left == 0 {
            self.snapshots += STEP as u32;
            return if self.snapshots.is_multiple_of(SHOWN) { Worked::Visible } else { Worked::Some };
        }
        self.done = true;
        self.growth = self.growth_per_minute().unwrap_or_default();
        Worked::Visible
    }

    /// The share that is added up; `None` when it is all.
    pub(crate) fn progress(&self) -> Option<f64> {
        let whole = self.to.duration_since(self.from).as_secs_f64().max(1e-9);
        (!self.done).then(|| self.upto.duration_since(self.from).as_secs_f64() / whole)
    }

    /// Memory that groups gained over the span, in bytes per minute; empty until all is read.
    pub(crate) fn growth(&self) -> &HashMap<Arc<str>, f64> {
        &self.growth
    }

    fn growth_per_minute(&self) -> Option<HashMap<Arc<str>, f64>> {
        let ((from, first), (to, last)) = (self.first.as_ref()?, self.last.as_ref()?);
        let minutes = to.duration_since(*from).as_secs_f64() / 60.0;
        let bytes = |group: &Group| group.footprint_bytes.or(group.memory.rss_bytes);
        let before: HashMap<_, _> = first.iter().map(|group| (&group.name, bytes(group))).collect();
        let growth = |group: &Group| {
            // A group that was not there had nothing.
            let before = before.get(&group.name).copied().unwrap_or(Some(0))?;
            Some((group.name.clone(), (bytes(group)? as f64 - before as f64) / minutes))
        };
        (minutes > 0.0).then(|| last.iter().filter_map(growth).collect())
    }
}
