//! Counts calls before any are traced, which tells what tracing costs here.

use std::time::{Duration, Instant};

use tusktop_shared::{call, stat};

use super::{Exact, NONE_TRACEABLE, State, price::Price, slot::Slot, workers};
use crate::collect::{
    php::{find::discover::Found, kernel::Kernel},
    procfs::Procfs,
};

/// How long calls are counted of one worker, and of how many at most until some are seen.
const COUNT: Duration = Duration::from_millis(100);
const COUNTED_WORKERS: u32 = 30;
/// Calls that say enough about a worker.
const ENOUGH_CALLS: u64 = 100;
/// After so many workers of which hardly any calls were seen, it is not waited for more before they are traced.
const QUIET_WORKERS: u32 = 10;

/// What was counted so far, of workers whose CPU time is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub calls: u64,
    pub cpu_ns: u64,
}

/// How often calls could not be counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Missed {
    /// The process had ended.
    pub ended: u32,
    /// There was none, the last times in a row: of workers that come and go there is always another one soon.
    pub absent: u32,
}

impl Exact {
    /// Counts the calls of one worker after another, until enough were seen.
    pub(super) fn count(
        &mut self,
        kernel: &mut Kernel,
        images: &[Option<Found>],
        workers: u32,
        then_trace: bool,
        now: Instant,
    ) {
        let counted = self.slots[0].as_ref().map(|slot| slot.candidate.clone());
        let calls = kernel.stat(stat::CALLS) - self.seen_calls;
        self.slots[0] = None;
        if let Some(candidate) = counted {
            self.counted.calls += calls;
            let cpu = workers::cpu_time(&Procfs::default(), candidate.pid).saturating_sub(candidate.active_ns);
            let hit_s = self.hit.unwrap_or_default().as_secs_f64();
            // What one that has ended used meanwhile is not known.
            if workers::cpu_time(&Procfs::default(), candidate.pid) == 0 {
                self.missed.ended += 1;
                self.counted.calls -= calls;
            } else {
                self.counted.cpu_ns += cpu;
                let Counted { calls, cpu_ns } = self.counted;
                if calls >= ENOUGH_CALLS || (workers >= COUNTED_WORKERS && calls > 0) {
                    self.price = Some(Price::of(calls, Duration::from_nanos(cpu_ns), hit_s, self.call_s(kernel)));
                    self.counted_enough(kernel, then_trace, now);
                    return;
                }
            }
        }
        // Where next to nothing is called, tracing is cheap. Its price follows from the calls that are traced.
        let is_quiet = self.missed.ended == 0 && self.missed.absent == 0;
        if then_trace && workers >= QUIET_WORKERS && is_quiet {
            self.counted_enough(kernel, then_trace, now);
            return;
        }
        if workers >= COUNTED_WORKERS {
            let seconds = COUNTED_WORKERS / 10;
            self.refuse(match self.missed {
                Missed { absent, .. } if absent > COUNTED_WORKERS / 2 => NONE_TRACEABLE.to_owned(),
                Missed { ended: 0, .. } => {
                    format!("no PHP function was called in {seconds} s: there is nothing to trace")
                }
                _ => "the processes end before their calls and CPU time are counted (pm.max_requests)".to_owned(),
            });
            return;
        }
        self.seen_calls = kernel.stat(stat::CALLS);
        // There may be none for a moment, until the next worker is known.
        if let Some(candidate) = self.workers.next(&[]) {
            self.missed.absent = 0;
            self.attach_to_slot(kernel, images, 0, candidate, now, Some(call::COUNT));
        } else {
            self.missed.absent += 1;
        }
        if !matches!(self.state, State::Unavailable) {
            self.state = State::Counting { workers: workers + 1, until: now + COUNT, then_trace };
        }
    }

    fn counted_enough(&mut self, kernel: &Kernel, then_trace: bool, now: Instant) {
        self.state = if then_trace { State::Tracing { since: now } } else { State::Priced };
        self.looked = now;
        self.seen_calls = kernel.stat(stat::CALLS);
        self.traced_calls = 0;
    }

    /// Finds the price by what was traced, where too few calls were counted before.
    pub(super) fn price_by_traced(&mut self, kernel: &Kernel) {
        if self.price.is_some() || self.traced_calls < ENOUGH_CALLS {
            return;
        }
        let (traced_s, _) = self.workers.cpu_s();
        let now_ns: u64 = self.slots.iter().flatten().map(Slot::cpu_ns).sum();
        let cpu = Duration::from_secs_f64(traced_s) + Duration::from_nanos(now_ns);
        // All that it cost is in the CPU time of the workers.
        let call_s = self.call_s(kernel);
        self.price = Some(Price::of(self.traced_calls, cpu, call_s, call_s));
    }
}
