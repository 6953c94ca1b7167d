//! What each request of an interval had of its stacks: that of the longest goes into JSON and recordings, that of the others stays in
//! memory.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::stacks::Counted;
use crate::model::{NumberMap, Php, RequestStack, WorkerKey};

/// From then on a request is long, in nanoseconds.
const LONG_NS: u64 = 1_000_000_000;
/// Long requests that are kept, and stacks of each.
const LONG: usize = 16;
const STACKS: usize = 8;
/// Stacks of other requests in one interval.
const SHORT: usize = 1_000;

/// Time that weighs as much as a sample, and growth that does, about.
const SAMPLE_NS: u64 = 10_000_000;
const SAMPLE_BYTES: u64 = 1 << 20;

/// Collects them.
#[derive(Debug, Default)]
pub(super) struct RequestStacks {
    rows: NumberMap<(WorkerKey, Timestamp), Of>,
}

#[derive(Debug, Default)]
struct Of {
    duration_ns: u64,
    /// By stack.
    rows: NumberMap<usize, Counted>,
}

impl RequestStacks {
    /// Adds what a request that has lasted so long had of a stack.
    pub(super) fn add(
        &mut self,
        worker: WorkerKey,
        started_at: Timestamp,
        duration_ns: u64,
        stack: usize,
        counted: Counted,
    ) {
        let of = self.rows.entry((worker, started_at)).or_default();
        of.duration_ns = of.duration_ns.max(duration_ns);
        let sum = of.rows.entry(stack).or_default();
        sum.samples += counted.samples;
        sum.wait_ns += counted.wait_ns;
        sum.growth_bytes = Some(sum.growth_bytes.unwrap_or(0) + counted.growth_bytes.unwrap_or(0));
    }

    /// Puts them into a profile.
    pub(super) fn put(self, php: &mut Php) {
        let mut requests: Vec<_> = self.rows.into_iter().collect();
        // Those that are equally long keep their order from one snapshot to the next.
        requests.sort_by_key(|((worker, started_at), of)| (Reverse(of.duration_ns), *started_at, *worker));
        let (mut long, mut short) = (Vec::new(), Vec::new());
        for (number, ((worker, started_at), of)) in requests.into_iter().enumerate() {
            let row = |(stack, counted): (usize, Counted)| RequestStack {
                worker,
                started_at: Some(started_at),
                stack,
                samples: counted.samples,
                wait_ns: counted.wait_ns,
                growth_bytes: counted.growth_bytes.unwrap_or(0),
            };
            let mut rows: Vec<RequestStack> = of.rows.into_iter().map(row).collect();
            rows.sort_by_key(|row| (Reverse(weight(row)), row.stack));
            if number < LONG && of.duration_ns >= LONG_NS {
                short.extend(rows.split_off(rows.len().min(STACKS)));
                long.append(&mut rows);
            } else {
                short.append(&mut rows);
            }
        }
        if short.len() > SHORT {
            short.sort_by_key(|row| Reverse(weight(row)));
            php.left_out_request_stacks = (short.len() - SHORT) as u64;
            short.truncate(SHORT);
        }
        (php.request_stacks, php.short_request_stacks) = (long, Some(short));
    }
}

fn weight(row: &RequestStack) -> u64 {
    row.samples + row.wait_ns / SAMPLE_NS + row.growth_bytes / SAMPLE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_stacks_of_the_longest_requests_are_kept_and_the_rest_is_in_memory() {
        let mut stacks = RequestStacks::default();
        let counted = |samples| Counted { samples, ..Counted::default() };
        let start = |second| Timestamp::constant(second, 0);
        for pid in 0..20 {
            for stack in 0..10 {
                let duration_ns = LONG_NS - 2 + u64::from(pid);
                stacks.add(WorkerKey::of_process(pid), start(0), duration_ns, stack, counted(stack as u64 + 1));
            }
        }
        stacks.add(WorkerKey::of_process(19), start(0), LONG_NS, 9, counted(5));
        stacks.add(WorkerKey::of_process(19), start(5), 7, 9, counted(1));
        let mut php = Php::default();
        stacks.put(&mut php);
        let short = php.short_request_stacks.unwrap();
        assert_eq!((php.request_stacks.len(), short.len()), (LONG * STACKS, 201 - LONG * STACKS));
        assert!(php.request_stacks.iter().all(|row| row.worker.pid >= 4 && row.stack >= 2));
        let first = &php.request_stacks[0];
        assert_eq!((first.worker.pid, first.stack, first.samples), (19, 9, 15), "the longest, and its main stack");
        assert_eq!(php.left_out_request_stacks, 0);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut stacks = RequestStacks::default();
        for pid in 0..SHORT as u32 + 3 {
            let counted = Counted { samples: u64::from(pid), ..Counted::default() };
            stacks.add(WorkerKey::of_process(pid), Timestamp::UNIX_EPOCH, 1, 0, counted);
        }
        let mut php = Php::default();
        stacks.put(&mut php);
        assert_eq!((php.short_request_stacks.unwrap().len(), php.left_out_request_stacks), (SHORT, 3));
        assert!(php.request_stacks.is_empty());
    }
}
