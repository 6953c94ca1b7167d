//! Another recording that all of this session is compared with. Both are read bit by bit; a session that goes on is added as it comes.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    super::recorded::{Recorded, just_before},
    Between, Worked,
};
use crate::model::Snapshot;

/// Time after which what has come since is compared, too.
const AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// A recording to compare with.
#[derive(Debug)]
pub(crate) struct Reference {
    /// What it is called.
    pub name: Arc<str>,
    stored: Recorded,
    /// All of it.
    pub before: Between,
    /// All of this session.
    pub after: Between,
    /// Up to where this session is compared; `None` before that is so.
    compared: Option<Timestamp>,
    /// The comparison is shown.
    pub shown: bool,
}

impl Reference {
    /// The recording, and the times of the first and the last snapshot of the session as far as they are there.
    pub(super) fn new(name: Arc<str>, stored: Recorded, session: Option<(Timestamp, Timestamp)>) -> Self {
        let all = |span: Option<(Timestamp, Timestamp)>| {
            let (first, last) = span.unwrap_or_default();
            (just_before(first), last)
        };
        let ((from, to), (after_from, after_to)) = (all(stored.span()), all(session));
        let (before, after) = (Between::new(from, to), Between::to_compare(after_from, after_to));
        Self { name, stored, before, after, compared: None, shown: true }
    }

    /// Adds a snapshot of a session that goes on.
    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        self.after.push(snapshot);
    }

    /// Whether there is more to compare than was compared.
    pub(super) fn is_due(&self) -> bool {
        let since = |compared: Timestamp| self.after.to.duration_since(compared).abs() >= AGAIN;
        self.compared.is_none_or(since) && !self.after.summary.is_empty()
    }

    pub(super) fn is_compared(&mut self) {
        self.compared = Some(self.after.to);
    }

    /// Reads a part; of the session only if all of it is compared.
    pub(super) fn step(&mut self, session: &mut Recorded, all: bool) -> Worked {
        match self.before.step(&mut self.stored) {
            Worked::Nothing if all => self.after.step(session),
            worked => worked,
        }
    }

    /// The share that is read; `None` when it is all.
    pub(crate) fn progress(&self) -> Option<f64> {
        match (self.before.progress(), self.after.progress()) {
            (None, None) => None,
            (before, after) => Some((before.unwrap_or(1.0) + after.unwrap_or(1.0)) / 2.0),
        }
    }
}
