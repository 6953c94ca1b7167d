//! Running totals since the start, which only grow: by route, pool, group, class of exception and level of error. A snapshot holds
//! only the counts of its interval; metrics need counters that never go back and take them from here.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use crate::model::{Histogram, Php, RouteKey, Snapshot};

/// Keys of one kind that are kept apart; of more, the smallest are added to the rest.
const MOST: usize = 1_000;

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

/// What can be added up and be told more from less.
pub trait Sum: Default {
    /// Adds what was counted elsewhere.
    fn add(&mut self, other: &Self);
    /// Its size: the smallest gives way.
    fn size(&self) -> u64;
}

impl Sum for RequestTotals {
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

impl Sum for u64 {
    fn add(&mut self, other: &Self) {
        *self = self.saturating_add(*other);
    }

    fn size(&self) -> u64 {
        *self
    }
}

/// Totals by key: a thousand at most, and the rest in one sum, so that all of them together are exact.
#[derive(Debug, Clone)]
pub struct ByKey<K, T> {
    entries: HashMap<K, T>,
    rest: T,
}

impl<K, T: Default> Default for ByKey<K, T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), rest: T::default() }
    }
}

impl<K: Eq + Hash + Clone, T: Sum> ByKey<K, T> {
    fn add(&mut self, key: &K, amount: &T) {
        if let Some(total) = self.entries.get_mut(key) {
            total.add(amount);
            return;
        }
        if self.entries.len() >= MOST {
            self.make_room();
        }
        let mut total = T::default();
        total.add(amount);
        self.entries.insert(key.clone(), total);
    }

    /// Adds the smaller half to the rest, so that room has not to be made for each new key.
    fn make_room(&mut self) {
        let mut sizes: Vec<u64> = self.entries.values().map(Sum::size).collect();
        sizes.sort_unstable();
        let (median, mut left) = (sizes[sizes.len() / 2], sizes.len() / 2);
        let rest = &mut self.rest;
        self.entries.retain(|_, total| {
            let goes = left > 0 && total.size() <= median;
            if goes {
                left -= 1;
                rest.add(total);
            }
            !goes
        });
    }

    /// All that are kept apart, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.entries.iter()
    }

    /// The total of a key that is kept apart.
    pub fn of(&self, key: &K) -> Option<&T> {
        self.entries.get(key)
    }

    /// The sum of all others.
    pub fn rest(&self) -> &T {
        &self.rest
    }
}

/// Totals since the start.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Requests by route.
    pub routes: ByKey<Arc<RouteKey>, RequestTotals>,
    /// Requests by php-fpm pool.
    pub pools: ByKey<Arc<str>, RequestTotals>,
    /// Requests by group of processes.
    pub groups: ByKey<Arc<str>, RequestTotals>,
    /// CPU time by group of processes, in nanoseconds.
    pub cpu: ByKey<Arc<str>, u64>,
    /// Exceptions by class.
    pub exceptions: ByKey<Arc<str>, u64>,
    /// Errors by level.
    pub errors: ByKey<Arc<str>, u64>,
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
    use crate::model::{ExceptionCount, Route, Worker, WorkerState};

    fn key(path: &str, group: &str) -> Arc<RouteKey> {
        Arc::new(RouteKey { route: path.into(), script: "".into(), method: "GET".into(), group: group.into() })
    }

    fn worker(pid: u32, pool: &str, group: &str) -> Worker {
        let (pool, group) = (pool.into(), Some(group.into()));
        Worker { pid, pool, group, state: WorkerState::Idle, requests: 0, since: None }
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
            uncaught: None,
            caught_at: "".into(),
            script: "".into(),
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
            totals.pools.iter().map(|(pool, total)| (&**pool, total.requests)).collect::<Vec<_>>(),
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
            let mut sum = totals.routes.rest().clone();
            totals.routes.iter().for_each(|(_, total)| sum.add(total));
            prop_assert_eq!((sum.requests, sum.durations.count(), sum.cpu_ns), (all, all, 5 * all));
            prop_assert!(totals.routes.iter().count() <= MOST);
            let of = |key: &str| totals.exceptions.of(&key.into()).copied().unwrap_or(0);
            prop_assert_eq!(of("E"), all);
            let pool = totals.pools.of(&"www".into()).map_or(0, |total| total.requests);
            prop_assert_eq!(pool, all);
        }
    }
}
