//! Views of a PHP profile: hot functions and files within a scope, callers and callees of a function, routes.
//! Pure functions of a [`Php`]; times are added up, percentages are the drawing's matter.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use crate::model::{
    Function, FunctionKey, HotTime, Php, Request, RequestStack, Route, RouteKey, Stack, Tier, WorkerKey,
};

/// Which part of a profile counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    #[default]
    All,
    /// What the processes of a group did.
    Group(Arc<str>),
    /// What one route did.
    Route(Arc<RouteKey>),
    /// What one worker did.
    Worker(WorkerKey),
    /// What one request did.
    Request {
        /// Its worker.
        worker: WorkerKey,
        /// Its start.
        started_at: Timestamp,
    },
}

impl Scope {
    /// Whether a route counts.
    pub(crate) fn has(&self, route: &Route) -> bool {
        match self {
            Self::All => true,
            Self::Group(group) => route.key.group == *group,
            Self::Route(key) => route.key == *key,
            Self::Worker(_) | Self::Request { .. } => false,
        }
    }

    /// Whether it is about a request or a worker, so that routes say nothing of it.
    pub(crate) fn is_of_requests(&self) -> bool {
        matches!(self, Self::Worker(_) | Self::Request { .. })
    }

    /// Whether a request counts, or what a worker did in several where no start is told.
    pub(crate) fn has_request(&self, worker: WorkerKey, started_at: Option<Timestamp>) -> bool {
        match self {
            Self::Worker(key) => key.has(worker),
            Self::Request { worker: key, started_at: start } => key.has(worker) && started_at == Some(*start),
            Self::All | Self::Group(_) | Self::Route(_) => false,
        }
    }
}

/// CPU time as samples, waiting time, and growth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Samples on the CPU.
    pub samples: u64,
    /// Time blocked, in nanoseconds.
    pub wait_ns: u64,
    /// Bytes by which processes grew.
    pub growth_bytes: u64,
}

impl std::ops::AddAssign for Time {
    fn add_assign(&mut self, more: Self) {
        self.samples += more.samples;
        self.wait_ns += more.wait_ns;
        self.growth_bytes += more.growth_bytes;
    }
}

/// What counts, and what a sample is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// CPU time, waiting time, both, or growth.
    pub time: HotTime,
    /// Time from one sample to the next, in nanoseconds.
    pub sample_ns: u64,
}

impl Basis {
    /// By how often a profile was sampled.
    pub(crate) fn of(php: &Php, time: HotTime) -> Self {
        // Without a rate there are no samples either.
        let hz = php.targets.iter().filter_map(|target| target.tiers[Tier::Sampling].hz).max().unwrap_or(1);
        Self { time, sample_ns: 1_000_000_000 / u64::from(hz.max(1)) }
    }

    /// What counts: time in nanoseconds, or growth in bytes.
    pub(crate) fn amount(&self, time: Time) -> u64 {
        let cpu = time.samples.saturating_mul(self.sample_ns);
        match self.time {
            HotTime::Both => cpu.saturating_add(time.wait_ns),
            HotTime::Cpu => cpu,
            HotTime::Wait => time.wait_ns,
            HotTime::Memory => time.growth_bytes,
        }
    }

    /// Whether most of a time is waiting.
    pub(crate) fn waits(&self, time: Time) -> bool {
        time.wait_ns > time.samples.saturating_mul(self.sample_ns)
    }
}

/// Time of one function (by index) or one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hot<T> {
    /// What it is.
    pub of: T,
    /// Time with it on top.
    pub own: Time,
    /// Time with it anywhere on the stack.
    pub total: Time,
}

/// Time of all stacks in the scope.
pub(crate) fn time(php: &Php, scope: &Scope) -> Time {
    let mut all = Time::default();
    in_scope(php, scope).for_each(|(_, time)| all += time);
    all
}

fn time_of(stack: &Stack) -> Time {
    Time { samples: stack.samples, wait_ns: stack.wait_ns.unwrap_or(0), growth_bytes: stack.growth_bytes.unwrap_or(0) }
}

/// What was counted of a function itself, and in total.
pub(crate) fn of_function(function: &Function) -> (Time, Time) {
    let time = |samples, wait_ns: Option<u64>, growth_bytes: Option<u64>| Time {
        samples,
        wait_ns: wait_ns.unwrap_or(0),
        growth_bytes: growth_bytes.unwrap_or(0),
    };
    (
        time(function.self_samples, function.self_wait_ns, function.self_growth_bytes),
        time(function.total_samples, function.total_wait_ns, function.total_growth_bytes),
    )
}

/// Functions (indexes into [`Php::functions`]) with time in the scope, most self time first.
pub(crate) fn functions(php: &Php, scope: &Scope, basis: Basis) -> Vec<Hot<usize>> {
    let mut times = vec![(Time::default(), Time::default()); php.functions.len()];
    if *scope == Scope::All {
        for (time, function) in times.iter_mut().zip(&php.functions) {
            *time = of_function(function);
        }
    } else {
        // The number of the stack that a function was last counted for, so that recursion counts once.
        let mut counted = vec![usize::MAX; php.functions.len()];
        for (number, (stack, of_stack)) in in_scope(php, scope).enumerate() {
            for (depth, &function) in stack.frames.iter().enumerate() {
                let Some(time) = times.get_mut(function) else { continue };
                if depth == 0 {
                    time.0 += of_stack;
                }
                if counted[function] != number {
                    counted[function] = number;
                    time.1 += of_stack;
                }
            }
        }
    }
    let hot = times.into_iter().enumerate().map(|(of, (own, total))| Hot { of, own, total });
    sorted(hot.collect(), basis)
}

/// Files with time in the scope, most self time first. Builtin functions count for the file that called them.
pub(crate) fn files(php: &Php, scope: &Scope, basis: Basis) -> Vec<Hot<Arc<str>>> {
    let mut times: HashMap<&Arc<str>, (Time, Time, usize)> = HashMap::new();
    let none = (Time::default(), Time::default(), usize::MAX);
    for (number, (stack, of_stack)) in in_scope(php, scope).enumerate() {
        let mut files =
            stack.frames.iter().filter_map(|&f| php.functions.get(f)).map(|f| &f.key.file).filter(|f| !f.is_empty());
        if let Some(file) = files.next() {
            times.entry(file).or_insert(none).0 += of_stack;
            for file in std::iter::once(file).chain(files) {
                let time = times.entry(file).or_insert(none);
                if time.2 != number {
                    time.2 = number;
                    time.1 += of_stack;
                }
            }
        }
    }
    let hot = times.into_iter().map(|(file, (own, total, _))| Hot { of: file.clone(), own, total });
    sorted(hot.collect(), basis)
}

fn sorted<T: Ord>(mut hot: Vec<Hot<T>>, basis: Basis) -> Vec<Hot<T>> {
    hot.retain(|hot| basis.amount(hot.total) > 0);
    let time = |hot: &Hot<T>| (basis.amount(hot.own), basis.amount(hot.total));
    hot.sort_by(|a, b| time(b).cmp(&time(a)).then_with(|| a.of.cmp(&b.of)));
    hot
}

/// The stacks in a scope, with what counts of their times. A stack may come several times: once for each request.
pub(super) fn in_scope<'a>(php: &'a Php, scope: &'a Scope) -> impl Iterator<Item = (&'a Stack, Time)> {
    let by_route = !scope.is_of_requests();
    let counts = move |stack: &&Stack| {
        *scope == Scope::All || by_route && php.routes.get(stack.route).is_some_and(|route| scope.has(route))
    };
    let of_requests = php.request_stacks.iter().chain(php.short_request_stacks.iter().flatten());
    let of_requests = of_requests
        .filter(move |row| scope.has_request(row.worker, row.started_at))
        .filter_map(|row| Some((php.stacks.get(row.stack)?, time_of_request(row))));
    php.stacks.iter().filter(counts).map(|stack| (stack, time_of(stack))).chain(of_requests)
}

fn time_of_request(row: &RequestStack) -> Time {
    Time { samples: row.samples, wait_ns: row.wait_ns, growth_bytes: row.growth_bytes }
}

/// What is around a function: time that counts, in nanoseconds, by function index (callers and callees) and by route index,
/// most first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Around {
    /// Time with the function on top.
    pub own: Time,
    /// Time with the function on the stack.
    pub total: Time,
    /// Who called it.
    pub callers: Vec<(usize, u64)>,
    /// What it called.
    pub callees: Vec<(usize, u64)>,
    /// In which routes.
    pub routes: Vec<(usize, u64)>,
}

/// Callers, callees and routes of a function within a scope. In a recursion the innermost callee and the outermost caller count.
pub(crate) fn around(php: &Php, key: &FunctionKey, scope: &Scope, basis: Basis) -> Around {
    let Some(wanted) = php.functions.iter().position(|function| *function.key == *key) else {
        return Around::default();
    };
    let mut around = Around::default();
    let (mut callers, mut callees, mut routes) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (stack, time) in in_scope(php, scope) {
        let Some(first) = stack.frames.iter().position(|&frame| frame == wanted) else { continue };
        let last = stack.frames.iter().rposition(|&frame| frame == wanted).unwrap_or(first);
        let ns = basis.amount(time);
        around.total += time;
        match first.checked_sub(1) {
            None => around.own += time,
            Some(callee) => *callees.entry(stack.frames[callee]).or_default() += ns,
        }
        if let Some(&caller) = stack.frames.get(last + 1) {
            *callers.entry(caller).or_default() += ns;
        }
        *routes.entry(stack.route).or_default() += ns;
    }
    around.callers = most(callers);
    around.callees = most(callees);
    around.routes = most(routes);
    around
}

fn most(times: HashMap<usize, u64>) -> Vec<(usize, u64)> {
    let mut list: Vec<(usize, u64)> = times.into_iter().filter(|(_, ns)| *ns > 0).collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    list
}

/// Requests in the scope: those that run first, longest first, then the finished, slowest first.
pub(crate) fn requests<'a>(php: &'a Php, scope: &Scope) -> Vec<&'a Request> {
    let counts = |request: &&Request| match scope {
        Scope::All => true,
        Scope::Worker(_) | Scope::Request { .. } => scope.has_request(request.worker(), Some(request.started_at)),
        scope => php.routes.get(request.route).is_some_and(|route| scope.has(route)),
    };
    let mut requests: Vec<&Request> = php.requests.iter().filter(counts).collect();
    requests.sort_by(|a, b| a.finished.cmp(&b.finished).then(b.duration_ms.total_cmp(&a.duration_ms)));
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FunctionKind;

    fn function(name: &str, file: &str) -> Function {
        let (name, class, file) = (name.into(), "".into(), file.into());
        Function::seen(FunctionKey { name, class, file, line: 1, kind: FunctionKind::User }.into())
    }

    fn route(path: &str, group: &str) -> Route {
        let key = RouteKey { route: path.into(), script: "".into(), method: "GET".into(), group: group.into() };
        Route { requests: 1, ..Route::seen(key.into()) }
    }

    /// main calls f, f calls itself and sort (builtin); the second route is of another pool.
    fn php() -> Php {
        let stack = |route, frames: &[usize], samples| Stack {
            route,
            frames: frames.to_vec(),
            samples,
            wait_ns: None,
            growth_bytes: None,
            truncated: false,
        };
        Php {
            functions: vec![function("main", "/m.php"), function("f", "/f.php"), function("sort", "")],
            routes: vec![route("/a", "www"), route("/b", "admin")],
            stacks: vec![stack(0, &[2, 1, 1, 0], 6), stack(0, &[1, 0], 3), stack(1, &[0], 1)],
            ..Php::default()
        }
    }

    const BASIS: Basis = Basis { time: HotTime::Cpu, sample_ns: 1 };

    fn cpu(samples: u64) -> Time {
        Time { samples, ..Time::default() }
    }

    #[test]
    fn a_function_that_waits_comes_before_one_that_computes_less() {
        let mut php = php();
        php.stacks[2].wait_ns = Some(1_000);
        let scope = Scope::Route(php.routes[1].key.clone());
        let waiting = &functions(&php, &scope, Basis { time: HotTime::Wait, sample_ns: 100 })[0];
        assert_eq!((waiting.of, waiting.own.wait_ns), (0, 1_000));
        php.functions[0].self_wait_ns = Some(1_000);
        php.functions[0].total_wait_ns = Some(1_000);
        php.functions[2].self_samples = 6;
        php.functions[2].total_samples = 6;
        let order = |time| functions(&php, &Scope::All, Basis { time, sample_ns: 100 })[0].of;
        assert_eq!((order(HotTime::Both), order(HotTime::Wait)), (0, 0));
        assert_ne!(order(HotTime::Cpu), 0);
        let basis = Basis { time: HotTime::Both, sample_ns: 100 };
        let waits = |wait_ns| basis.waits(Time { samples: 1, wait_ns, growth_bytes: 0 });
        assert!(waits(101) && !waits(99));
    }

    #[test]
    fn growth_is_told_by_function_within_a_scope() {
        let mut php = php();
        php.stacks[0].growth_bytes = Some(100);
        php.stacks[2].growth_bytes = Some(7);
        let basis = Basis { time: HotTime::Memory, sample_ns: 1 };
        let hot = functions(&php, &Scope::Group("www".into()), basis);
        assert_eq!((hot[0].of, hot[0].own.growth_bytes, hot.len()), (2, 100, 3));
        assert_eq!(basis.amount(time(&php, &Scope::All)), 107);
        assert_eq!(around(&php, &php.functions[1].key, &Scope::All, basis).callees, [(2, 100)]);
    }

    #[test]
    fn recursion_counts_once() {
        let hot = functions(&php(), &Scope::Group("www".into()), BASIS);
        let f = hot.iter().find(|hot| hot.of == 1).unwrap();
        assert_eq!((f.own.samples, f.total.samples), (3, 9));
        assert_eq!(hot.first().map(|hot| hot.of), Some(2), "most self time first");
        assert_eq!(time(&php(), &Scope::Group("www".into())).samples, 9);
    }

    #[test]
    fn a_builtin_counts_for_the_file_that_called_it() {
        let hot = files(&php(), &Scope::All, BASIS);
        assert_eq!(hot[0], Hot { of: "/f.php".into(), own: cpu(9), total: cpu(9) });
        assert_eq!(hot[1], Hot { of: "/m.php".into(), own: cpu(1), total: cpu(10) });
    }

    #[test]
    fn around_a_function_are_its_callers_callees_and_routes() {
        let php = php();
        let around = around(&php, &php.functions[1].key, &Scope::All, BASIS);
        assert_eq!((around.own, around.total), (cpu(3), cpu(9)));
        assert_eq!((around.callers, around.callees, around.routes), (vec![(0, 9)], vec![(2, 6)], vec![(0, 9)]));
    }

    #[test]
    fn a_route_narrows_to_itself() {
        let scope = Scope::Route(php().routes[1].key.clone());
        let hot = functions(&php(), &scope, BASIS);
        assert_eq!(hot, [Hot { of: 0, own: cpu(1), total: cpu(1) }]);
    }
}
