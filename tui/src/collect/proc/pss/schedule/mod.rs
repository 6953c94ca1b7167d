//! Whose PSS is read next, and for how long: a token bucket, an order, and a limit for a single reading. It reads no file and
//! no clock; the caller reports the cost of each reading.

use std::{
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::{
    PssOptions,
    remembered::{Attempt, Cost, Outcome, Remembered, SAME},
};

/// What the readings of one process may take of the budget: after a reading the process rests for its cost divided by this.
const SHARE_OF_ONE: f64 = 0.25;
/// Rest of a process that has not changed, however cheap it is; twice as long for each reading that brought nothing new, but no longer
/// than eight times.
const REST: Duration = Duration::from_secs(5);
const DOUBLED: u8 = 3;
/// Rest of a process that could not be read, for example because that is not permitted.
const REST_OF_FAILED: Duration = Duration::from_secs(60);
/// After this time the cost of a process that was too expensive is doubted: a host that takes the CPU away makes one reading expensive.
const DOUBT: Duration = Duration::from_secs(600);
/// A change of RSS that makes the rest shorter, and one that ends it: one page in this many, and at least [`LEAST_CHANGE`]. Memory of PHP
/// comes and goes with each request, and a worker that is read each second costs more than all else of it.
const CHANGE: u64 = 16;
const GREAT_CHANGE: u64 = 4;
const LEAST_CHANGE: u64 = 1 << 20;
/// Rest of a process that has changed.
const REST_OF_CHANGED: Duration = Duration::from_secs(3);
/// What was never read is as urgent as a change of this size and of its own.
const FIRST_BYTES: f64 = (64 << 20) as f64;
/// A process is as urgent after this time as if all of it, and [`BASE_BYTES`], had changed.
const AGEING_S: f64 = 60.0;
const BASE_BYTES: f64 = (16 << 20) as f64;
/// Most time that one pass reads, so that the snapshot does not have to wait for a slow process.
const PASS: Duration = Duration::from_millis(250);
/// A process that was too expensive is read again when it costs this part of the limit, so that it does not change to and fro.
const AGAIN: f64 = 0.8;

const PAGE: u64 = 4096;
/// Cost of a page in nanoseconds before anything was measured; 40 to 70 were, 1 with huge pages.
const FIRST_NS_PER_PAGE: f64 = 100.0;
/// The cost never counts as less, so that huge pages do not make others look cheap.
const LEAST_NS_PER_PAGE: f64 = 20.0;
/// Smaller processes say little about the cost of a page.
const TELLING_BYTES: u64 = 16 << 20;

/// The bucket and the queue of one pass.
#[derive(Debug)]
pub(in crate::collect::proc) struct Schedule {
    options: PssOptions,
    /// Nanoseconds that may be spent; below 0 after a reading that took more than was left.
    tokens_ns: f64,
    earned_at: Option<Instant>,
    ns_per_page: f64,
    queue: BinaryHeap<Candidate>,
    /// Time that this pass has read.
    elapsed: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    urgency: f64,
    place: usize,
}

impl Schedule {
    /// A full bucket.
    pub(crate) fn new(options: PssOptions) -> Self {
        Self {
            tokens_ns: nanoseconds(options.allowance),
            earned_at: None,
            ns_per_page: FIRST_NS_PER_PAGE,
            queue: BinaryHeap::new(),
            elapsed: Duration::ZERO,
            options,
        }
    }

    /// Begins a pass.
    pub(crate) fn begin(&mut self, now: Instant) {
        let since = self.earned_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.earned_at = Some(now);
        // Long intervals earn no more than this, so that there is no burst after a pause.
        let full = nanoseconds(self.options.allowance).max(self.options.budget * 1e9);
        self.tokens_ns = (self.tokens_ns + self.options.budget * nanoseconds(since)).min(full);
        self.queue.clear();
        self.elapsed = Duration::ZERO;
    }

    /// Queues the process at `place` when it is its time, and finds out whether it is too expensive.
    pub(crate) fn offer(&mut self, place: usize, process: &mut Remembered, rss_bytes: u64, now: Instant) {
        process.seen_at.get_or_insert(now);
        process.too_dear = self.is_too_dear(process, rss_bytes, now);
        process.expire(now, rss_bytes);
        if !process.too_dear
            && let Some(urgency) = self.urgency(process, rss_bytes, now)
        {
            self.queue.push(Candidate { urgency, place });
        }
    }

    /// The place of the process to read next; `None` when the pass is over.
    pub(crate) fn next(&mut self) -> Option<usize> {
        if self.tokens_ns <= 0.0 || self.elapsed >= PASS {
            return None;
        }
        self.queue.pop().map(|candidate| candidate.place)
    }

    /// Pays for an attempt and learns from it.
    pub(crate) fn pay(&mut self, attempt: &Attempt) {
        self.tokens_ns -= nanoseconds(attempt.cost.cpu);
        self.elapsed += attempt.cost.elapsed;
        if matches!(attempt.outcome, Outcome::Read(_)) && attempt.rss_bytes >= TELLING_BYTES {
            let measured = nanoseconds(attempt.cost.cpu) / (attempt.rss_bytes / PAGE) as f64;
            // Expensive pages are believed at once, cheap ones when there are more of them.
            let learned =
                if measured > self.ns_per_page { measured } else { (3.0 * self.ns_per_page + measured) / 4.0 };
            self.ns_per_page = learned.max(LEAST_NS_PER_PAGE);
        }
    }

    /// By its own last cost, else by what a page costs on this machine.
    fn is_too_dear(&self, process: &Remembered, rss_bytes: u64, now: Instant) -> bool {
        let limit = nanoseconds(self.options.read_limit) * if process.too_dear { AGAIN } else { 1.0 };
        let usual = self.ns_per_page * (rss_bytes / PAGE) as f64;
        match process.tried {
            Some(Attempt { at, rss_bytes: before, cost, outcome: Outcome::Read(_), .. }) => {
                let grown = rss_bytes as f64 / before.max(1) as f64;
                let doubted = now.saturating_duration_since(at) > DOUBT && usual <= limit;
                nanoseconds(cost.cpu) * grown > limit && !doubted
            }
            _ => usual > limit,
        }
    }

    /// Bytes that may be wrong; `None` while the process rests.
    fn urgency(&self, process: &Remembered, rss_bytes: u64, now: Instant) -> Option<f64> {
        let waits = |since: Instant| {
            let age = now.saturating_duration_since(since);
            (age, (rss_bytes as f64 + BASE_BYTES) * age.as_secs_f64() / AGEING_S)
        };
        let Some(tried) = process.tried else {
            // Age counts here, too, or small ones would wait for as long as there are new ones.
            return Some(FIRST_BYTES + rss_bytes as f64 + process.seen_at.map_or(0.0, |seen_at| waits(seen_at).1));
        };
        let (age, aged) = waits(tried.at);
        let changed = rss_bytes.abs_diff(tried.rss_bytes);
        let rest = match tried.outcome {
            Outcome::Refused | Outcome::Unsupported => REST_OF_FAILED,
            Outcome::Read(_) if changed >= LEAST_CHANGE.max(tried.rss_bytes / GREAT_CHANGE) => Duration::ZERO,
            Outcome::Read(_) if changed >= LEAST_CHANGE.max(tried.rss_bytes / CHANGE) => REST_OF_CHANGED,
            Outcome::Read(_) if changed > tried.rss_bytes / SAME => REST,
            Outcome::Read(_) => REST * (1 << process.unchanged.min(DOUBLED)),
            Outcome::Gone => REST,
        };
        (age >= rest.max(self.rest_after(tried.cost))).then_some(changed as f64 + aged)
    }

    fn rest_after(&self, cost: Cost) -> Duration {
        let share = self.options.budget * SHARE_OF_ONE;
        Duration::try_from_secs_f64(cost.elapsed.as_secs_f64() / share).unwrap_or(Duration::MAX)
    }
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.urgency.total_cmp(&other.urgency).then_with(|| other.place.cmp(&self.place))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

#[cfg(test)]
mod tests;
