//! Which part of PHP's work was traced.
//!
//! If there are requests, it is the share of them that began while their worker was traced. A traced worker is slower and begins
//! fewer requests, so the slowdown cancels out. Otherwise it is the share of CPU time, minus the cost of tracing. This is a
//! difference of two uncertain numbers and is reported only if it is large.

use std::collections::{HashMap, HashSet};

/// Requests that say enough.
const ENOUGH: u64 = 5;
/// Spans that are kept of a process.
const SPANS: usize = 64;
/// Share of the CPU time that must be PHP's own for it to say anything.
const OWN: f64 = 0.25;

/// A time in which a process was traced; `u64::MAX` is not over yet.
type Span = (u64, u64);

/// Counts requests that began within and outside of traced spans.
#[derive(Debug, Default)]
pub(crate) struct Part {
    began_ns: u64,
    spans: HashMap<u32, Vec<Span>>,
    traced: u64,
    all: u64,
}

impl Part {
    pub(crate) fn begin(&mut self, now_ns: u64) {
        *self = Self { began_ns: now_ns, ..Self::default() };
    }

    /// A process is traced from now on.
    pub(crate) fn open(&mut self, pid: u32, now_ns: u64) {
        let spans = self.spans.entry(pid).or_default();
        if spans.len() >= SPANS {
            spans.remove(0);
        }
        spans.push((now_ns, u64::MAX));
    }

    /// A process is traced no longer.
    pub(crate) fn close(&mut self, pid: u32, now_ns: u64) {
        if let Some(last) = self.spans.get_mut(&pid).and_then(|spans| spans.last_mut()) {
            last.1 = now_ns;
        }
    }

    /// A request of a process that can be traced, which began at that time, has ended.
    pub(crate) fn request(&mut self, pid: u32, started_ns: u64) {
        if started_ns < self.began_ns {
            return;
        }
        self.all += 1;
        let inside = |spans: &Vec<Span>| spans.iter().any(|(from, to)| (*from..*to).contains(&started_ns));
        self.traced += u64::from(self.spans.get(&pid).is_some_and(inside));
    }

    /// Forgets processes that have ended.
    pub(crate) fn retain(&mut self, alive: &HashSet<u32>) {
        self.spans.retain(|pid, _| alive.contains(pid));
    }

    /// The part, from 0 to 1; `None` when it cannot be told. Times are CPU time in seconds: of the traced processes while
    /// they were traced, of all processes, and what tracing took, which is part of both.
    pub(crate) fn ratio(&self, traced_s: f64, all_s: f64, cost_s: f64) -> Option<f64> {
        if self.traced >= ENOUGH {
            return Some(self.traced as f64 / self.all as f64);
        }
        let own_s = traced_s - cost_s;
        (own_s > traced_s * OWN && all_s > cost_s).then(|| (own_s / (all_s - cost_s)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_began_while_their_worker_was_traced_are_the_part() {
        let mut part = Part::default();
        part.begin(100);
        part.open(1, 200);
        part.close(1, 300);
        part.open(2, 400);
        part.request(1, 50);
        for started_ns in [150, 250, 260, 270, 350] {
            part.request(1, started_ns);
        }
        for started_ns in [390, 450, 900] {
            part.request(2, started_ns);
        }
        part.request(3, 250);
        assert_eq!((part.traced, part.all), (5, 9));
        assert_eq!(part.ratio(0.0, 0.0, 0.0), Some(5.0 / 9.0));
    }

    #[test]
    fn without_requests_it_is_cpu_time_where_most_of_it_is_not_tracing_itself() {
        let part = Part::default();
        assert_eq!(part.ratio(3.0, 5.0, 1.0), Some(0.5));
        assert_eq!(part.ratio(3.0, 5.0, 2.9), None);
        assert_eq!(part.ratio(0.0, 0.0, 0.0), None);
    }

    #[test]
    fn what_has_ended_is_forgotten_and_spans_are_bounded() {
        let mut part = Part::default();
        for time in 0..1000 {
            part.open(1, time * 2);
            part.close(1, time * 2 + 1);
        }
        assert_eq!(part.spans[&1].len(), SPANS);
        part.retain(&HashSet::new());
        assert!(part.spans.is_empty());
    }
}
