//! The sum of PHP intervals by the numbers of their entries, and the profile made from it.

use std::{cmp::Reverse, collections::HashSet, sync::Arc};

use jiff::Timestamp;

use super::{
    Renumbered, Tables,
    interval::{Counts, Interval, RouteCounts, plus},
    places::Places,
    requests::RequestSums,
};
use crate::{
    analysis::profile::Scope,
    model::{
        CompiledFile, DurationSummary, ExceptionCount, Exhausted, Function, FunctionKey, FunctionKind, LineCalls,
        NumberMap, Php, PhpError, Request, Route, RouteKey, RouteMemory, Stack, Worker,
    },
    top::{Amount, Top, TopByNumber},
};

/// Routes, functions and lines kept of a long time when others give way; there may be twice as many.
pub(super) const ROUTES: usize = 4_000;
pub(super) const FUNCTIONS: usize = 15_000;
const LINES: usize = 1_000;
/// Groups whose routes that gave way are added up apart.
const GROUPS: usize = 500;
/// Finished requests kept: the slowest, and of the others the biggest.
const MAX_REQUESTS: usize = 200;
const MAX_BIGGEST: usize = 50;
/// Requests kept that exceeded `memory_limit`.
const MAX_EXHAUSTED: usize = 100;

/// Counts by number.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    functions: TopByNumber<Counts>,
    stacks: Vec<StackSum>,
    routes: TopByNumber<RouteCounts>,
    /// What stands for routes that are not listed, by the number of that route of their group.
    others: TopByNumber<RouteCounts>,
    /// The most requests that a route had that was not listed in an interval.
    other_route_requests: u64,
    requests: Vec<Request>,
    /// Requests that exceeded `memory_limit`: the last ones.
    exhausted: Option<Vec<Exhausted>>,
    exceptions: Places<ExceptionCount>,
    errors: Places<PhpError>,
    compiles: Places<CompiledFile>,
    lines: Option<Top<LineKey, LineCalls>>,
    request_stacks: RequestSums,
    /// Samples of stacks that have no number.
    left_out: u64,
}

/// What was counted of a stack.
#[derive(Debug, Clone, Copy, Default)]
struct StackSum {
    samples: u64,
    wait_ns: Option<u64>,
    growth_bytes: Option<u64>,
}

impl StackSum {
    fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.wait_ns = plus(self.wait_ns, other.wait_ns);
        self.growth_bytes = plus(self.growth_bytes, other.growth_bytes);
    }
}

/// File, line, class and name.
type LineKey = (Arc<str>, u32, Arc<str>, Arc<str>);

impl Default for Sum {
    /// The sum of a long time: what counts least gives way.
    fn default() -> Self {
        Self::new(TopByNumber::new(FUNCTIONS), TopByNumber::new(ROUTES), RequestSums::of_long_time())
    }
}

impl Sum {
    /// The sum of intervals that are there in whole: everything that they have is in it, but of single requests only what a scope
    /// asks for.
    pub(super) fn of_window(scope: &Scope) -> Self {
        Self::new(TopByNumber::unbounded(), TopByNumber::unbounded(), RequestSums::of_window(scope))
    }

    fn new(functions: TopByNumber<Counts>, routes: TopByNumber<RouteCounts>, request_stacks: RequestSums) -> Self {
        Self {
            functions,
            stacks: Vec::new(),
            routes,
            others: TopByNumber::new(GROUPS),
            other_route_requests: 0,
            requests: Vec::new(),
            exhausted: None,
            exceptions: Places::default(),
            errors: Places::default(),
            compiles: Places::default(),
            lines: None,
            request_stacks,
            left_out: 0,
        }
    }

    pub(super) fn add(&mut self, interval: &Interval, tables: &Tables) {
        for (id, counts) in &interval.functions {
            self.functions.add_hashed(id, counts, |id| tables.hash_of_function(*id));
        }
        self.left_out += interval.left_out;
        for stack in &interval.stacks {
            slot(&mut self.stacks, stack.id).add(&StackSum {
                samples: stack.samples,
                wait_ns: stack.wait_ns,
                growth_bytes: stack.growth_bytes,
            });
        }
        self.request_stacks.add(&interval.request_stacks);
        self.add_routes(interval, tables);
        self.add_requests(interval);
        if let Some(exhausted) = &interval.exhausted {
            let all = self.exhausted.get_or_insert_default();
            all.extend_from_slice(exhausted);
            all.drain(..all.len().saturating_sub(MAX_EXHAUSTED));
        }
        self.exceptions.add(interval.exceptions.as_ref());
        self.errors.add(interval.errors.as_ref());
        self.compiles.add(interval.compiles.as_ref());
        self.add_lines(interval.lines.as_deref());
    }

    fn add_routes(&mut self, interval: &Interval, tables: &Tables) {
        let others = &mut self.others;
        let hash = |id: &u32| tables.hash_of_route(*id);
        for (id, counts) in &interval.routes {
            if tables.is_other(*id) {
                others.add_hashed(id, counts, hash);
            } else {
                self.routes.add_giving(id, counts, hash, |gone, counts| {
                    others.add_hashed(&tables.other(gone), counts, hash);
                });
            }
        }
        let most = interval.other_route_requests;
        if most > 0 {
            // A route that is listed has all its requests, and any other one may have some that are not told.
            self.routes.miss(most);
            interval.routes.iter().for_each(|(id, _)| self.routes.is_whole(id, most));
            self.other_route_requests = self.other_route_requests.max(most);
        }
    }

    fn add_lines(&mut self, lines: Option<&[LineCalls]>) {
        let Some(lines) = lines else { return };
        let sum = self.lines.get_or_insert_with(|| Top::new(LINES));
        for line in lines {
            if line.is_rest() {
                sum.add_to_rest(line);
            } else {
                sum.add(&(line.file.clone(), line.line, line.class.clone(), line.name.clone()), line);
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
            let mut others = self.requests.split_off(MAX_REQUESTS - MAX_BIGGEST);
            others.sort_by_key(|request| Reverse(request.memory_peak_bytes));
            others.truncate(MAX_BIGGEST);
            self.requests.append(&mut others);
        }
    }

    pub(super) fn stack_samples(&self, id: u32) -> u64 {
        self.stacks.get(id as usize).map_or(0, |stack| stack.samples)
    }

    /// The numbers of the functions and routes in it.
    pub(super) fn functions(&self) -> impl Iterator<Item = u32> {
        self.functions.iter().map(|(id, ..)| *id)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = u32> {
        let rows = self.routes.iter().chain(self.others.iter()).map(|(id, ..)| *id);
        let exhausted = self.exhausted.iter().flatten().map(|exhausted| exhausted.route as u32);
        let problems = self.exceptions.routes().chain(self.errors.routes());
        rows.chain(self.requests.iter().map(|request| request.route as u32)).chain(exhausted).chain(problems)
    }

    /// Gives everything its new number; the samples of stacks that have none are counted as left out.
    pub(super) fn renumber(&mut self, renumbered: &Renumbered) {
        self.functions.rename(|&id| renumbered.function(id));
        self.routes.rename(|&id| renumbered.route(id));
        self.others.rename(|&id| renumbered.route(id));
        self.requests.iter_mut().for_each(|request| request.route = renumbered.route(request.route as u32) as usize);
        for (id, stack) in std::mem::take(&mut self.stacks).into_iter().enumerate() {
            match renumbered.stack(id as u32) {
                // Stacks may have become the same.
                Some(id) => slot(&mut self.stacks, id).add(&stack),
                None => self.left_out += stack.samples,
            }
        }
        self.request_stacks.renumber(renumbered);
        self.exceptions.renumber(|route| renumbered.route(route as u32) as usize);
        self.errors.renumber(|route| renumbered.route(route as u32) as usize);
        self.exhausted.iter_mut().flatten().for_each(|exhausted| {
            exhausted.route = renumbered.route(exhausted.route as u32) as usize;
        });
    }

    /// The profile. What is not counted over time (images, workers, running requests) is that of `current`. Of single requests it
    /// has the stacks of the longest, or those that belong to the scope if that is a request or a worker.
    pub(super) fn php(&self, tables: &Tables, current: &Php, scope: &Scope) -> Php {
        let (functions, function_places) = self.listed_functions(tables);
        let (routes, route_places) = self.listed_routes(tables);
        let place_of = |id: usize| route_places.of(id as u32, tables);
        let mut stack_places = vec![None; self.stacks.len()];
        let mut stacks = Vec::new();
        for ((&StackSum { samples, wait_ns, growth_bytes }, path), place) in
            self.stacks.iter().zip(&tables.stacks).zip(&mut stack_places)
        {
            if samples == 0 && wait_ns.is_none() {
                continue;
            }
            let function =
                |id: &u32| function_places.get(*id as usize).copied().unwrap_or(functions.len().saturating_sub(1));
            let frames = path.frames.iter().map(function).collect();
            let Some(route) = route_places.of(path.route, tables) else { continue };
            *place = Some(stacks.len());
            stacks.push(Stack { route, frames, samples, wait_ns, growth_bytes, truncated: path.truncated });
        }
        let mut php = Php {
            // Whoever knows which intervals these are says how much time they cover.
            interval_ms: 0,
            state: current.state,
            targets: current.targets.clone(),
            stacks,
            functions,
            request_stacks: Vec::new(),
            short_request_stacks: None,
            left_out_request_stacks: 0,
            left_out_samples: self.left_out,
            requests: self.requests(tables, current, &route_places),
            routes,
            other_route_requests: self.other_route_requests,
            exhausted: self.exhausted.as_ref().map(|exhausted| {
                let placed = |exhausted: &Exhausted| {
                    let route = route_places.of(exhausted.route as u32, tables)?;
                    Some(Exhausted { route, ..exhausted.clone() })
                };
                exhausted.iter().filter_map(placed).collect()
            }),
            exceptions: self.exceptions.list(place_of),
            errors: self.errors.list(place_of),
            compiles: self.compiles.list(place_of),
            workers: current.workers.iter().map(|worker| Worker { stack: Vec::new(), ..worker.clone() }).collect(),
            pools: current.pools.clone(),
            exact: current.exact.clone(),
            lines: self.lines.as_ref().map(listed_lines),
        };
        self.request_stacks.put(&mut php, scope, |id| stack_places.get(id as usize).copied().flatten());
        php
    }

    /// The functions and their places by number. The last stands for all that gave way.
    fn listed_functions(&self, tables: &Tables) -> (Vec<Function>, Vec<usize>) {
        let mut rows: Vec<_> = self.functions.iter().collect();
        rows.sort_unstable_by_key(|(id, ..)| **id);
        let more = self.functions.rest();
        // Without them there is no function that has no place.
        let mut places = vec![rows.len(); tables.functions.len()];
        let mut functions = Vec::with_capacity(rows.len() + usize::from(more.is_some()));
        for (&id, counts, error) in rows {
            places[id as usize] = functions.len();
            functions.push(function(Arc::clone(&tables.functions[id as usize]), counts, error));
        }
        functions.extend(more.map(|counts| function(Arc::new(more_functions()), counts, 0)));
        (functions, places)
    }

    /// The routes, and behind them what stands for those that are not listed.
    fn listed_routes(&self, tables: &Tables) -> (Vec<Route>, RoutePlaces) {
        let mut rows: Vec<_> = self.routes.iter().collect();
        rows.sort_unstable_by_key(|(id, ..)| **id);
        let mut others: Vec<_> = self.others.iter().collect();
        others.sort_unstable_by_key(|(id, ..)| **id);
        let mut places = RoutePlaces::default();
        let mut routes = Vec::with_capacity(rows.len() + others.len() + 1);
        for (&id, counts, error) in rows {
            places.known.insert(id, routes.len());
            routes.push(summarised(Route { count_error: counts.route.count_error + error, ..counts.route.clone() }));
        }
        for (&id, counts, _) in others {
            places.known.insert(id, routes.len());
            routes.push(summarised(Route { key: Arc::clone(tables.route_key(id)), ..counts.route.clone() }));
        }
        if let Some(counts) = self.others.rest() {
            places.rest = Some(routes.len());
            routes.push(summarised(Route { key: Arc::new(RouteKey::other(&"".into())), ..counts.route.clone() }));
        }
        (routes, places)
    }

    fn requests(&self, tables: &Tables, current: &Php, places: &RoutePlaces) -> Vec<Request> {
        let running = current.requests.iter().filter(|request| !request.finished).filter_map(|request| {
            let key = &current.routes.get(request.route)?.key;
            Some((request, tables.route_ids.known(key)?))
        });
        let mut finished: Vec<(&Request, u32)> = self.requests.iter().map(|r| (r, r.route as u32)).collect();
        finished.sort_by_key(|(request, _)| Reverse(request.duration_ms.to_bits()));
        running
            .chain(finished)
            .filter_map(|(request, id)| Some(Request { route: places.of(id, tables)?, ..request.clone() }))
            .collect()
    }
}

/// Where routes are in the list, by number.
#[derive(Debug, Default)]
struct RoutePlaces {
    known: NumberMap<u32, usize>,
    /// Of what stands for those of groups that are not listed either.
    rest: Option<usize>,
}

impl RoutePlaces {
    /// The place of a route, or of what stands for it.
    fn of(&self, id: u32, tables: &Tables) -> Option<usize> {
        self.known.get(&id).or_else(|| self.known.get(&tables.other(id))).copied().or(self.rest)
    }
}

fn function(key: Arc<FunctionKey>, counts: &Counts, error: u64) -> Function {
    let [self_wait_ns, total_wait_ns, calls, self_ns, total_ns, self_growth_bytes, total_growth_bytes] =
        counts.optional;
    let mut hot_lines = counts.hot_lines.clone();
    hot_lines.list();
    Function {
        key,
        self_samples: counts.self_samples,
        total_samples: counts.total_samples,
        count_error: counts.count_error + error,
        self_wait_ns,
        total_wait_ns,
        self_growth_bytes,
        total_growth_bytes,
        calls,
        self_ns,
        total_ns,
        durations_log2: counts.durations_log2.clone(),
        hot_lines,
    }
}

fn more_functions() -> FunctionKey {
    let nothing: Arc<str> = "".into();
    let (class, file) = (Arc::clone(&nothing), nothing);
    FunctionKey { name: "(more functions)".into(), class, file, line: 0, kind: FunctionKind::Unknown }
}

impl Amount for LineCalls {
    fn add(&mut self, other: &Self) {
        self.merge(other);
    }

    fn size(&self) -> u64 {
        self.self_ns.saturating_add(self.calls)
    }
}

fn listed_lines(sum: &Top<LineKey, LineCalls>) -> Vec<LineCalls> {
    let mut lines: Vec<LineCalls> = sum.iter().map(|(_, line, _)| line.clone()).collect();
    let place = |line: &LineCalls| (Arc::clone(&line.file), line.line, Arc::clone(&line.name));
    lines.sort_by(|a, b| b.self_ns.cmp(&a.self_ns).then_with(|| place(a).cmp(&place(b))));
    lines.extend(sum.rest().map(LineCalls::as_rest));
    lines
}

fn slot<T: Clone + Default>(list: &mut Vec<T>, id: u32) -> &mut T {
    let at = id as usize;
    if list.len() <= at {
        list.resize(at + 1, T::default());
    }
    &mut list[at]
}

fn summarised(mut route: Route) -> Route {
    let quantile = |quantile| route.histogram.quantile_ms(quantile);
    route.memory.iter_mut().for_each(RouteMemory::summarise);
    route.duration_ms =
        DurationSummary { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max: route.duration_ms.max };
    route
}
