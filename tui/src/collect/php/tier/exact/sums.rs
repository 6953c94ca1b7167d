//! Sums of traced calls: what was added since the last reading, by function.

use std::collections::HashMap;

use tusktop_shared::{CallKey, Calls, ContentKey, DURATION_BUCKETS, Traced, duration_bucket};

/// Functions between two readings; calls of more are counted as lost.
const FUNCTIONS: usize = 20_000;

/// Sums of one function since the last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSums {
    /// Calls.
    pub calls: u64,
    /// Their time without what they called.
    pub self_ns: u64,
    /// Their time; of recursive calls only the outermost counts.
    pub total_ns: u64,
    /// Calls by the binary logarithm of their duration in nanoseconds.
    pub durations: [u64; DURATION_BUCKETS],
}

impl Default for CallSums {
    fn default() -> Self {
        Self { calls: 0, self_ns: 0, total_ns: 0, durations: [0; DURATION_BUCKETS] }
    }
}

/// What was read before, and what was added since.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    before: HashMap<CallKey, Calls>,
    added: HashMap<ContentKey, CallSums>,
    /// Calls of functions for which there was no room.
    pub lost: u64,
}

impl Sums {
    /// Takes a reading of all sums.
    pub(crate) fn read(&mut self, sums: impl IntoIterator<Item = (CallKey, Calls)>) {
        for (key, now) in sums {
            let before = self.before.insert(key, now).unwrap_or(Calls::NONE);
            if now.calls == before.calls {
                continue;
            }
            let durations = std::array::from_fn(|i| u64::from(now.durations[i].wrapping_sub(before.durations[i])));
            self.add(
                ContentKey::new(key.function, key.user),
                &CallSums {
                    calls: now.calls.saturating_sub(before.calls),
                    self_ns: now.self_ns.saturating_sub(before.self_ns),
                    total_ns: now.total_ns.saturating_sub(before.total_ns),
                    durations,
                },
            );
        }
    }

    /// Adds the calls that had not returned when the thread's probes went away, up to that moment or to its end.
    pub(crate) fn cut(&mut self, traced: &Traced, now_ns: u64) {
        let now_ns = if traced.ended_ns == 0 { now_ns } else { traced.ended_ns };
        for (number, region) in traced.regions.iter().enumerate() {
            let is_left = number != traced.current as usize;
            // A fiber that is suspended has been so since it was left; the thread's own stack waits for its fibers.
            let end = if is_left && number != 0 { region.left_ns } else { now_ns };
            let mut child_ns = if is_left && number == 0 { now_ns.saturating_sub(region.left_ns) } else { 0 };
            let mut index = region.top as usize;
            for _ in 0..traced.frames.len() {
                let Some(frame) = traced.frames.get(index).filter(|_| index != 0) else { break };
                let away = region.away_ns.wrapping_sub(frame.away_ns);
                let total_ns = end.saturating_sub(frame.started_ns).saturating_sub(away);
                let mut sums = CallSums {
                    calls: 1,
                    self_ns: total_ns.saturating_sub(frame.child_ns).saturating_sub(child_ns),
                    total_ns: if frame.recursive == 0 { total_ns } else { 0 },
                    ..CallSums::default()
                };
                sums.durations[duration_bucket(total_ns)] = 1;
                self.add(ContentKey::new(frame.key, traced.user), &sums);
                child_ns = total_ns;
                index = frame.below as usize;
            }
        }
    }

    /// Forgets what was read of a slot whose sums are gone.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.before.retain(|key, _| key.slot != slot);
    }

    /// What was added since the last call, by key of function.
    pub(crate) fn take(&mut self) -> HashMap<ContentKey, CallSums> {
        std::mem::take(&mut self.added)
    }

    fn add(&mut self, function: ContentKey, more: &CallSums) {
        if self.added.len() >= FUNCTIONS && !self.added.contains_key(&function) {
            self.lost += more.calls;
            return;
        }
        let sums = self.added.entry(function).or_default();
        sums.calls += more.calls;
        sums.self_ns += more.self_ns;
        sums.total_ns += more.total_ns;
        for (sum, more) in sums.durations.iter_mut().zip(more.durations) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use tusktop_shared::{CallFrame, CallRegion};

    use super::*;
    use crate::collect::bpf::wire;

    fn key(function: u64, slot: u32) -> CallKey {
        CallKey { function, slot, user: 0 }
    }

    fn calls(calls: u64, self_ns: u64, total_ns: u64) -> Calls {
        Calls { calls, self_ns, total_ns, ..Calls::NONE }
    }

    #[test]
    fn only_what_was_added_since_the_last_reading_is_handed_over() {
        let mut sums = Sums::default();
        sums.read([(key(1, 0), calls(3, 30, 40)), (key(1, 1), calls(1, 5, 5))]);
        assert_eq!(
            sums.take()[&ContentKey::new(1, 0)],
            CallSums { calls: 4, self_ns: 35, total_ns: 45, ..CallSums::default() }
        );
        sums.read([(key(1, 0), calls(4, 32, 44)), (key(1, 1), calls(1, 5, 5))]);
        assert_eq!(
            sums.take()[&ContentKey::new(1, 0)],
            CallSums { calls: 1, self_ns: 2, total_ns: 4, ..CallSums::default() }
        );
        sums.forget(0);
        sums.read([(key(1, 0), calls(2, 1, 1))]);
        assert_eq!(sums.take()[&ContentKey::new(1, 0)].calls, 2, "the slot started over");
    }

    fn frame(key: u64, started_ns: u64, child_ns: u64, below: u32) -> CallFrame {
        CallFrame { stack_pointer: 1, key, started_ns, child_ns, away_ns: 0, below, chain: 0, recursive: 0, region: 0 }
    }

    #[test]
    fn calls_that_were_cut_have_the_time_until_then_and_their_children_s_is_not_their_own() {
        let mut traced = wire::read::<Traced>(&vec![0; size_of::<Traced>()]).unwrap();
        traced.frames[1] = frame(11, 100, 10, 0);
        traced.frames[2] = frame(12, 150, 0, 1);
        traced.regions[0].top = 2;
        let mut sums = Sums::default();
        sums.cut(&traced, 200);
        let added = sums.take();
        assert_eq!((added[&ContentKey::new(11, 0)].total_ns, added[&ContentKey::new(11, 0)].self_ns), (100, 40));
        assert_eq!((added[&ContentKey::new(12, 0)].total_ns, added[&ContentKey::new(12, 0)].self_ns), (50, 50));
        assert_eq!(added[&ContentKey::new(12, 0)].durations[5], 1);
    }

    #[test]
    fn calls_of_a_process_that_ended_do_not_age() {
        let mut traced = wire::read::<Traced>(&vec![0; size_of::<Traced>()]).unwrap();
        traced.frames[1] = frame(11, 100, 10, 0);
        traced.regions[0].top = 1;
        traced.ended_ns = 150;
        let mut sums = Sums::default();
        sums.cut(&traced, 1_000_000);
        assert_eq!(sums.take()[&ContentKey::new(11, 0)].total_ns, 50);
    }

    #[test]
    fn a_suspended_fiber_does_not_age_and_its_resumer_does() {
        let mut traced = wire::read::<Traced>(&vec![0; size_of::<Traced>()]).unwrap();
        traced.frames[1] = frame(11, 100, 0, 0);
        traced.frames[2] = frame(12, 120, 0, 0);
        let fiber = CallRegion { low: 1, high: 1, left_ns: 130, away_ns: 0, top: 2, reserved: 0 };
        traced.regions[0].top = 1;
        traced.regions[1] = fiber;
        let mut sums = Sums::default();
        sums.cut(&traced, 200);
        let added = sums.take();
        assert_eq!((added[&ContentKey::new(11, 0)].total_ns, added[&ContentKey::new(12, 0)].total_ns), (100, 10));

        traced.current = 1;
        traced.regions[0].left_ns = 120;
        sums.cut(&traced, 200);
        let added = sums.take();
        assert_eq!((added[&ContentKey::new(11, 0)].self_ns, added[&ContentKey::new(12, 0)].total_ns), (20, 80));
    }

    #[test]
    fn frames_that_point_in_circles_end() {
        let mut traced = wire::read::<Traced>(&vec![0; size_of::<Traced>()]).unwrap();
        traced.frames[1] = frame(11, 1, 0, 1);
        traced.regions[0].top = 1;
        traced.regions[1].top = u32::MAX;
        let mut sums = Sums::default();
        sums.cut(&traced, 200);
        assert_eq!(sums.take().len(), 1);
    }
}
