//! The PHP half of a snapshot: raw counts by pid become functions, stacks, routes, requests and workers.

mod calls;
mod problems;
mod request_stacks;
mod route;
mod routes;
mod stacks;
mod workers;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp, Unit};

pub use self::route::{PARAMETERS, RouteRules};
use self::{
    problems::Failed,
    request_stacks::RequestStacks,
    routes::{Found, MOST, RouteKeys},
    stacks::{Counted, Stacks},
    workers::Workers,
};
use super::{digits, growth::Growths};
use crate::{
    collect::php::{CurrentWait, FinishedRequest, Now, PhpProcess, PhpSample, RequestMemory, RequestText, Sapi, Start},
    model::{
        Cost, Drops, Exhausted, FunctionKind, MemoryUnknown, Notice, NumberMap, Php, PhpState, Request, RouteKey,
        Target, Tier, TierState, Waiting, WorkerKey,
    },
    rules::naming,
    words::{names, units},
};

/// Running requests that a snapshot names, and finished ones: the slowest, and of the others the biggest and the newest.
const RUNNING: usize = 512;
const FINISHED: usize = 10;
const BIGGEST: usize = 2;
const NEWEST: usize = 2;
/// Requests that exceeded `memory_limit` which a snapshot names.
const EXHAUSTED: usize = 20;

/// What one [`PhpSample`] adds to a snapshot.
#[derive(Debug, Default)]
pub struct PhpPart {
    /// The `php` section.
    pub php: Arc<Php>,
    /// What was lost.
    pub drops: Drops,
    /// `bpf_ratio` and `probe_hits_per_s`; the other fields are `None`.
    pub cost: Cost,
    /// What cannot be observed, and why.
    pub notices: Vec<Notice>,
    /// What PHP's allocator said of requests, for the capacity of pools.
    pub(crate) served: Vec<ServedRequest>,
    /// Requests whose worker ended inside them.
    pub(super) aborted: Vec<AbortedRequest>,
}

/// A request of a server whose process ended inside it.
#[derive(Debug, Clone)]
pub(super) struct AbortedRequest {
    pub at: Timestamp,
    pub pid: u32,
    /// Its parent; 0 when not known.
    pub parent: u32,
    /// Group of the worker.
    pub group: Arc<str>,
    pub method: Arc<str>,
    /// Folded path, or script where there is none.
    pub route: Arc<str>,
    pub duration_ms: f64,
}

/// A request with what PHP's allocator said of it.
#[derive(Debug)]
pub(crate) struct ServedRequest {
    pub pid: u32,
    pub pool: Option<Arc<str>>,
    /// What the allocator had kept from earlier requests at its start, or has now while it runs.
    pub heap_bytes: u64,
    /// Its peak; `None` while it runs, and when it is not known.
    pub peak_bytes: Option<u64>,
    /// PHP's allocator is off or replaced.
    pub other_allocator: bool,
    pub method: Arc<str>,
    /// Folded path, or script where there is none.
    pub route: Arc<str>,
    /// When it ended.
    pub at: Timestamp,
}

/// Where a process is: its group by the rules, and its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Name of the group.
    pub group: Arc<str>,
    /// php-fpm pool by which it came there; `None` where it had none.
    pub pool: Option<Arc<str>>,
}

/// Keeps what outlives one interval: places of ended processes, keys of routes and what each worker has served.
#[derive(Debug, Default)]
pub struct PhpAggregate {
    placed: HashMap<u32, Placed>,
    routes: RouteKeys,
    workers: Workers,
    /// Of requests that run, by process and start.
    growths: Growths<(u32, u64)>,
    starts: Starts,
}

/// When requests that run started on the wall clock, each told once: both clocks are not read at the same moment, and a request that
/// has another start each time is another one for whoever looks at it.
#[derive(Debug, Default)]
struct Starts(NumberMap<(u32, u64), Timestamp>);

impl Starts {
    fn of(&mut self, request: &RequestText, now: Now) -> Timestamp {
        *self
            .0
            .entry((request.pid, request.started_ns))
            .or_insert_with(|| microseconds(moment(request.started_ns, now)))
    }

    /// Forgets those that have ended.
    fn end(&mut self, running: &HashSet<(u32, u64)>) {
        self.0.retain(|key, _| running.contains(key));
    }
}

impl PhpAggregate {
    /// Has other rules say what makes requests one route.
    pub(super) fn set_route_rules(&mut self, rules: RouteRules) {
        self.routes.set_rules(rules);
    }

    /// Makes the PHP part of the snapshot for an interval of `interval_s` seconds.
    /// `placed` says where a live process is.
    pub fn update(&mut self, sample: PhpSample, interval_s: f64, placed: &dyn Fn(u32) -> Option<Placed>) -> PhpPart {
        self.placed = self.place(&sample, placed);
        let threaded = Threaded::of(&sample);
        let unknown: Arc<str> = "".into();
        let group = |pid: u32| self.placed.get(&pid).map_or(&unknown, |placed| &placed.group);
        let scripts: HashMap<u32, &Arc<str>> =
            sample.processes.iter().filter_map(|process| Some((process.pid, process.script.as_ref()?))).collect();
        let mut found = Found::new(&mut self.routes);
        for count in &sample.stacks {
            if let Some(request) = &count.request {
                found.see(request, &count.stack);
            }
        }
        let started: Vec<usize> =
            sample.running.iter().take(RUNNING).map(|request| found.of_request(group(request.pid), request)).collect();
        let ended: Vec<usize> = sample
            .finished
            .iter()
            .map(|FinishedRequest { request, status, .. }| {
                let route = found.of_ended(group(request.pid), request, *status);
                found.add_request(route);
                route
            })
            .collect();
        let sampled: Vec<usize> = sample
            .stacks
            .iter()
            .map(|count| {
                let route = match &count.request {
                    Some(request) => found.of_request(group(count.pid), request),
                    None => found.of_script(count.pid, group(count.pid), scripts.get(&count.pid).copied()),
                };
                found.add_samples(route, count.samples);
                route
            })
            .collect();
        let failed = Failed::find(&sample, |pid, request| match request {
            Some(request) => found.of_request(group(pid), request),
            None => found.of_script(pid, group(pid), scripts.get(&pid).copied()),
        });
        let mut routes = found.choose();
        let mut served = Vec::new();

        let waits: NumberMap<(u32, u64), &CurrentWait> =
            sample.waits.iter().map(|wait| ((wait.pid, wait.request), wait)).collect();
        let mut requests: Vec<Request> = sample
            .running
            .iter()
            .zip(started)
            .map(|(request, route)| {
                let route = routes.place(route);
                served.extend(served_request(request, false, sample.now.at, routes.key(route)));
                let growth_bytes_per_minute = match request.memory {
                    RequestMemory::Known { bytes, .. } => {
                        self.growths.of((request.pid, request.started_ns), bytes, sample.now.monotonic_ns)
                    }
                    _ => None,
                };
                let waiting = waits.get(&(request.pid, request.started_ns)).and_then(|wait| waiting(wait, sample.now));
                let started_at = self.starts.of(request, sample.now);
                let tid = threaded.worker(request).tid;
                Request { tid, waiting, growth_bytes_per_minute, started_at, ..running(request, sample.now, route) }
            })
            .collect();
        let running: HashSet<(u32, u64)> =
            sample.running.iter().map(|request| (request.pid, request.started_ns)).collect();
        self.growths.keep(|key| running.contains(key));
        let mut finished = Vec::with_capacity(sample.finished.len());
        let mut aborted = Vec::new();
        let parents: HashMap<u32, u32> = sample.processes.iter().map(|process| (process.pid, process.parent)).collect();
        for (request, route) in sample.finished.iter().zip(ended) {
            let route = routes.place(route);
            routes.count(route, request);
            if request.aborted && !request.request.method.is_empty() {
                let parent = parents.get(&request.request.pid).copied().unwrap_or(0);
                aborted.push(AbortedRequest { parent, ..aborted_request(request, sample.now, routes.key(route)) });
            }
            if !request.aborted {
                let at = ended_at(request, sample.now);
                served.extend(served_request(&request.request, true, at, routes.key(route)));
            }
            finished.push((request, route));
        }
        let ended = |ended: &FinishedRequest| ((ended.request.pid, ended.request.started_ns), ended.duration_ns);
        let lasted: NumberMap<(u32, u64), u64> = sample.finished.iter().map(ended).collect();
        let (mut stacks, mut request_stacks) = (Stacks::default(), RequestStacks::default());
        let sees = |tier| sample.targets.iter().any(|target| target.tiers.is_on(tier));
        let sees_growth = sees(Tier::Growth);
        for (count, route) in sample.stacks.iter().zip(sampled) {
            let (route, growth_bytes) = (routes.place(route), sees_growth.then_some(count.growth_bytes));
            let counted = Counted { samples: count.samples, wait_ns: digits::time(count.wait_ns), growth_bytes };
            let stack = stacks.add(route, &count.stack, counted);
            if let Some(request) = &count.request {
                let started_at = self.starts.of(request, sample.now);
                let lasted_ns = match lasted.get(&(request.pid, request.started_ns)) {
                    Some(&lasted_ns) => lasted_ns,
                    None => sample.now.monotonic_ns.saturating_sub(request.started_ns),
                };
                request_stacks.add(threaded.worker(request), started_at, lasted_ns, stack, counted);
            }
            growth_bytes.into_iter().for_each(|bytes| routes.grow(route, bytes));
        }
        let exhausted = (sees(Tier::Peaks) && sees(Tier::Errors)).then(|| exhausted(&sample, &finished));
        sample.lines.iter().for_each(|(function, lines)| stacks.add_lines(function, lines));
        let lines = calls::add(&sample, &mut stacks);
        requests.extend(notable(&mut finished).map(|(request, route)| {
            let started_at = self.starts.of(&request.request, sample.now);
            let tid = threaded.worker(&request.request).tid;
            Request { tid, started_at, ..of_finished(request, sample.now, route) }
        }));
        self.starts.end(&running);
        let (exceptions, errors) = (failed.exceptions(&routes), failed.errors(&routes));
        let (others, other_route_requests) = (routes.others, routes.other_requests);
        let mut routes = routes.finish();
        if sees_growth {
            routes.iter_mut().for_each(|route| _ = route.rss_growth_bytes.get_or_insert(0));
        }
        self.routes.end(interval_s, &sample.running);
        self.workers.update(&sample, &threaded);
        let workers = self.workers.list(&sample, &threaded, &self.placed, &mut stacks);
        let mut php = Php {
            interval_ms: (interval_s * 1000.0).round() as u64,
            state: PhpState::Read,
            functions: stacks.functions,
            stacks: stacks.stacks,
            request_stacks: Vec::new(),
            short_request_stacks: None,
            left_out_request_stacks: 0,
            left_out_samples: 0,
            routes,
            other_route_requests,
            requests,
            exceptions,
            errors,
            compiles: problems::compiles(&sample),
            exhausted,
            workers,
            pools: Vec::new(),
            exact: sample.exact,
            lines,
            targets: sample.targets,
        };
        request_stacks.put(&mut php);
        if sample.root.is_some() {
            php.targets.retain(|target| !target.pids.is_empty());
        }
        let mut notices = sample.notices;
        notices.extend(of_tiers(&php.targets, sample.root.is_some()));
        notices.extend(of_exhausted(&php));
        if others > 0 {
            notices.push(Notice::routes_left_out(others, MOST, other_route_requests));
        }
        PhpPart {
            php: Arc::new(php),
            drops: sample.drops,
            cost: Cost {
                bpf_ratio: rate(
                    (sample.work.sample_ns
                        + sample.work.wait_ns
                        + sample.work.growth_ns
                        + sample.work.probe_ns
                        + sample.work.trace_ns) as f64
                        / 1e9,
                    interval_s,
                ),
                probe_hits_per_s: rate(sample.work.probe_hits as f64, interval_s),
                ..Cost::default()
            },
            notices,
            served,
            aborted,
        }
    }

    /// Finds the place of every PHP process of the interval, those that have ended included.
    fn place(&self, sample: &PhpSample, placed: &dyn Fn(u32) -> Option<Placed>) -> HashMap<u32, Placed> {
        let mut places = HashMap::with_capacity(sample.processes.len());
        let mut of_image: HashMap<(usize, Option<&str>), Arc<str>> = HashMap::new();
        // Two masters may have pools of one name, which are two groups.
        let mut of_master: HashMap<(u32, Option<&str>), Arc<str>> = HashMap::new();
        let mut nameless: Vec<&PhpProcess> = Vec::new();
        for process in &sample.processes {
            // A worker that was just forked may still be counted with its master.
            let fits = |placed: &Placed| process.pool.is_none() || placed.pool == process.pool;
            let live = process.alive.then(|| placed(process.pid)).flatten();
            match live.or_else(|| self.placed.get(&process.pid).cloned()).filter(fits) {
                Some(placed) => {
                    of_image.insert((process.image, process.pool.as_deref()), placed.group.clone());
                    of_master.insert((process.parent, process.pool.as_deref()), placed.group.clone());
                    places.insert(process.pid, placed);
                }
                None => nameless.push(process),
            }
        }
        // One that lived between two looks at /proc belongs where others of its pool or image belong.
        for process in nameless {
            let pool = process.pool.as_deref();
            let of_master = of_master.get(&(process.parent, pool)).filter(|_| process.parent > 1);
            let group = match (of_master.or_else(|| of_image.get(&(process.image, pool))), &process.pool) {
                (Some(group), _) => group.clone(),
                (None, Some(pool)) => naming::of_pool(pool, None).into(),
                (None, None) => of_unseen(process, sample),
            };
            places.insert(process.pid, Placed { group, pool: process.pool.clone() });
        }
        places
    }
}

/// The group of a process that no look at /proc has seen, as the rules would have it.
fn of_unseen(process: &PhpProcess, sample: &PhpSample) -> Arc<str> {
    let serves = || {
        let requests = sample.finished.iter().map(|finished| &finished.request).chain(&sample.running);
        requests.into_iter().any(|request| request.pid == process.pid && !request.method.is_empty())
    };
    match process.sapi {
        Sapi::Cli | Sapi::Phpdbg if process.script.is_none() && serves() => naming::BUILT_IN_SERVER.into(),
        Sapi::Cli | Sapi::Phpdbg => naming::of_script(process.script_name.as_deref()),
        Sapi::Fpm => naming::FPM_MASTER.into(),
        Sapi::Apache => naming::APACHE.into(),
        Sapi::Cgi => naming::CGI.into(),
        // It is named as its program.
        Sapi::Embed => {
            let program = sample.target(process.image).and_then(|target| target.exe.rsplit('/').next());
            program.filter(|name| !name.is_empty()).unwrap_or("php").into()
        }
    }
}

/// The processes in which PHP runs in several threads, each of which is a worker.
#[derive(Debug, Default)]
struct Threaded(HashSet<u32>);

impl Threaded {
    fn of(sample: &PhpSample) -> Self {
        let threaded = sample.processes.iter().filter(|process| !process.threads.is_empty());
        Self(threaded.map(|process| process.pid).collect())
    }

    /// The worker that runs a request.
    fn worker(&self, request: &RequestText) -> WorkerKey {
        let is_thread = request.tid != 0 && self.0.contains(&request.pid);
        WorkerKey { pid: request.pid, tid: is_thread.then_some(request.tid) }
    }
}

fn rate(amount: f64, interval_s: f64) -> Option<f64> {
    (interval_s > 0.0).then(|| amount / interval_s)
}

/// When something was by the monotonic clock.
fn moment(monotonic_ns: u64, now: Now) -> Timestamp {
    let age = now.monotonic_ns.saturating_sub(monotonic_ns);
    let age = SignedDuration::from_nanos(i64::try_from(age).unwrap_or(i64::MAX));
    now.at.checked_sub(age).unwrap_or(now.at)
}

fn ended_at(finished: &FinishedRequest, now: Now) -> Timestamp {
    let duration = SignedDuration::from_nanos(i64::try_from(finished.duration_ns).unwrap_or(i64::MAX));
    moment(finished.request.started_ns, now).checked_add(duration).unwrap_or(now.at)
}

fn aborted_request(request: &FinishedRequest, now: Now, key: &RouteKey) -> AbortedRequest {
    AbortedRequest {
        at: ended_at(request, now),
        pid: request.request.pid,
        parent: 0,
        group: Arc::clone(&key.group),
        method: Arc::clone(&key.method),
        route: if key.route.is_empty() { key.script.clone() } else { key.route.clone() },
        duration_ms: request.duration_ns as f64 / 1e6,
    }
}

fn served_request(request: &RequestText, ended: bool, at: Timestamp, key: &RouteKey) -> Option<ServedRequest> {
    let (start_bytes, bytes, peak_bytes) = match request.memory {
        RequestMemory::Known { start_bytes, bytes, peak_bytes, .. } => (start_bytes, bytes, Some(peak_bytes)),
        RequestMemory::OtherAllocator => (0, 0, None),
        RequestMemory::Unknown | RequestMemory::Gone => return None,
    };
    Some(ServedRequest {
        pid: request.pid,
        pool: request.pool.clone(),
        heap_bytes: if ended { start_bytes } else { bytes },
        peak_bytes: peak_bytes.filter(|_| ended),
        other_allocator: request.memory == RequestMemory::OtherAllocator,
        method: key.method.clone(),
        route: if key.route.is_empty() { key.script.clone() } else { key.route.clone() },
        at,
    })
}

/// Requests that exceeded `memory_limit`, the oldest first; the last ones where there are many.
fn exhausted(sample: &PhpSample, finished: &[(&FinishedRequest, usize)]) -> Vec<Exhausted> {
    let mut exhausted: Vec<Exhausted> = sample
        .exhausted
        .iter()
        .filter_map(|(request, place)| {
            let (finished, route) = finished.iter().find(|(finished, _)| Arc::ptr_eq(&finished.request, request))?;
            let limit_bytes = match request.memory {
                RequestMemory::Known { limit_bytes, .. } => limit_bytes,
                _ => None,
            };
            Some(Exhausted {
                at: ended_at(finished, sample.now),
                pid: request.pid,
                route: *route,
                file: place.file.clone(),
                line: place.line,
                peak_bytes: request.memory.peak_bytes(),
                limit_bytes,
            })
        })
        .collect();
    exhausted.sort_by_key(|exhausted| exhausted.at);
    exhausted.drain(..exhausted.len().saturating_sub(EXHAUSTED));
    exhausted
}

/// Says where `memory_limit` was exceeded, once for each place and route.
fn of_exhausted(php: &Php) -> Vec<Notice> {
    let mut told: Vec<(&Exhausted, usize)> = Vec::new();
    for exhausted in php.exhausted.iter().flatten() {
        let place = |other: &Exhausted| (other.route, other.line) == (exhausted.route, exhausted.line);
        match told.iter_mut().find(|(other, _)| place(other) && other.file == exhausted.file) {
            Some((last, times)) => (*last, *times) = (exhausted, *times + 1),
            None => told.push((exhausted, 1)),
        }
    }
    let notice = |(exhausted, times): (&Exhausted, usize)| {
        let route = php.routes.get(exhausted.route)?;
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), units::bytes);
        let request = format!("{} {}", route.key.method, names::route(route));
        let place = format!("{}:{}", exhausted.file, exhausted.line);
        Some(Notice::memory_exhausted(
            request.trim_start(),
            &place,
            &size(exhausted.peak_bytes),
            &size(exhausted.limit_bytes),
            times,
        ))
    };
    told.into_iter().filter_map(notice).collect()
}

/// What a wait says; `None` where its stack has no function.
fn waiting(wait: &CurrentWait, now: Now) -> Option<Waiting> {
    let mut frames = wait.stack.frames.iter();
    let function = Arc::clone(frames.next()?);
    let caller = frames.find(|frame| frame.kind != FunctionKind::Internal).cloned();
    Some(Waiting {
        function,
        caller,
        since: moment(wait.since_ns, now),
        since_known: !wait.began_before,
        kernel: wait.kernel.clone(),
    })
}

fn running(request: &RequestText, now: Now, route: usize) -> Request {
    let (memory_bytes, memory_limit_bytes) = match request.memory {
        RequestMemory::Known { bytes, limit_bytes, .. } => (Some(bytes), limit_bytes),
        RequestMemory::Unknown | RequestMemory::OtherAllocator | RequestMemory::Gone => (None, None),
    };
    let memory_unknown = match request.memory {
        RequestMemory::OtherAllocator => Some(MemoryUnknown::OtherAllocator),
        RequestMemory::Gone => Some(MemoryUnknown::Killed),
        RequestMemory::Unknown | RequestMemory::Known { .. } => None,
    };
    Request {
        pid: request.pid,
        tid: None,
        uri: request.uri.as_str().into(),
        method: request.method.as_str().into(),
        status: None,
        started_at: microseconds(moment(request.started_ns, now)),
        start_known: request.start != Start::Unknown,
        duration_ms: digits::milliseconds(now.monotonic_ns.saturating_sub(request.started_ns)),
        cpu_ms: None,
        wait_ms: (request.start == Start::Seen).then_some(digits::milliseconds(request.wait_ns)),
        waiting: None,
        memory_peak_bytes: request.memory.peak_bytes(),
        memory_bytes,
        memory_unknown,
        memory_limit_bytes,
        growth_bytes_per_minute: None,
        rss_growth_bytes_per_minute: None,
        finished: false,
        aborted: false,
        route,
    }
}

fn of_finished(finished: &FinishedRequest, now: Now, route: usize) -> Request {
    Request {
        status: finished.status,
        duration_ms: digits::milliseconds(finished.duration_ns),
        cpu_ms: finished.cpu_ns.map(digits::milliseconds),
        memory_bytes: None,
        finished: true,
        aborted: finished.aborted,
        ..running(&finished.request, now, route)
    }
}

/// A moment to the microsecond: more digits would take room in recordings and tell nothing.
fn microseconds(at: Timestamp) -> Timestamp {
    at.round(Unit::Microsecond).unwrap_or(at)
}

/// The slowest, the biggest and the newest finished requests, slowest first.
fn notable<'a, 'b>(
    finished: &'b mut Vec<(&'a FinishedRequest, usize)>,
) -> impl Iterator<Item = (&'a FinishedRequest, usize)> + use<'a, 'b> {
    if finished.len() > FINISHED {
        let mut chosen = finished.split_off(finished.len() - NEWEST);
        finished.sort_by_key(|(request, _)| std::cmp::Reverse(request.request.memory.peak_bytes()));
        chosen.extend(finished.drain(..BIGGEST));
        finished.sort_by_key(|(request, _)| std::cmp::Reverse(request.duration_ns));
        finished.truncate(FINISHED - chosen.len());
        finished.extend(chosen);
    }
    finished.sort_by_key(|(request, _)| std::cmp::Reverse(request.duration_ns));
    finished.drain(..)
}

/// Says which tiers are missing, and what is not collected at all.
fn of_tiers(targets: &[Target], one_command: bool) -> Vec<Notice> {
    let mut notices = Vec::new();
    for target in targets.iter().filter(|target| !target.pids.is_empty() && target.not_observed.is_none()) {
        let name = format!("PHP {} ({}, {})", target.version.as_deref().unwrap_or("?"), target.sapi, target.exe);
        for (tier, status) in target.tiers.iter().filter(|(_, status)| status.state == TierState::Unavailable) {
            if let Some(level) = tier.importance() {
                notices.push(Notice::tier_unavailable(level, &name, tier.shows(), &status.reason, &status.hint));
            }
        }
        for (tier, status) in target.tiers.iter() {
            let percent = status.counted_percent.into_iter();
            notices.extend(percent.map(|percent| Notice::too_many_to_count(&name, tier.shows(), percent)));
        }
    }
    let none = targets.iter().all(|target| target.pids.is_empty());
    match (none, one_command) {
        (true, true) => notices.push(Notice::command_without_php()),
        (true, false) => notices.push(Notice::no_php()),
        (false, _) => {}
    }
    notices
}

#[cfg(test)]
mod tests;
