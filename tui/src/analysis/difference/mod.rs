//! Two spans of time compared: routes, functions, groups and problems, each value with its signed difference and with what that
//! is: a change or noise (`statistics`). A pure function of two summaries; a summary adds up snapshots one by one and is bounded.
//!
//! What is the same in both spans is found so that a new release does not make everything new: without line numbers, and without
//! the folder of a release ([`unreleased`]).

mod limit;
mod statistics;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use jiff::Timestamp;
use serde::Serialize;

use self::statistics::{Counted, Course, Level, Readings};
pub use self::{
    limit::{Finding, Limit, Outcome, Unit},
    statistics::{Change, Verdict},
};
use super::profile::{self, Basis};
use crate::model::{
    FunctionKey, FunctionKind, Group, Histogram, HotTime, Php, ProblemKey, ProblemKind, Route, Snapshot, Tier,
};

/// Different functions, routes, groups or problems of a span; what comes beyond is counted and not compared.
const MAX_KEYS: usize = 30_000;
/// Time of a function that one event stands for at least, where no sample is longer.
const LEAST_NS: u64 = 1_000_000;
/// Smallest difference of a group's memory that counts.
const LEAST_BYTES: f64 = (1 << 20) as f64;
/// Smallest difference of its CPU time that counts, in cores.
const LEAST_CORES: f64 = 0.01;
/// Smallest difference of its number of processes that counts.
const LEAST_PROCESSES: f64 = 0.5;

/// Which route it is in both spans. Its script is not part of it, for that moves with a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteName {
    /// Folded path; the script, without the folder of its release, where there is no path.
    pub route: Arc<str>,
    /// HTTP method; empty for a command line script.
    pub method: Arc<str>,
    /// Process group that served it.
    pub group: Arc<str>,
}

/// Which function it is in both spans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FunctionName {
    /// Name without the class.
    pub name: Arc<str>,
    /// Class; empty for plain functions.
    pub class: Arc<str>,
    /// File, without the folder of its release; empty for built-in functions.
    pub file: Arc<str>,
    /// Where its code is.
    pub kind: FunctionKind,
}

/// Which problem it is in both spans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ProblemName {
    /// Exception, error or compiled file.
    pub kind: ProblemKind,
    /// Class, level or server API.
    pub name: Arc<str>,
    /// File, without the folder of its release.
    pub file: Arc<str>,
}

/// A route compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteDifference {
    /// Which.
    #[serde(flatten)]
    pub name: RouteName,
    /// Requests.
    pub requests_per_s: Change,
    /// How many workers it occupies on average: the time of its requests, per second.
    pub busy_workers: Change,
    /// Share of requests with a status of 500 or above.
    pub error_ratio: Change,
    /// Median of the duration.
    pub p50_ms: Change,
    /// 95th percentile.
    pub p95_ms: Change,
    /// 99th percentile.
    pub p99_ms: Change,
}

/// A function compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FunctionDifference {
    /// Which.
    #[serde(flatten)]
    pub name: FunctionName,
    /// CPU and waiting time with it on top, in milliseconds per second.
    pub self_ms_per_s: Change,
    /// The same with it anywhere on the stack.
    pub total_ms_per_s: Change,
}

/// A group compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupDifference {
    /// Which.
    pub group: Arc<str>,
    /// What it takes on average (`footprint_bytes`).
    pub memory_bytes: Change,
    /// CPU in cores.
    pub cpu_ratio: Change,
    /// Number of processes.
    pub processes: Change,
}

/// A problem compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProblemDifference {
    /// Which.
    #[serde(flatten)]
    pub name: ProblemName,
    /// Message of the last one that has one; empty when unknown.
    pub message: Arc<str>,
    /// How often in a minute.
    pub per_min: Change,
}

/// What is known of a span itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SpanFacts {
    /// Time of the first and the last snapshot; `None` without any.
    pub from: Option<Timestamp>,
    /// See `from`.
    pub to: Option<Timestamp>,
    /// Snapshots.
    pub snapshots: u64,
    /// Time that they stand for.
    pub seconds: f64,
    /// Time in which PHP was observed.
    pub php_seconds: f64,
    /// Requests that finished.
    pub requests: u64,
    /// What was counted and is not compared, because there were too many different things.
    pub left_out: u64,
}

/// Two spans compared. In each list what changed comes first, then the larger difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The span that is compared with.
    pub before: SpanFacts,
    /// The span that is compared.
    pub after: SpanFacts,
    /// All requests together; its name is empty.
    pub requests: RouteDifference,
    /// Routes, by `busy_workers`.
    pub routes: Vec<RouteDifference>,
    /// Functions, by self time.
    pub functions: Vec<FunctionDifference>,
    /// Groups, by memory.
    pub groups: Vec<GroupDifference>,
    /// Exceptions, errors and compiled files.
    pub problems: Vec<ProblemDifference>,
    /// All exceptions together, in a minute.
    pub exceptions_per_min: Change,
    /// All errors together, in a minute.
    pub errors_per_min: Change,
}

/// What happened in a span, added up.
#[derive(Debug, Default)]
pub struct Summary {
    span: Option<(Timestamp, Timestamp)>,
    /// Of processes.
    readings: Readings,
    /// Of PHP, which may be read less often.
    php: Readings,
    /// Those in which exceptions, errors and compiles were collected.
    problems_read: [Readings; 3],
    /// All of them together.
    all_problems: [Counted; 3],
    all: RouteSum,
    routes: HashMap<RouteName, RouteSum>,
    functions: HashMap<FunctionName, FunctionSum>,
    groups: HashMap<Arc<str>, GroupSum>,
    problems: HashMap<ProblemName, ProblemSum>,
    /// Time from one sample to the next; the longest there was.
    sample_ns: u64,
    left_out: u64,
}

#[derive(Debug, Default, Clone)]
struct RouteSum {
    requests: Counted,
    errors: Counted,
    busy_ms: Counted,
    histogram: Histogram,
}

#[derive(Debug, Default, Clone)]
struct FunctionSum {
    own_ns: Counted,
    total_ns: Counted,
}

#[derive(Debug, Default, Clone)]
struct GroupSum {
    memory: Level,
    cpu: Level,
    processes: Level,
}

#[derive(Debug, Default, Clone)]
struct ProblemSum {
    count: Counted,
    message: Arc<str>,
}

impl Summary {
    /// Adds a snapshot; they come in the order of time.
    pub fn add(&mut self, snapshot: &Snapshot) {
        let at = snapshot.at;
        let (first, last) = self.span.get_or_insert((at, at));
        (*first, *last) = ((*first).min(at), (*last).max(at));
        let seconds = snapshot.interval_ms as f64 / 1000.0;
        for group in &snapshot.groups {
            self.add_group(group, seconds);
        }
        self.readings = Readings { count: self.readings.count + 1, seconds: self.readings.seconds + seconds };
        // Without a reading of PHP what was counted comes with a later one.
        if snapshot.php.interval_ms > 0 {
            self.add_php(&snapshot.php);
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.span.is_none()
    }

    fn add_group(&mut self, group: &Group, seconds: f64) {
        let number = self.readings.count;
        let Some(sum) = slot(&mut self.groups, &mut self.left_out, &group.name, 1) else { return };
        sum.memory.add(number, group.footprint_bytes.map(|bytes| bytes as f64), seconds);
        sum.cpu.add(number, group.cpu_ratio, seconds);
        sum.processes.add(number, Some(f64::from(group.processes)), seconds);
    }

    fn add_php(&mut self, php: &Php) {
        let number = self.php.count;
        let seconds = php.interval_ms as f64 / 1000.0;
        for route in &php.routes {
            self.all.add(number, route);
            let name = RouteName::of(route);
            if let Some(sum) = slot(&mut self.routes, &mut self.left_out, &name, route.requests) {
                sum.add(number, route);
            }
        }
        let basis = Basis::of(php, HotTime::Both);
        let is_sampled = php.targets.iter().any(|target| target.tiers[Tier::Sampling].hz.is_some());
        self.sample_ns = self.sample_ns.max(if is_sampled { basis.sample_ns } else { 0 });
        for function in &php.functions {
            let (own, total) = profile::of_function(function);
            let (own, total) = (basis.amount(own), basis.amount(total));
            let name = FunctionName::of(&function.key);
            if total == 0 {
                continue;
            }
            if let Some(sum) = slot(&mut self.functions, &mut self.left_out, &name, function.total_samples) {
                sum.own_ns.add(number, own as f64);
                sum.total_ns.add(number, total as f64);
            }
        }
        let exceptions = php.exceptions.as_ref();
        let exceptions = exceptions.map(|list| list.iter().map(|it| (it.key(), it.count, Some(&it.message))));
        self.add_problems(ProblemKind::Exception, exceptions, seconds);
        let errors = php.errors.as_ref();
        let errors = errors.map(|list| list.iter().map(|it| (it.key(), it.count, Some(&it.message))));
        self.add_problems(ProblemKind::Error, errors, seconds);
        let compiles = php.compiles.as_ref().map(|list| list.iter().map(|it| (it.key(), it.count, None)));
        self.add_problems(ProblemKind::Compile, compiles, seconds);
        self.php = Readings { count: number + 1, seconds: self.php.seconds + seconds };
    }

    /// Adds a list of problems; `None` where they were not collected.
    fn add_problems<'a>(
        &mut self,
        kind: ProblemKind,
        list: Option<impl Iterator<Item = (ProblemKey, u64, Option<&'a Arc<str>>)>>,
        seconds: f64,
    ) {
        let (Some(list), readings) = (list, &mut self.problems_read[kind as usize]) else { return };
        for (key, count, message) in list {
            self.all_problems[kind as usize].add(readings.count, count as f64);
            let name = ProblemName::of(&key);
            if let Some(sum) = slot(&mut self.problems, &mut self.left_out, &name, count) {
                sum.count.add(readings.count, count as f64);
                if let Some(message) = message.filter(|message| !message.is_empty()) {
                    sum.message = message.clone();
                }
            }
        }
        *readings = Readings { count: readings.count + 1, seconds: readings.seconds + seconds };
    }

    fn facts(&self) -> SpanFacts {
        SpanFacts {
            from: self.span.map(|span| span.0),
            to: self.span.map(|span| span.1),
            snapshots: self.readings.count,
            seconds: self.readings.seconds,
            php_seconds: self.php.seconds,
            requests: self.all.requests.sum() as u64,
            left_out: self.left_out,
        }
    }
}

/// The sum of a key; `None`, and counted, where there are too many keys.
fn slot<'a, K: Hash + Eq + Clone, V: Default>(
    sums: &'a mut HashMap<K, V>,
    left_out: &mut u64,
    key: &K,
    count: u64,
) -> Option<&'a mut V> {
    if !sums.contains_key(key) {
        if sums.len() >= MAX_KEYS {
            *left_out = left_out.saturating_add(count);
            return None;
        }
        sums.insert(key.clone(), V::default());
    }
    sums.get_mut(key)
}

impl RouteSum {
    fn add(&mut self, number: u64, route: &Route) {
        if route.requests == 0 {
            return;
        }
        self.requests.add(number, route.requests as f64);
        self.errors.add(number, route.errors as f64);
        self.busy_ms.add(number, route.histogram.sum_ms());
        self.histogram.merge(&route.histogram);
    }
}

impl RouteName {
    fn of(route: &Route) -> Self {
        let key = &route.key;
        let name = if key.route.is_empty() { unreleased(&key.script) } else { Cow::Borrowed(&*key.route) };
        let name = if name == *key.route { key.route.clone() } else { name.into() };
        Self { route: name, method: key.method.clone(), group: key.group.clone() }
    }
}

impl FunctionName {
    fn of(key: &FunctionKey) -> Self {
        Self { name: key.name.clone(), class: key.class.clone(), file: unreleased_text(&key.file), kind: key.kind }
    }
}

impl ProblemName {
    fn of(key: &ProblemKey) -> Self {
        Self { kind: key.kind, name: key.name.clone(), file: unreleased_text(&key.file) }
    }
}

fn unreleased_text(path: &Arc<str>) -> Arc<str> {
    match unreleased(path) {
        Cow::Borrowed(_) => path.clone(),
        Cow::Owned(path) => path.into(),
    }
}

/// A path in which the folder of a release is `*`: one with a number or a time as its name (`20261127140533`, `42`, `v1.2.3`), or
/// a hash (seven hexadecimal digits or more, of which one is a decimal digit).
pub fn unreleased(path: &str) -> Cow<'_, str> {
    let is_release = |folder: &str| {
        let number = folder.strip_prefix('v').unwrap_or(folder);
        let has_digit = folder.bytes().any(|byte| byte.is_ascii_digit());
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_' | b'T'));
        let is_hash = folder.len() >= 7 && folder.bytes().all(|byte| byte.is_ascii_hexdigit());
        has_digit && (is_number || is_hash)
    };
    let Some((folders, file)) = path.rsplit_once('/') else { return Cow::Borrowed(path) };
    if !folders.split('/').any(is_release) {
        return Cow::Borrowed(path);
    }
    let folders: Vec<&str> = folders.split('/').map(|folder| if is_release(folder) { "*" } else { folder }).collect();
    Cow::Owned(format!("{}/{file}", folders.join("/")))
}

/// Compares a span with an earlier one, or with any other.
pub fn difference(before: &Summary, after: &Summary) -> Difference {
    let unit_ns = before.sample_ns.max(after.sample_ns).max(LEAST_NS) as f64;
    let mut routes: Vec<_> = in_both(&before.routes, &after.routes)
        .map(|(name, from, to)| route(name.clone(), (before, &from), (after, &to)))
        .collect();
    routes.sort_by(|a, b| by_weight(&a.busy_workers, &b.busy_workers).then_with(|| a.name.cmp(&b.name)));
    let per_s = |from: &Counted, to: &Counted| {
        scaled(statistics::rate(span(from, before.php), span(to, after.php), unit_ns), 1e-6)
    };
    let mut functions: Vec<_> = in_both(&before.functions, &after.functions)
        .map(|(name, from, to)| FunctionDifference {
            name: name.clone(),
            self_ms_per_s: per_s(&from.own_ns, &to.own_ns),
            total_ms_per_s: per_s(&from.total_ns, &to.total_ns),
        })
        .collect();
    functions.sort_by(|a, b| by_weight(&a.self_ms_per_s, &b.self_ms_per_s).then_with(|| a.name.cmp(&b.name)));
    let level = |from: &Level, to: &Level, course, least| {
        statistics::level((from, before.readings), (to, after.readings), course, least)
    };
    let mut groups: Vec<_> = in_both(&before.groups, &after.groups)
        .map(|(name, from, to)| GroupDifference {
            group: name.clone(),
            memory_bytes: level(&from.memory, &to.memory, Course::Wandering, LEAST_BYTES),
            cpu_ratio: level(&from.cpu, &to.cpu, Course::Returning, LEAST_CORES),
            processes: level(&from.processes, &to.processes, Course::Wandering, LEAST_PROCESSES),
        })
        .collect();
    groups.sort_by(|a, b| by_weight(&a.memory_bytes, &b.memory_bytes).then_with(|| a.group.cmp(&b.group)));
    let mut problems: Vec<_> = in_both(&before.problems, &after.problems)
        .map(|(name, from, to)| {
            let of = |summary: &Summary| summary.problems_read[name.kind as usize];
            let per_s = statistics::rate(span(&from.count, of(before)), span(&to.count, of(after)), 1.0);
            let message = if to.message.is_empty() { &from.message } else { &to.message }.clone();
            ProblemDifference { name: name.clone(), message, per_min: scaled(per_s, 60.0) }
        })
        .collect();
    problems.sort_by(|a, b| by_weight(&a.per_min, &b.per_min).then_with(|| a.name.cmp(&b.name)));
    let all = |kind: ProblemKind| {
        let of = |summary: &'_ Summary| (summary.all_problems[kind as usize], summary.problems_read[kind as usize]);
        let ((from, from_readings), (to, to_readings)) = (of(before), of(after));
        scaled(statistics::rate(span(&from, from_readings), span(&to, to_readings), 1.0), 60.0)
    };
    let none = RouteName { route: "".into(), method: "".into(), group: "".into() };
    Difference {
        before: before.facts(),
        after: after.facts(),
        requests: route(none, (before, &before.all), (after, &after.all)),
        routes,
        functions,
        groups,
        problems,
        exceptions_per_min: all(ProblemKind::Exception),
        errors_per_min: all(ProblemKind::Error),
    }
}

fn route(
    name: RouteName,
    (before, from): (&Summary, &RouteSum),
    (after, to): (&Summary, &RouteSum),
) -> RouteDifference {
    let requests = from.requests.sum() + to.requests.sum();
    let mean_ms = if requests > 0.0 { (from.busy_ms.sum() + to.busy_ms.sum()) / requests } else { 0.0 };
    let busy = statistics::rate(span(&from.busy_ms, before.php), span(&to.busy_ms, after.php), mean_ms);
    let percentile = |quantile| statistics::percentile(&from.histogram, &to.histogram, quantile);
    RouteDifference {
        name,
        requests_per_s: statistics::rate(span(&from.requests, before.php), span(&to.requests, after.php), 1.0),
        busy_workers: scaled(busy, 1e-3),
        error_ratio: statistics::rate(
            (&from.errors, before.php.count, from.requests.sum()),
            (&to.errors, after.php.count, to.requests.sum()),
            1.0,
        ),
        p50_ms: percentile(0.5),
        p95_ms: percentile(0.95),
        p99_ms: percentile(0.99),
    }
}

fn span(counted: &Counted, readings: Readings) -> (&Counted, u64, f64) {
    (counted, readings.count, readings.seconds)
}

/// The same in another unit.
fn scaled(change: Change, factor: f64) -> Change {
    let scale = |value: Option<f64>| value.map(|value| value * factor);
    Change {
        before: scale(change.before),
        after: scale(change.after),
        difference: scale(change.difference),
        verdict: change.verdict,
    }
}

fn by_weight(a: &Change, b: &Change) -> std::cmp::Ordering {
    let ((a_changed, a), (b_changed, b)) = (a.weight(), b.weight());
    b_changed.cmp(&a_changed).then_with(|| b.total_cmp(&a))
}

/// What is in one of two spans, with its sums in both; where it is not in one, nothing was counted of it there.
fn in_both<'a, K: Hash + Eq, V: Clone + Default>(
    before: &'a HashMap<K, V>,
    after: &'a HashMap<K, V>,
) -> impl Iterator<Item = (&'a K, Cow<'a, V>, Cow<'a, V>)> {
    let keys: HashSet<&K> = before.keys().chain(after.keys()).collect();
    let of = |sums: &'a HashMap<K, V>, key| sums.get(key).map_or_else(|| Cow::Owned(V::default()), Cow::Borrowed);
    keys.into_iter().map(move |key| (key, of(before, key), of(after, key)))
}

#[cfg(test)]
mod tests;
