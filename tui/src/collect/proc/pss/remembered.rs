//! What is remembered of one process's PSS: the last value with its age, what reading it cost, and why there is none.

use std::time::{Duration, Instant};

use super::rollup::Rollup;
use crate::model::PssUnknown;

/// Age up to which a value is shown although reading it again is too expensive.
const KEPT: Duration = Duration::from_secs(600);
/// A value is dropped earlier when RSS has changed by more than this part since.
const KEPT_CHANGE: u64 = 4;

/// PSS or RSS that differs by less than one part in so many from what was read before is the same.
pub(super) const SAME: u64 = 64;

/// What one reading has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::collect::proc) struct Cost {
    /// CPU time of the reading thread: the walk over the page tables. This is what the budget is about, and what the next
    /// reading will cost, too.
    pub cpu: Duration,
    /// Time that passed, waiting for a CPU and for the lock of the process included: at most this long was the process held up.
    pub elapsed: Duration,
}

/// PSS of one process, as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pss {
    /// What was read, and how long before this pass; no age where nothing has to be read (kernel threads and zombies have no
    /// memory).
    Known(Rollup, Option<Duration>),
    /// Why it is not known.
    Unknown(PssUnknown),
}

/// How a reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::collect::proc) enum Outcome {
    /// It is known.
    Read(Rollup),
    /// The process is about to end, or has ended.
    Gone,
    /// The kernel does not permit it.
    Refused,
    /// There is no such file, or it is not understood.
    Unsupported,
}

/// What is kept of a process between two passes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::collect::proc) struct Remembered {
    value: Option<(Rollup, Instant)>,
    /// When it was there first.
    pub seen_at: Option<Instant>,
    /// The last attempt.
    pub tried: Option<Attempt>,
    /// How many readings in a row, the last one included, have brought what the one before had.
    pub unchanged: u8,
    /// The next reading would cost more than is allowed.
    pub too_dear: bool,
}

/// The last attempt to read a process.
#[derive(Debug, Clone, Copy)]
pub(in crate::collect::proc) struct Attempt {
    pub at: Instant,
    pub rss_bytes: u64,
    pub cost: Cost,
    pub outcome: Outcome,
}

impl Remembered {
    /// Keeps what an attempt brought.
    pub(crate) fn keep(&mut self, attempt: Attempt) {
        self.tried = Some(attempt);
        match attempt.outcome {
            Outcome::Read(rollup) => {
                let same = |before: Rollup| before.pss_bytes.abs_diff(rollup.pss_bytes) <= before.pss_bytes / SAME;
                let is_same = self.value.is_some_and(|(before, _)| same(before));
                self.unchanged = if is_same { self.unchanged.saturating_add(1) } else { 0 };
                self.value = Some((rollup, attempt.at));
            }
            Outcome::Gone => {}
            Outcome::Refused | Outcome::Unsupported => self.value = None,
        }
    }

    /// Drops a value that will not be read again soon and does not hold any more.
    pub(crate) fn expire(&mut self, now: Instant, rss_bytes: u64) {
        if let (true, Some((_, at)), Some(tried)) = (self.too_dear, self.value, self.tried)
            && (now.saturating_duration_since(at) > KEPT
                || rss_bytes.abs_diff(tried.rss_bytes) > tried.rss_bytes / KEPT_CHANGE)
        {
            self.value = None;
        }
    }

    /// What is known now.
    pub(crate) fn pss(&self, now: Instant) -> Pss {
        match (self.value, self.tried.map(|tried| tried.outcome)) {
            (Some((rollup, at)), _) => Pss::Known(rollup, Some(now.saturating_duration_since(at))),
            (None, Some(Outcome::Refused)) => Pss::Unknown(PssUnknown::Refused),
            (None, Some(Outcome::Unsupported)) => Pss::Unknown(PssUnknown::Unsupported),
            (None, _) if self.too_dear => Pss::Unknown(PssUnknown::TooExpensive),
            (None, _) => Pss::Unknown(PssUnknown::Waiting),
        }
    }
}
