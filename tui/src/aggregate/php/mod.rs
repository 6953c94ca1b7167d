//! The PHP half of a snapshot: raw counts by pid become functions, stacks, routes, requests and workers.

mod calls;
mod problems;
mod route;
mod routes;
mod stacks;
mod workers;

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp, Unit};

use self::{
    routes::{Found, MOST, RouteKeys},
    stacks::Stacks,
    workers::Workers,
};
use crate::{
    collect::php::{CurrentWait, FinishedRequest, Now, PhpProcess, PhpSample, RequestText, Start},
    model::{Cost, Drops, FunctionKind, Notice, Php, PhpState, Request, Target, TierState, Waiting},
    rules::naming,
};

/// Running requests that a snapshot names, and finished ones: half the slowest, half the newest.
const RUNNING: usize = 200;
const FINISHED: usize = 40;

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
}

impl PhpAggregate {
    /// Makes the PHP part of the snapshot for an interval of `interval_s` seconds.
    /// `placed` says where a live process is.
    pub fn update(&mut self, sample: PhpSample, interval_s: f64, placed: &dyn Fn(u32) -> Option<Placed>) -> PhpPart {
        self.placed = self.place(&sample, placed);
        let unknown: Arc<str> = "".into();
        let group = |pid: u32| self.placed.get(&pid).map_or(&unknown, |placed| &placed.group);
        let scripts: HashMap<u32, &Arc<str>> =
            sample.processes.iter().filter_map(|process| Some((process.pid, process.script.as_ref()?))).collect();
        let mut found = Found::new(&mut self.routes);
        let started: Vec<usize> =
            sample.running.iter().take(RUNNING).map(|request| found.of_request(group(request.pid), request)).collect();
        let ended: Vec<usize> = sample
            .finished
            .iter()
            .map(|FinishedRequest { request, .. }| {
                let route = found.of_request(group(request.pid), request);
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
        let mut routes = found.choose();

        let waits: HashMap<(u32, u64), &CurrentWait> =
            sample.waits.iter().map(|wait| ((wait.pid, wait.request), wait)).collect();
        let mut requests: Vec<Request> = sample
            .running
            .iter()
            .zip(started)
            .map(|(request, route)| {
                let waiting = waits.get(&(request.pid, request.started_ns)).and_then(|wait| waiting(wait, sample.now));
                Request { waiting, ..running(request, sample.now, routes.place(route)) }
            })
            .collect();
        let mut finished = Vec::with_capacity(sample.finished.len());
        for (request, route) in sample.finished.iter().zip(ended) {
            let route = routes.place(route);
            routes.count(route, request);
            finished.push((request, route));
        }
        let mut stacks = Stacks::default();
        for (count, route) in sample.stacks.iter().zip(sampled) {
            stacks.add(routes.place(route), &count.stack, count.samples, count.wait_ns);
        }
        let lines = calls::add(&sample, &mut stacks);
        requests.extend(notable(&mut finished).map(|(request, route)| of_finished(request, sample.now, route)));
        let (others, other_route_requests) = (routes.others, routes.other_requests);
        let routes = routes.finish();
        self.routes.end(interval_s, &sample.running);
        self.workers.update(&sample);
        let mut php = Php {
            interval_ms: (interval_s * 1000.0).round() as u64,
            state: PhpState::Read,
            functions: stacks.functions,
            stacks: stacks.stacks,
            left_out_samples: 0,
            routes,
            other_route_requests,
            requests,
            exceptions: problems::exceptions(&sample),
            errors: problems::errors(&sample),
            compiles: problems::compiles(&sample),
            workers: self.workers.list(&sample, &self.placed),
            pools: Vec::new(),
            exact: sample.exact,
            lines,
            targets: sample.targets,
        };
        if sample.root.is_some() {
            php.targets.retain(|target| !target.pids.is_empty());
        }
        let mut notices = sample.notices;
        notices.extend(of_tiers(&php.targets, sample.root.is_some()));
        if others > 0 {
            notices.push(Notice::routes_left_out(others, MOST, other_route_requests));
        }
        PhpPart {
            php: Arc::new(php),
            drops: sample.drops,
            cost: Cost {
                bpf_ratio: rate(
                    (sample.work.sample_ns + sample.work.wait_ns + sample.work.probe_ns + sample.work.trace_ns) as f64
                        / 1e9,
                    interval_s,
                ),
                probe_hits_per_s: rate(sample.work.probe_hits as f64, interval_s),
                ..Cost::default()
            },
            notices,
        }
    }

    /// Finds the place of every PHP process of the interval, those that have ended included.
    fn place(&self, sample: &PhpSample, placed: &dyn Fn(u32) -> Option<Placed>) -> HashMap<u32, Placed> {
        let mut places = HashMap::with_capacity(sample.processes.len());
        let mut of_image: HashMap<(usize, Option<&str>), Arc<str>> = HashMap::new();
        let mut nameless: Vec<&PhpProcess> = Vec::new();
        for process in &sample.processes {
            // A worker that was just forked may still be counted with its master.
            let fits = |placed: &Placed| process.pool.is_none() || placed.pool == process.pool;
            let live = process.alive.then(|| placed(process.pid)).flatten();
            match live.or_else(|| self.placed.get(&process.pid).cloned()).filter(fits) {
                Some(placed) => {
                    of_image.insert((process.image, process.pool.as_deref()), placed.group.clone());
                    places.insert(process.pid, placed);
                }
                None => nameless.push(process),
            }
        }
        // One that lived between two looks at /proc belongs where others of its pool or image belong.
        for process in nameless {
            let group = match (of_image.get(&(process.image, process.pool.as_deref())), &process.pool) {
                (Some(group), _) => group.clone(),
                (None, Some(pool)) => naming::of_pool(pool, None).into(),
                (None, None) if process.sapi.runs_scripts() => naming::of_script(process.script.as_deref()),
                (None, None) => continue,
            };
            places.insert(process.pid, Placed { group, pool: process.pool.clone() });
        }
        places
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
    Request {
        pid: request.pid,
        uri: request.uri.as_str().into(),
        method: request.method.as_str().into(),
        status: None,
        started_at: microseconds(moment(request.started_ns, now)),
        start_known: request.start != Start::Unknown,
        duration_ms: milliseconds(now.monotonic_ns.saturating_sub(request.started_ns)),
        cpu_ms: None,
        wait_ms: (request.start == Start::Seen).then_some(milliseconds(request.wait_ns)),
        waiting: None,
        finished: false,
        aborted: false,
        route,
    }
}

fn of_finished(finished: &FinishedRequest, now: Now, route: usize) -> Request {
    Request {
        status: finished.status,
        duration_ms: milliseconds(finished.duration_ns),
        cpu_ms: finished.cpu_ns.map(milliseconds),
        finished: true,
        aborted: finished.aborted,
        ..running(&finished.request, now, route)
    }
}

/// Milliseconds with three digits behind the point: the kernel's clock says more, but that takes room in recordings and tells nothing.
fn milliseconds(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}

/// A moment to the microsecond, for the same reason.
fn microseconds(at: Timestamp) -> Timestamp {
    at.round(Unit::Microsecond).unwrap_or(at)
}

/// The slowest and the newest finished requests, slowest first.
fn notable<'a, 'b>(
    finished: &'b mut Vec<(&'a FinishedRequest, usize)>,
) -> impl Iterator<Item = (&'a FinishedRequest, usize)> + use<'a, 'b> {
    if finished.len() > FINISHED {
        let newest = finished.split_off(finished.len() - FINISHED / 2);
        finished.sort_by_key(|(request, _)| std::cmp::Reverse(request.duration_ns));
        finished.truncate(FINISHED - newest.len());
        finished.extend(newest);
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
    notices.push(match (none, one_command) {
        (true, true) => Notice::command_without_php(),
        (true, false) => Notice::no_php(),
        (false, _) => Notice::growth_not_collected(),
    });
    notices
}

#[cfg(test)]
mod tests;
