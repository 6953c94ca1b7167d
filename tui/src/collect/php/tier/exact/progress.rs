//! What exact tracing reports while it runs: its progress and its cost.

use std::time::Instant;

use super::{Exact, State, UNSEEN, slot::Slot};
use crate::{
    collect::php::kernel::Kernel,
    model::{self, ExactState, TraceLimits},
};

impl Exact {
    /// What tracing took since the last call, in nanoseconds.
    pub(crate) fn paid_ns(&mut self) -> u64 {
        let spent_s = self.budget.spent_s();
        // A new budget begins with nothing spent.
        let paid_s = if spent_s < self.told_s { spent_s } else { spent_s - self.told_s };
        self.told_s = spent_s;
        (paid_s * 1e9) as u64
    }

    /// How far it is; `None` when it was never asked for.
    pub(crate) fn status(&mut self, kernel: &Kernel) -> Option<model::Exact> {
        let now = Instant::now();
        if matches!(self.state, State::Tracing { .. }) {
            self.account(kernel, now);
        }
        let request = self.request.as_ref()?;
        let unseen = self.calls == 0 && self.command_ran_php && self.untraced.is_empty();
        let untraced = if unseen { UNSEEN.to_owned() } else { self.untraced.join("; ") };
        let (state, running) = match self.state {
            State::Idle => return None,
            State::Counting { .. } => (ExactState::Counting, None),
            State::Priced => (ExactState::Priced, None),
            // A command of which nothing could be traced.
            State::Tracing { .. } | State::Ended if self.calls == 0 && !untraced.is_empty() => {
                (ExactState::Unavailable, None)
            }
            State::Tracing { since } => (ExactState::Tracing, Some(now - since)),
            State::Ended => (ExactState::Ended, None),
            State::Unavailable => (ExactState::Unavailable, None),
        };
        let reason = match (self.calls, &*untraced) {
            (_, "") => self.reason.clone(),
            (0, _) => untraced,
            _ => format!("some of the PHP that the command started is not traced: {untraced}"),
        };
        let TraceLimits { budget, limit } = self.limits;
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
        let call_s = (self.hit.is_some() && self.calls > 0 || self.price.is_some()).then(|| self.call_s(kernel));
        let traced_now_ns: u64 = self.slots.iter().flatten().map(Slot::cpu_ns).sum();
        let (traced_s, all_s) = self.workers.cpu_s();
        let cost_s = self.calls as f64 * call_s.unwrap_or(0.0);
        let traced_ratio = self.part.ratio(traced_s + traced_now_ns as f64 / 1e9, all_s, cost_s);
        Some(model::Exact {
            state,
            kind: request.kind,
            reason,
            pool: request.pool.clone(),
            candidates: self.workers.len() as u32,
            pids: self.pids(),
            budget_ratio: budget.is_finite().then_some(budget),
            spent_ratio: running
                .filter(|time| !time.is_zero())
                .map(|time| self.budget.spent_s() / time.as_secs_f64() / cpus),
            calls_per_cpu_s: self.price.map(|price| price.calls_per_cpu_s),
            call_ns: call_s.map(|seconds| seconds * 1e9),
            slowdown: self.price.map(|price| price.slowdown()),
            traced_ratio,
            calls: self.calls,
            left_ms: running.map(|time| limit.saturating_sub(time).as_millis() as u64),
        })
    }
}
