//! PSS, USS and shared memory of processes, on a budget. To answer, the kernel walks all page tables of the process and blocks
//! changes of its mappings meanwhile. So processes are read one at a time, on the sampler's one thread.

mod remembered;
mod rollup;
mod schedule;

use std::time::{Duration, Instant};

use rustix::{
    io::Errno,
    time::{ClockId, clock_gettime},
};

pub(super) use self::remembered::Remembered;
pub(in crate::collect) use self::rollup::kibibytes;
pub use self::{remembered::Pss, rollup::Rollup};
use self::{
    remembered::{Attempt, Cost, Outcome},
    schedule::Schedule,
};
use super::{ProcessReading, files::Files};
use crate::model::PssUnknown;

/// What reading PSS may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PssOptions {
    /// Share of one core in the long run; 0 reads none.
    pub budget: f64,
    /// Time that the reading of one process may take, as it is foreseen.
    pub read_limit: Duration,
    /// What may be spent at the start, and at once later.
    pub allowance: Duration,
}

impl Default for PssOptions {
    fn default() -> Self {
        Self { budget: 0.01, read_limit: Duration::from_millis(20), allowance: Duration::from_millis(30) }
    }
}

impl PssOptions {
    /// The allowance of those that look once: for them there is no later.
    pub(crate) const ONCE: Duration = Duration::from_millis(50);

    /// Reads no PSS.
    pub fn off() -> Self {
        Self { budget: 0.0, ..Self::default() }
    }
}

/// Reads the PSS of those whose turn it is.
#[derive(Debug)]
pub(super) struct PssReader {
    schedule: Schedule,
    availability: Availability,
}

/// Whether the kernel has the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Availability {
    /// The user does not want it.
    Off,
    /// Nothing was tried yet.
    Open,
    /// Linux 4.14 or newer.
    There,
    /// An older kernel.
    Missing,
}

impl PssReader {
    /// A reader that has read nothing.
    pub(crate) fn new(options: PssOptions) -> Self {
        let availability = if options.budget > 0.0 { Availability::Open } else { Availability::Off };
        Self { schedule: Schedule::new(options), availability }
    }

    /// Begins a pass.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.schedule.begin(now);
    }

    /// Says of a process at `place` that it is there and has memory.
    pub(crate) fn offer(&mut self, place: usize, process: &mut Remembered, rss_bytes: u64, now: Instant) {
        if matches!(self.availability, Availability::Open | Availability::There) {
            self.schedule.offer(place, process, rss_bytes, now);
        }
    }

    /// The place of the process to read next; `None` when the pass is over.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let can_read = matches!(self.availability, Availability::Open | Availability::There);
        can_read.then(|| self.schedule.next()).flatten()
    }

    /// Reads one process.
    pub(crate) fn read(&mut self, files: &mut Files, reading: &ProcessReading, process: &mut Remembered, now: Instant) {
        let &ProcessReading { pid, rss_bytes, .. } = reading;
        let (cpu, time) = (clock(ClockId::ThreadCPUTime), clock(ClockId::Monotonic));
        let read = files.rollup(pid).map(|text| if text.is_empty() { Outcome::Gone } else { understood(text) });
        let outcome = match read {
            Ok(outcome) => outcome,
            Err(Errno::ACCESS | Errno::PERM) => Outcome::Refused,
            // A process without memory: it is about to end.
            Err(Errno::SRCH) => Outcome::Gone,
            Err(Errno::NOENT) if !files.is_there(pid) => Outcome::Gone,
            Err(_) => Outcome::Unsupported,
        };
        let cost = Cost {
            cpu: clock(ClockId::ThreadCPUTime).saturating_sub(cpu),
            elapsed: clock(ClockId::Monotonic).saturating_sub(time),
        };
        self.availability = match (self.availability, read, outcome) {
            (_, _, Outcome::Read(_)) => Availability::There,
            (Availability::Open, Err(Errno::NOENT), Outcome::Unsupported) => Availability::Missing,
            (known, ..) => known,
        };
        let attempt = Attempt { at: now, rss_bytes, anonymous_bytes: reading.anonymous_bytes(), cost, outcome };
        self.schedule.pay(&attempt);
        process.keep(attempt);
    }

    /// What is known of a process that has memory.
    pub(crate) fn pss(&self, process: &Remembered, reading: &ProcessReading, now: Instant) -> Pss {
        match self.availability {
            Availability::Off => Pss::Unknown(PssUnknown::Off),
            Availability::Missing => Pss::Unknown(PssUnknown::Unsupported),
            Availability::Open | Availability::There => process.pss(now, reading.anonymous_bytes()),
        }
    }
}

fn understood(text: &[u8]) -> Outcome {
    Rollup::parse(text).map_or(Outcome::Unsupported, Outcome::Read)
}

fn clock(id: ClockId) -> Duration {
    Duration::try_from(clock_gettime(id)).unwrap_or_default()
}
