//! The sum of PHP intervals by the numbers of their entries, and the profile made from it.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Tables,
    interval::{Counts, Interval},
    places::Places,
};
use crate::model::{
    CompiledFile, DurationSummary, ExceptionCount, Function, LineCalls, Php, PhpError, Request, Route, Stack,
};

/// Finished requests kept: the slowest.
const MAX_REQUESTS: usize = 200;
/// Different lines kept.
const MAX_PLACES: usize = 1_000;

/// Counts by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum {
    /// `None` for functions that were not seen.
    functions: Vec<Option<Counts>>,
    stacks: Vec<(u64, Option<u64>)>,
    routes: HashMap<u32, Route>,
    requests: Vec<Request>,
    exceptions: Places<ExceptionCount>,
    errors: Places<PhpError>,
    compiles: Places<CompiledFile>,
    lines: Option<Vec<LineCalls>>,
    /// Samples of stacks that have no number.
    left_out: u64,
}

impl Sum {
    pub(super) fn add(&mut self, interval: &Interval) {
        for (id, more) in &interval.functions {
            let counts = slot(&mut self.functions, *id).get_or_insert_default();
            counts.self_samples += more.self_samples;
            counts.total_samples += more.total_samples;
            for (sum, value) in counts.optional.iter_mut().zip(more.optional) {
                *sum = plus(*sum, value);
            }
            if let Some(durations) = &more.durations_log2 {
                add_durations(counts.durations_log2.get_or_insert_default(), durations);
            }
        }
        self.left_out += interval.left_out;
        for stack in &interval.stacks {
            let (samples, wait) = slot(&mut self.stacks, stack.id);
            *samples += stack.samples;
            *wait = plus(*wait, stack.wait_ns);
        }
        for (id, route) in &interval.routes {
            match self.routes.get_mut(id) {
                Some(sum) => add_route(sum, route),
                None => {
                    self.routes.insert(*id, route.clone());
                }
            }
        }
        self.add_requests(interval);
        self.exceptions.add(interval.exceptions.as_ref());
        self.errors.add(interval.errors.as_ref());
        self.compiles.add(interval.compiles.as_ref());
        self.add_lines(interval.lines.as_deref());
    }

    fn add_lines(&mut self, lines: Option<&[LineCalls]>) {
        let Some(lines) = lines else { return };
        let sum = self.lines.get_or_insert_default();
        // By place, so that a long list is not searched for each of its lines.
        let place = |line: &LineCalls| (line.file.clone(), line.line, line.class.clone(), line.name.clone());
        let places: HashMap<_, usize> = sum.iter().enumerate().map(|(at, line)| (place(line), at)).collect();
        for line in lines {
            match places.get(&place(line)) {
                Some(&at) => {
                    sum[at].calls += line.calls;
                    sum[at].self_ns += line.self_ns;
                    sum[at].total_ns += line.total_ns;
                }
                None if sum.len() < MAX_PLACES => sum.push(line.clone()),
                None => {}
            }
        }
    }

    /// Finished requests, each once.
    fn add_requests(&mut self, interval: &Interval) {
        let known: HashSet<(u32, Timestamp)> = self.requests.iter().map(|r| (r.pid, r.started_at)).collect();
        let new = interval.requests.iter().filter(|r| !known.contains(&(r.pid, r.started_at)));
        self.requests.extend(new.cloned());
        if self.requests.len() > MAX_REQUESTS {
            self.requests.sort_by(|a, b| b.duration_ms.total_cmp(&a.duration_ms));
            self.requests.truncate(MAX_REQUESTS);
        }
    }

    pub(super) fn stack_samples(&self, id: u32) -> u64 {
        self.stacks.get(id as usize).map_or(0, |(samples, _)| *samples)
    }

    /// Gives stacks their new numbers; the samples of those that have none are counted as left out.
    pub(super) fn renumber_stacks(&mut self, renumbered: &[u32], kept: usize) {
        let mut stacks = vec![(0, None); kept];
        for (old, counts) in self.stacks.iter().enumerate() {
            match stacks.get_mut(renumbered[old] as usize) {
                Some(place) => *place = *counts,
                None => self.left_out += counts.0,
            }
        }
        self.stacks = stacks;
    }

    /// The profile. What is not counted over time (images, workers, running requests) is that of `current`.
    pub(super) fn php(&self, tables: &Tables, current: &Php) -> Php {
        let mut places = vec![usize::MAX; tables.functions.len()];
        let mut functions = Vec::new();
        for (id, counts) in self.functions.iter().enumerate().filter_map(|(id, counts)| Some((id, counts.as_ref()?))) {
            places[id] = functions.len();
            let mut function = Function::seen(Arc::clone(&tables.functions[id]));
            function.self_samples = counts.self_samples;
            function.total_samples = counts.total_samples;
            [function.self_wait_ns, function.total_wait_ns, function.calls, function.self_ns, function.total_ns] =
                counts.optional;
            function.durations_log2 = counts.durations_log2.clone();
            functions.push(function);
        }
        let mut ids: Vec<u32> = self.routes.keys().copied().collect();
        ids.sort_unstable();
        let route_places: HashMap<usize, usize> = ids.iter().enumerate().map(|(at, &id)| (id as usize, at)).collect();
        let routes = ids.iter().map(|id| summarised(&self.routes[id])).collect();
        let stacks =
            self.stacks.iter().zip(&tables.stacks).filter(|((samples, wait), _)| *samples > 0 || wait.is_some());
        let stacks = stacks.filter_map(|(&(samples, wait_ns), path)| {
            let frames = path.frames.iter().map(|&id| places[id as usize]).collect();
            let route = *route_places.get(&(path.route as usize))?;
            Some(Stack { route, frames, samples, wait_ns, truncated: path.truncated })
        });
        let mut php = Php {
            // Whoever knows which intervals these are says how much time they cover.
            interval_ms: 0,
            state: current.state,
            targets: current.targets.clone(),
            functions,
            stacks: stacks.collect(),
            left_out_samples: self.left_out,
            routes,
            requests: Vec::new(),
            exceptions: self.exceptions.list(),
            errors: self.errors.list(),
            compiles: self.compiles.list(),
            workers: current.workers.clone(),
            pools: current.pools.clone(),
            exact: current.exact.clone(),
            lines: self.lines.clone(),
        };
        php.requests = self.requests(tables, current, &route_places);
        php
    }

    fn requests(&self, tables: &Tables, current: &Php, places: &HashMap<usize, usize>) -> Vec<Request> {
        let running = current.requests.iter().filter(|request| !request.finished).filter_map(|request| {
            let key = &current.routes.get(request.route)?.key;
            Some((request, tables.route_ids.known(key)? as usize))
        });
        let mut finished: Vec<(&Request, usize)> = self.requests.iter().map(|r| (r, r.route)).collect();
        finished.sort_by_key(|(request, _)| Reverse(request.duration_ms.to_bits()));
        running
            .chain(finished)
            .filter_map(|(request, id)| Some(Request { route: *places.get(&id)?, ..request.clone() }))
            .collect()
    }
}

fn add_durations(sum: &mut Vec<u64>, durations: &[u64]) {
    if sum.len() < durations.len() {
        sum.resize(durations.len(), 0);
    }
    for (sum, calls) in sum.iter_mut().zip(durations) {
        *sum += calls;
    }
}

fn slot<T: Clone + Default>(list: &mut Vec<T>, id: u32) -> &mut T {
    let at = id as usize;
    if list.len() <= at {
        list.resize(at + 1, T::default());
    }
    &mut list[at]
}

fn plus<T: std::ops::Add<Output = T> + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

fn add_route(sum: &mut Route, route: &Route) {
    sum.requests += route.requests;
    sum.errors += route.errors;
    sum.histogram.merge(&route.histogram);
    sum.duration_ms.max = match (sum.duration_ms.max, route.duration_ms.max) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    sum.cpu_ns = plus(sum.cpu_ns, route.cpu_ns);
    sum.wait_ns = plus(sum.wait_ns, route.wait_ns);
    sum.rss_growth_bytes = plus(sum.rss_growth_bytes, route.rss_growth_bytes);
}

fn summarised(route: &Route) -> Route {
    let mut route = route.clone();
    let quantile = |quantile| route.histogram.quantile_ms(quantile);
    route.duration_ms =
        DurationSummary { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max: route.duration_ms.max };
    route
}
