//! Counts calls before any are traced, which tells what tracing costs here.

use std::time::{Duration, Instant};

use tusktop_shared::{call, stat};

use super::{Exact, NONE_TRACEABLE, State, price::Price, workers};
use crate::collect::{
    php::{find::discover::Found, kernel::Kernel},
    procfs::Procfs,
};

/// How long calls are counted of one worker, and of how many at most until some are seen.
const COUNT: Duration = Duration::from_millis(100);
const COUNTED_WORKERS: u32 = 30;
/// Calls that say enough about a worker.
const ENOUGH_CALLS: u64 = 100;
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
            let cpu = workers::cpu_time(&Procfs::default(), candidate.pid).saturating_sub(candidate.active_ns);
            let hit_s = self.hit.unwrap_or_default().as_secs_f64();
            // What one that has ended used meanwhile is not known.
            if workers::cpu_time(&Procfs::default(), candidate.pid) == 0 {
                self.missed.ended += 1;
            } else if calls >= ENOUGH_CALLS || (workers >= COUNTED_WORKERS && calls > 0) {
                let price = Price::of(calls, Duration::from_nanos(cpu), hit_s, self.call_s(kernel));
                self.price = Some(price);
                self.state = if then_trace { State::Tracing { since: now } } else { State::Priced };
                self.looked = now;
                self.seen_calls = kernel.stat(stat::CALLS);
                return;
            }
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
}
