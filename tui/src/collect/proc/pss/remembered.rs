//! What is remembered of one process's PSS: the last value with its age, what reading it cost, and why there is none.

use std::time::{Duration, Instant};

use super::rollup::Rollup;
use crate::model::PssUnknown;

/// Age up to which a value is shown although reading it again is too expensive.
const KEPT: Duration = Duration::from_secs(600);
/// A value is dropped earlier when RSS has changed by more than this part since.
const KEPT_CHANGE: u64 = 4;

/// Anonymous memory that was added or given back since a reading, from which on a value follows it: the kernel counts to within some
/// hundred KiB only.
const FOLLOWED: u64 = 1 << 20;

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
    /// What was read, with the anonymous memory that came or went since, and how long before this pass; no age where nothing has to be read (kernel threads and zombies have no
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
    value: Option<Value>,
    /// When it was there first.
    pub seen_at: Option<Instant>,
    /// The last attempt.
    pub tried: Option<Attempt>,
    /// How many readings in a row, the last one included, have brought what the one before had.
    pub unchanged: u8,
    /// The next reading would cost more than is allowed.
    pub too_dear: bool,
}

/// What was read last.
#[derive(Debug, Clone, Copy)]
struct Value {
    rollup: Rollup,
    at: Instant,
    anonymous_bytes: Option<u64>,
}

impl Value {
    /// What it is now. Pages that are new, or are gone, are nearly always a process's own.
    fn with(self, anonymous_bytes: Option<u64>) -> Rollup {
        let Value { mut rollup, anonymous_bytes: before, .. } = self;
        if let Some((now, before)) = anonymous_bytes.zip(before)
            && now.abs_diff(before) >= FOLLOWED
        {
            for bytes in [&mut rollup.pss_bytes, &mut rollup.uss_bytes] {
                *bytes = bytes.saturating_add(now).saturating_sub(before);
            }
            // Pages that were shared may have gone, too.
            rollup.pss_bytes = rollup.pss_bytes.max(rollup.uss_bytes);
        }
        rollup
    }
}

/// The last attempt to read a process.
#[derive(Debug, Clone, Copy)]
pub(in crate::collect::proc) struct Attempt {
    pub at: Instant,
    pub rss_bytes: u64,
    /// Anonymous memory in it, where that is known.
    pub anonymous_bytes: Option<u64>,
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
                let is_same = self.value.is_some_and(|before| same(before.rollup));
                self.unchanged = if is_same { self.unchanged.saturating_add(1) } else { 0 };
                self.value = Some(Value { rollup, at: attempt.at, anonymous_bytes: attempt.anonymous_bytes });
            }
            Outcome::Gone => {}
            Outcome::Refused | Outcome::Unsupported => self.value = None,
        }
    }

    /// Drops a value that will not be read again soon and does not hold any more.
    pub(crate) fn expire(&mut self, now: Instant, rss_bytes: u64) {
        if let (true, Some(Value { at, .. }), Some(tried)) = (self.too_dear, self.value, self.tried)
            && (now.saturating_duration_since(at) > KEPT
                || rss_bytes.abs_diff(tried.rss_bytes) > tried.rss_bytes / KEPT_CHANGE)
        {
            self.value = None;
        }
    }

    /// What is known now, when the process has so much anonymous memory.
    pub(crate) fn pss(&self, now: Instant, anonymous_bytes: Option<u64>) -> Pss {
        match (self.value, self.tried.map(|tried| tried.outcome)) {
            (Some(value), _) => Pss::Known(value.with(anonymous_bytes), Some(now.saturating_duration_since(value.at))),
            (None, Some(Outcome::Refused)) => Pss::Unknown(PssUnknown::Refused),
            (None, Some(Outcome::Unsupported)) => Pss::Unknown(PssUnknown::Unsupported),
            (None, _) if self.too_dear => Pss::Unknown(PssUnknown::TooExpensive),
            (None, _) => Pss::Unknown(PssUnknown::Waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// PSS and USS of a process that had 50 MiB of anonymous memory when 60 and 40 MiB were read.
    fn with(anonymous_mib: Option<u64>) -> (u64, u64) {
        let rollup = Rollup { pss_bytes: 60 * MIB, uss_bytes: 40 * MIB, ..Rollup::default() };
        let at = Instant::now();
        let outcome = Outcome::Read(rollup);
        let anonymous_bytes = Some(50 * MIB);
        let mut process = Remembered::default();
        process.keep(Attempt { at, rss_bytes: 80 * MIB, anonymous_bytes, cost: Cost::default(), outcome });
        match process.pss(at, anonymous_mib.map(|mib| mib * MIB)) {
            Pss::Known(rollup, _) => (rollup.pss_bytes / MIB, rollup.uss_bytes / MIB),
            Pss::Unknown(why) => panic!("{why:?}"),
        }
    }

    #[test]
    fn between_two_readings_a_value_follows_anonymous_memory() {
        assert_eq!(with(Some(70)), (80, 60), "20 MiB more");
        assert_eq!(with(Some(20)), (30, 10), "30 MiB less");
        assert_eq!(with(Some(0)), (10, 0), "more gone than was private");
        assert_eq!(with(None), (60, 40), "RSS is not known by its parts");
    }
}
