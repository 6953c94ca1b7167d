//! Running totals since the start, which only grow: by route, pool, group, class of exception and level of error. A snapshot holds
//! only the counts of its interval; metrics need counters that never go back and take them from here.

use std::{collections::HashMap, sync::Arc};

use crate::{
    model::{Histogram, Php, RouteKey, Snapshot},
    top::{Amount, Top},
};

/// Keys of one kind that are kept apart; there may be twice as many, and then the smaller half is added to the rest.
const KEPT: usize = 500;

/// Requests that finished.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestTotals {
    pub requests: u64,
    /// Those of them with a status of 500 or above.
    pub errors: u64,
    /// Their durations.
    pub durations: Histogram,
    /// Their CPU time, as far as known.
    pub cpu_ns: u64,
    /// Time that they were blocked, as far as known.
    pub wait_ns: u64,
}

impl Amount for RequestTotals {
    fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.durations.merge(&other.durations);
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.wait_ns = self.wait_ns.saturating_add(other.wait_ns);
    }

    fn size(&self) -> u64 {
        self.requests
    }
}

/// Totals since the start.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Requests by route.
    pub routes: Top<Arc<RouteKey>, RequestTotals>,
    /// Requests by php-fpm pool.
    pub pools: Top<Arc<str>, RequestTotals>,
    /// Requests by group of processes.
    pub groups: Top<Arc<str>, RequestTotals>,
    /// CPU time by group of processes, in nanoseconds.
    pub cpu: Top<Arc<str>, u64>,
    /// Exceptions by class.
    pub exceptions: Top<Arc<str>, u64>,
    /// Errors by level.
    pub errors: Top<Arc<str>, u64>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            routes: Top::new(KEPT),
            pools: Top::new(KEPT),
            groups: Top::new(KEPT),
            cpu: Top::new(KEPT),
            exceptions: Top::new(KEPT),
            errors: Top::new(KEPT),
        }
    }
}

impl Totals {
    /// Adds the counts of an interval.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        for group in &snapshot.groups {
            if let Some(cores) = group.cpu_ratio.filter(|cores| *cores > 0.0) {
                self.cpu.add(&group.name, &((cores * snapshot.interval_ms as f64 * 1e6) as u64));
            }
        }
        self.add_php(&snapshot.php);
    }

    fn add_php(&mut self, php: &Php) {
        let pools = pools_of_groups(php);
        for route in php.routes.iter().filter(|route| route.requests > 0) {
            let amount = RequestTotals {
                requests: route.requests,
                errors: route.errors,
                durations: route.histogram.clone(),
                cpu_ns: route.cpu_ns.unwrap_or(0),
                wait_ns: route.wait_ns.unwrap_or(0),
            };
            self.routes.add(&route.key, &amount);
            self.groups.add(&route.key.group, &amount);
            if let Some(Some(pool)) = pools.get(&route.key.group) {
                self.pools.add(pool, &amount);
            }
        }
        for exception in php.exceptions.iter().flatten() {
            self.exceptions.add(&exception.class, &exception.count);
        }
        for error in php.errors.iter().flatten() {
            self.errors.add(&error.level, &error.count);
        }
    }
}

/// The pool of each group; `None` for one that has workers of several.
fn pools_of_groups(php: &Php) -> HashMap<&Arc<str>, Option<&Arc<str>>> {
    let mut pools = HashMap::new();
    for worker in &php.workers {
        if let Some(group) = &worker.group {
            let pool = pools.entry(group).or_insert(Some(&worker.pool));
            *pool = pool.filter(|pool| **pool == worker.pool);
        }
    }
    pools
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ExceptionCount, ProblemRoutes, Route, Worker, WorkerState};

    fn key(path: &str, group: &str) -> Arc<RouteKey> {
        Arc::new(RouteKey { route: path.into(), script: "".into(), method: "GET".into(), group: group.into() })
    }

    fn worker(pid: u32, pool: &str, group: &str) -> Worker {
        let (pool, group) = (pool.into(), Some(group.into()));
        Worker { state: WorkerState::Idle, requests: Some(0), ..Worker::seen(pid, pool, group) }
    }

    fn php(paths: &[u16]) -> Php {
        let routes = paths.iter().map(|path| {
            let mut route = Route::seen(key(&format!("/{path}"), "php-fpm: www"));
            (route.requests, route.errors, route.cpu_ns) = (1, u64::from(path % 2), Some(5));
            route.histogram.record(1_000_000);
            route
        });
        let exception = ExceptionCount {
            class: "E".into(),
            message: "".into(),
            file: "".into(),
            line: 1,
            count: paths.len() as u64,
            count_error: 0,
            uncaught: None,
            caught_at: "".into(),
            script: "".into(),
            messages: Vec::new(),
            routes: ProblemRoutes::none(),
        };
        Php {
            routes: routes.collect(),
            exceptions: Some(vec![exception]),
            workers: vec![worker(1, "www", "php-fpm: www"), worker(2, "a", "both"), worker(3, "b", "both")],
            ..Php::default()
        }
    }

    #[test]
    fn a_group_with_workers_of_two_pools_counts_for_none_of_them() {
        let mut totals = Totals::default();
        let mut php = php(&[1]);
        php.routes.push(Route { requests: 7, ..Route::seen(key("/x", "both")) });
        totals.add_php(&php);
        assert_eq!(
            totals.pools.iter().map(|(pool, total, _)| (&**pool, total.requests)).collect::<Vec<_>>(),
            [("www", 1)]
        );
        assert_eq!(totals.groups.of(&"both".into()).map(|total| total.requests), Some(7));
    }

    proptest! {
        #[test]
        fn totals_are_the_sums_of_the_intervals_however_many_routes_there_are(intervals in prop::collection::vec(prop::collection::vec(0..3_000_u16, 0..400), 1..12)) {
            let mut totals = Totals::default();
            for paths in &intervals {
                totals.add_php(&php(paths));
            }
            let all: u64 = intervals.iter().map(|paths| paths.len() as u64).sum();
            let mut sum = totals.routes.rest().cloned().unwrap_or_default();
            totals.routes.iter().for_each(|(_, total, _)| sum.add(total));
            prop_assert_eq!((sum.requests, sum.durations.count(), sum.cpu_ns), (all, all, 5 * all));
            prop_assert!(totals.routes.len() <= 2 * KEPT);
            let of = |key: &str| totals.exceptions.of(&key.into()).copied().unwrap_or(0);
            prop_assert_eq!(of("E"), all);
            let pool = totals.pools.of(&"www".into()).map_or(0, |total| total.requests);
            prop_assert_eq!(pool, all);
        }
    }
}
