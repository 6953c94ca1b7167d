//! What single requests and workers had of the stacks, by number: of one interval, and added up. Of the longest requests each is known
//! by itself; of all others, over a long time, only what their worker did.

use jiff::Timestamp;

use super::{Renumbered, interval::StackCounts};
use crate::{
    analysis::profile::Scope,
    model::{Php, PhpState, RequestStack, WorkerKey},
    top::{Amount, Top},
};

/// Stacks of requests, and of workers, kept of a long time when others give way.
const KEPT: usize = 5_000;

/// What one request had of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestCounts {
    worker: WorkerKey,
    /// `None` in the sum of several requests of a worker.
    started_at: Option<Timestamp>,
    /// It is one of those that recordings keep.
    long: bool,
    counts: StackCounts,
}

/// The requests of one interval.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    rows: Vec<RequestCounts>,
    /// Those that recordings do not keep are in it, too.
    whole: bool,
    left_out: u64,
}

impl Requests {
    /// Those of a [`Php`], whose stacks have these numbers.
    pub(super) fn of(php: &Php, stacks: &[Option<u32>]) -> Self {
        let long = php.request_stacks.iter().map(|row| (row, true));
        let short = php.short_request_stacks.iter().flatten().map(|row| (row, false));
        let mut left_out = php.left_out_request_stacks;
        let mut rows = Vec::with_capacity(php.request_stacks.len());
        for (row, long) in long.chain(short) {
            let Some(id) = stacks.get(row.stack).copied().flatten() else {
                left_out += 1;
                continue;
            };
            let (samples, wait_ns, growth_bytes) = (row.samples, Some(row.wait_ns), Some(row.growth_bytes));
            let counts = StackCounts { id, samples, wait_ns, growth_bytes };
            rows.push(RequestCounts { worker: row.worker, started_at: row.started_at, long, counts });
        }
        // Where nothing was read, nothing is missing.
        let whole = php.short_request_stacks.is_some() || php.state != PhpState::Read;
        Self { rows, whole, left_out }
    }

    pub(super) fn renumber(&mut self, renumbered: &Renumbered) {
        let left_out = &mut self.left_out;
        self.rows.retain_mut(|row| match renumbered.stack(row.counts.id) {
            Some(id) => {
                row.counts.id = id;
                true
            }
            None => {
                *left_out += 1;
                false
            }
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<RequestCounts>()
    }
}

/// Worker, start of the request, number of the stack.
type Key = (WorkerKey, Option<Timestamp>, u32);

/// Sums over several intervals.
#[derive(Debug, Clone)]
pub(super) struct RequestSums {
    /// What is wanted of windows that are there in whole; `None` adds up all that is kept of a long time.
    wanted: Option<Scope>,
    /// By request.
    requests: Top<Key, StackCounts>,
    /// What the other requests of a worker had.
    workers: Top<Key, StackCounts>,
    whole: bool,
    left_out: u64,
}

impl RequestSums {
    /// What is kept of a long time.
    pub(super) fn of_long_time() -> Self {
        let (requests, workers) = (Top::new(KEPT), Top::new(KEPT));
        Self { wanted: None, requests, workers, whole: true, left_out: 0 }
    }

    /// What belongs to one request or worker, of intervals that are there in whole.
    pub(super) fn of_window(wanted: &Scope) -> Self {
        Self {
            wanted: Some(wanted.clone()),
            requests: Top::unbounded(),
            workers: Top::unbounded(),
            ..Self::of_long_time()
        }
    }

    pub(super) fn add(&mut self, interval: &Requests) {
        self.whole &= interval.whole;
        self.left_out += interval.left_out;
        if self.wanted.as_ref().is_some_and(|wanted| !wanted.is_of_requests()) {
            return;
        }
        for row in &interval.rows {
            if !self.wanted.as_ref().is_none_or(|wanted| wanted.has_request(row.worker, row.started_at)) {
                continue;
            }
            let by_request = row.long || matches!(self.wanted, Some(Scope::Request { .. }));
            let id = row.counts.id;
            if by_request {
                self.requests.add(&(row.worker, row.started_at, id), &row.counts);
            } else {
                self.workers.add(&(row.worker, None, id), &row.counts);
            }
        }
    }

    pub(super) fn renumber(&mut self, renumbered: &Renumbered) {
        for sums in [&mut self.requests, &mut self.workers] {
            let mut kept = if self.wanted.is_some() { Top::unbounded() } else { Top::new(KEPT) };
            for (&(worker, started_at, id), counts, _) in sums.iter() {
                match renumbered.stack(id) {
                    Some(id) => kept.add(&(worker, started_at, id), &StackCounts { id, ..*counts }),
                    None => self.left_out += 1,
                }
            }
            self.left_out += sums.rest().map_or(0, |rest| rest.samples);
            *sums = kept;
        }
    }

    /// Puts what belongs to a scope into a profile; all of the longest requests, where the scope is no request or worker.
    /// `place` says where the stack with a number is in it.
    pub(super) fn put(&self, php: &mut Php, scope: &Scope, place: impl Fn(u32) -> Option<usize>) {
        let row = |(&(worker, started_at, id), counts, _): (&Key, &StackCounts, u64)| {
            let is_wanted = !scope.is_of_requests() || scope.has_request(worker, started_at);
            is_wanted.then_some(())?;
            let (samples, wait_ns) = (counts.samples, counts.wait_ns.unwrap_or(0));
            let growth_bytes = counts.growth_bytes.unwrap_or(0);
            Some(RequestStack { worker, started_at, stack: place(id)?, samples, wait_ns, growth_bytes })
        };
        php.request_stacks = self.requests.iter().filter_map(row).collect();
        let mut short: Vec<RequestStack> = match scope.is_of_requests() {
            true => self.workers.iter().filter_map(row).collect(),
            false => Vec::new(),
        };
        for rows in [&mut php.request_stacks, &mut short] {
            rows.sort_by_key(|row| (row.worker, row.started_at, row.stack));
        }
        if self.whole {
            php.short_request_stacks = Some(short);
        } else {
            php.request_stacks.append(&mut short);
        }
        let rest = [&self.requests, &self.workers].map(|sums| sums.rest().map_or(0, |rest| rest.samples));
        php.left_out_request_stacks = self.left_out + rest.iter().sum::<u64>();
    }
}

impl Amount for StackCounts {
    fn add(&mut self, other: &Self) {
        use super::interval::plus;

        self.samples += other.samples;
        self.wait_ns = plus(self.wait_ns, other.wait_ns);
        self.growth_bytes = plus(self.growth_bytes, other.growth_bytes);
    }

    fn size(&self) -> u64 {
        self.weight()
    }
}
