//! The part of one interval that a sum needs, by number: much less than the interval's [`Php`], whose stacks have all their frames.

use std::sync::Arc;

use jiff::Timestamp;

use super::{super::lanes::Point, Renumbered, Tables, places::Place, requests::Requests};
use crate::{
    model::{
        CompiledFile, ExceptionCount, Exhausted, Function, HotLine, HotLines, LineCalls, Php, PhpError, ProblemRoute,
        Request, Route,
    },
    top::Amount,
};

/// Waiting time that weighs as much as a sample: the time from one sample to the next, about.
const WAIT_NS: u64 = 10_000_000;
/// Growth that weighs as much: what is charged to a stack at one time, about.
const GROWTH_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub(super) struct Interval {
    pub at: Timestamp,
    pub interval_ms: u64,
    pub functions: Vec<(u32, Counts)>,
    pub stacks: Vec<StackCounts>,
    pub routes: Vec<(u32, RouteCounts)>,
    /// The most requests that a route had that is not listed.
    pub other_route_requests: u64,
    /// Finished requests, with the number of the route in place of its index.
    pub requests: Vec<Request>,
    /// Requests that exceeded `memory_limit`, with the number of the route in place of its index.
    pub exhausted: Option<Vec<Exhausted>>,
    pub exceptions: Option<Vec<ExceptionCount>>,
    pub errors: Option<Vec<PhpError>>,
    pub compiles: Option<Vec<CompiledFile>>,
    pub lines: Option<Vec<LineCalls>>,
    pub workers: Vec<Point>,
    /// What single requests had of the stacks.
    pub request_stacks: Requests,
    /// Samples of stacks that have no number, because there are too many.
    pub left_out: u64,
    /// What it takes, about: most texts are shared.
    pub bytes: usize,
}

/// What is counted of a function.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub self_samples: u64,
    pub total_samples: u64,
    /// Waiting time of itself and in total, calls, exact time of itself and in total, growth of itself and in total.
    pub optional: [Option<u64>; 7],
    pub durations_log2: Option<Vec<u64>>,
    pub hot_lines: HotLines,
    pub count_error: u64,
    /// What decides whether it is kept: samples, calls, waits, and in how many intervals it was seen.
    pub weight: u64,
}

/// What is counted of a route.
#[derive(Debug, Clone)]
pub(super) struct RouteCounts {
    pub route: Route,
    /// What decides whether it is kept: requests, samples, and in how many intervals it was seen.
    pub weight: u64,
}

/// What is counted of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct StackCounts {
    pub id: u32,
    pub samples: u64,
    pub wait_ns: Option<u64>,
    pub growth_bytes: Option<u64>,
}

impl StackCounts {
    /// How much it weighs beside others, in samples about.
    pub(super) fn weight(&self) -> u64 {
        self.samples + self.wait_ns.unwrap_or(0) / WAIT_NS + self.growth_bytes.unwrap_or(0) / GROWTH_BYTES
    }
}

impl Interval {
    /// Gives everything in a [`Php`] its number.
    pub(crate) fn of(at: Timestamp, php: &Php, tables: &mut Tables) -> Self {
        let function_ids: Vec<u32> = php.functions.iter().map(|function| tables.function(&function.key)).collect();
        let route_ids: Vec<u32> = php.routes.iter().map(|route| tables.route(&route.key)).collect();
        let mut left_out = 0;
        let mut stacks = Vec::with_capacity(php.stacks.len());
        let mut stack_ids = Vec::with_capacity(php.stacks.len());
        for stack in &php.stacks {
            stack_ids.push(tables.stack(stack, &function_ids, &route_ids));
            match stack_ids.last().copied().flatten() {
                Some(id) => stacks.push(StackCounts {
                    id,
                    samples: stack.samples,
                    wait_ns: stack.wait_ns,
                    growth_bytes: stack.growth_bytes,
                }),
                None => left_out += stack.samples,
            }
        }
        let mut samples = vec![0; php.routes.len()];
        for stack in &php.stacks {
            if let Some(samples) = samples.get_mut(stack.route) {
                *samples += stack.samples;
            }
        }
        let of_route = |((&id, route), samples): ((&u32, &Route), u64)| {
            let weight = 1 + route.requests + samples;
            (id, RouteCounts { route: Route { key: Arc::clone(tables.route_key(id)), ..route.clone() }, weight })
        };
        let finished = php.requests.iter().filter(|request| request.finished);
        let mut interval = Self {
            at,
            interval_ms: php.interval_ms,
            functions: function_ids.iter().copied().zip(php.functions.iter().map(counts)).collect(),
            stacks,
            routes: route_ids.iter().zip(&php.routes).zip(samples).map(of_route).collect(),
            other_route_requests: php.other_route_requests,
            requests: finished
                .filter_map(|request| {
                    Some(Request { route: *route_ids.get(request.route)? as usize, ..request.clone() })
                })
                .collect(),
            exhausted: php.exhausted.as_ref().map(|exhausted| {
                let numbered = |exhausted: &Exhausted| {
                    Some(Exhausted { route: *route_ids.get(exhausted.route)? as usize, ..exhausted.clone() })
                };
                exhausted.iter().filter_map(numbered).collect()
            }),
            exceptions: php.exceptions.clone(),
            errors: php.errors.clone(),
            compiles: php.compiles.clone(),
            lines: php.lines.clone(),
            workers: php.workers.iter().map(|worker| Point::of(at, php.interval_ms, worker)).collect(),
            request_stacks: Requests::of(php, &stack_ids),
            left_out,
            bytes: 0,
        };
        let numbered = |route: usize| route_ids.get(route).map(|&id| id as usize);
        renumber(&mut interval.exceptions, numbered);
        renumber(&mut interval.errors, numbered);
        interval.bytes = interval.measured();
        interval
    }

    /// The numbers of its stacks.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = u32> {
        self.stacks.iter().map(|stack| stack.id)
    }

    /// Gives everything its new number; stacks without one are left out.
    pub(crate) fn renumber(&mut self, renumbered: &Renumbered) {
        self.functions.iter_mut().for_each(|(id, _)| *id = renumbered.function(*id));
        self.routes.iter_mut().for_each(|(id, _)| *id = renumbered.route(*id));
        self.requests.iter_mut().for_each(|request| request.route = renumbered.route(request.route as u32) as usize);
        let exhausted = self.exhausted.iter_mut().flatten();
        exhausted.for_each(|exhausted| exhausted.route = renumbered.route(exhausted.route as u32) as usize);
        renumber(&mut self.exceptions, |route| Some(renumbered.route(route as u32) as usize));
        renumber(&mut self.errors, |route| Some(renumbered.route(route as u32) as usize));
        self.request_stacks.renumber(renumbered);
        let left_out = &mut self.left_out;
        self.stacks.retain_mut(|stack| match renumbered.stack(stack.id) {
            Some(id) => {
                stack.id = id;
                true
            }
            None => {
                *left_out += stack.samples;
                false
            }
        });
    }

    fn measured(&self) -> usize {
        let lines = self.functions.iter().map(|(_, counts)| counts.hot_lines.lines.len());
        let durations = self.functions.iter().filter_map(|(_, counts)| counts.durations_log2.as_ref());
        let routes = self.routes.iter().map(|(_, counts)| {
            size_of::<(u32, RouteCounts)>()
                + counts.route.histogram.bytes()
                + counts.route.memory.as_ref().map_or(0, |memory| memory.histogram.bytes())
        });
        let requests = self.requests.iter().map(|request| size_of::<Request>() + request.uri.len());
        size_of::<Self>()
            + self.functions.len() * size_of::<(u32, Counts)>()
            + lines.sum::<usize>() * size_of::<HotLine>()
            + durations.map(|list| list.len() * size_of::<u64>()).sum::<usize>()
            + self.stacks.len() * size_of::<StackCounts>()
            + routes.sum::<usize>()
            + requests.sum::<usize>()
            + size_of_list(&self.exhausted)
            + size_of_list(&self.exceptions)
            + size_of_list(&self.errors)
            + size_of_list(&self.compiles)
            + routes_of(&self.exceptions)
            + routes_of(&self.errors)
            + size_of_list(&self.lines)
            + self.workers.len() * size_of::<Point>()
            + self.request_stacks.bytes()
    }
}

/// Gives the routes of problems other numbers.
fn renumber<T: Place>(list: &mut Option<Vec<T>>, number: impl Fn(usize) -> Option<usize>) {
    list.iter_mut().flatten().filter_map(Place::routes_mut).for_each(|routes| routes.renumber(&number));
}

/// What the routes of problems take.
fn routes_of<T: Place>(list: &Option<Vec<T>>) -> usize {
    let routes = list.iter().flatten().filter_map(Place::routes);
    routes.map(|routes| routes.iter().count() * size_of::<ProblemRoute>()).sum()
}

fn size_of_list<T>(list: &Option<Vec<T>>) -> usize {
    list.as_ref().map_or(0, |list| list.len() * size_of::<T>())
}

fn counts(function: &Function) -> Counts {
    let [calls, wait_ns, growth_bytes] =
        [function.calls, function.total_wait_ns, function.total_growth_bytes].map(Option::unwrap_or_default);
    Counts {
        self_samples: function.self_samples,
        total_samples: function.total_samples,
        optional: [
            function.self_wait_ns,
            function.total_wait_ns,
            function.calls,
            function.self_ns,
            function.total_ns,
            function.self_growth_bytes,
            function.total_growth_bytes,
        ],
        durations_log2: function.durations_log2.clone(),
        hot_lines: function.hot_lines.clone(),
        count_error: function.count_error,
        weight: 1 + function.total_samples + calls + wait_ns / WAIT_NS + growth_bytes / GROWTH_BYTES,
    }
}

impl Amount for Counts {
    fn add(&mut self, other: &Self) {
        self.self_samples += other.self_samples;
        self.total_samples += other.total_samples;
        for (sum, value) in self.optional.iter_mut().zip(other.optional) {
            *sum = plus(*sum, value);
        }
        if let Some(durations) = &other.durations_log2 {
            add_durations(self.durations_log2.get_or_insert_default(), durations);
        }
        self.hot_lines.merge(&other.hot_lines);
        self.count_error += other.count_error;
        self.weight += other.weight;
    }

    fn size(&self) -> u64 {
        self.weight
    }

    fn count(&self) -> u64 {
        let [_, _, calls, ..] = self.optional;
        self.total_samples + calls.unwrap_or(0) + self.count_error
    }
}

impl Amount for RouteCounts {
    fn add(&mut self, other: &Self) {
        let (sum, route) = (&mut self.route, &other.route);
        sum.requests += route.requests;
        sum.count_error += route.count_error;
        sum.errors += route.errors;
        sum.histogram.merge(&route.histogram);
        sum.duration_ms.max = match (sum.duration_ms.max, route.duration_ms.max) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        sum.cpu_ns = plus(sum.cpu_ns, route.cpu_ns);
        sum.wait_ns = plus(sum.wait_ns, route.wait_ns);
        sum.rss_growth_bytes = plus(sum.rss_growth_bytes, route.rss_growth_bytes);
        if let Some(memory) = &route.memory {
            sum.memory.get_or_insert_default().merge(memory);
        }
        self.weight += other.weight;
    }

    fn size(&self) -> u64 {
        self.weight
    }

    fn count(&self) -> u64 {
        self.route.requests + self.route.count_error
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

pub(super) fn plus<T: std::ops::Add<Output = T> + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}
