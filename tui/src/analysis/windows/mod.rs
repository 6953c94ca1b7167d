//! PHP profiles added up over time. Every function, route and stack gets a number once, so that adding is by number; a window is
//! the sum of its intervals, and "all" is a sum that only grows. Bounded: rare stacks are forgotten and counted, and so are
//! routes and functions that count least ([`crate::top`]). Numbers that nothing has any more are given out again.

mod interval;
pub(crate) mod places;
mod requests;
mod sum;

use std::{
    collections::{HashSet, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use self::{
    interval::Interval,
    sum::{FUNCTIONS, ROUTES, Sum},
};
use super::{lanes::Lanes, profile::Scope};
use crate::model::{FunctionKey, NumberMap, Numbers, Php, RouteKey, Stack};

/// Different stacks kept; when there are more, the rarest half is forgotten.
pub(crate) const MAX_STACKS: usize = 20_000;
/// The number of all functions that gave way, in stacks.
const MORE: u32 = u32::MAX;
/// Longest window that is added up from its parts.
const KEPT: Duration = Duration::from_secs(60);

/// What the intervals of the last minute may take; the oldest are given up first, and [`Windows::covered`] says so.
const MAX_BYTES: usize = 16 << 20;

/// Numbers of everything seen, intervals of the last minute, and the sum over all time. A copy shares the intervals.
#[derive(Debug, Clone, Default)]
pub(super) struct Windows {
    tables: Tables,
    recent: VecDeque<Arc<Interval>>,
    recent_bytes: usize,
    all: Sum,
    covered_ms: u64,
    room: Room,
}

/// How many numbers are given out before those are taken back that nothing has any more.
#[derive(Debug, Clone, Copy)]
struct Room {
    routes: usize,
    functions: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { routes: 2 * ROUTES, functions: 2 * FUNCTIONS }
    }
}

/// What the numbers stand for.
#[derive(Debug, Clone, Default)]
struct Tables {
    function_ids: Numbers<FunctionKey>,
    functions: Vec<Arc<FunctionKey>>,
    route_ids: Numbers<RouteKey>,
    routes: Vec<NumberedRoute>,
    stack_ids: NumberMap<Path, u32>,
    stacks: Vec<Path>,
    /// For hashes of keys that stay the same when their numbers do not.
    hasher: RandomState,
}

#[derive(Debug, Clone)]
struct NumberedRoute {
    key: Arc<RouteKey>,
    /// The number of the route that stands for those of its group that are not listed.
    other: u32,
}

/// New numbers by the old ones. Everything that has a number has a new one, except stacks that are forgotten.
#[derive(Debug)]
struct Renumbered {
    functions: Vec<u32>,
    routes: Vec<u32>,
    stacks: Vec<u32>,
}

impl Renumbered {
    fn function(&self, id: u32) -> u32 {
        self.functions.get(id as usize).copied().unwrap_or(MORE)
    }

    fn route(&self, id: u32) -> u32 {
        self.routes[id as usize]
    }

    fn stack(&self, id: u32) -> Option<u32> {
        self.stacks.get(id as usize).copied().filter(|&id| id != FORGOTTEN)
    }
}

/// In place of the number of a stack.
const FORGOTTEN: u32 = u32::MAX;

/// A stack by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Path {
    route: u32,
    frames: Arc<[u32]>,
    truncated: bool,
}

impl Windows {
    pub(super) fn push(&mut self, at: Timestamp, php: &Php) {
        let too_many_stacks = self.tables.stacks.len() + php.stacks.len() > MAX_STACKS;
        if too_many_stacks
            || self.tables.routes.len() + php.routes.len() > self.room.routes
            || self.tables.functions.len() + php.functions.len() > self.room.functions
        {
            self.forget_rare(if too_many_stacks { MAX_STACKS / 2 } else { MAX_STACKS });
        }
        let interval = Interval::of(at, php, &mut self.tables);
        self.all.add(&interval, &self.tables);
        self.covered_ms += php.interval_ms;
        self.recent_bytes += interval.bytes;
        self.recent.push_back(Arc::new(interval));
        while self.recent.len() > 1
            && (self.recent_bytes > MAX_BYTES || self.recent.front().is_some_and(|oldest| !within(oldest.at, at, KEPT)))
        {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |oldest| oldest.bytes);
        }
    }

    /// The sum of the intervals that ended less than `span` before the last one. Of single requests it has the stacks that a scope
    /// asks for.
    pub(super) fn over(&self, span: Duration, current: &Php, scope: &Scope) -> Php {
        let mut sum = Sum::of_window(scope);
        let Some(last) = self.recent.back() else { return Php::default() };
        for interval in self.recent.iter().filter(|interval| within(interval.at, last.at, span)) {
            sum.add(interval, &self.tables);
        }
        Php { interval_ms: millis(self.covered(span)), ..sum.php(&self.tables, current, scope) }
    }

    /// What each worker did in each interval of the last minute.
    pub(super) fn lanes(&self) -> Lanes {
        let Some(last) = self.recent.back() else { return Lanes::default() };
        let recent = self.recent.iter().filter(|interval| within(interval.at, last.at, KEPT));
        Lanes::new(last.at, KEPT, recent.flat_map(|interval| &interval.workers))
    }

    /// The sum over all time. Of single requests it has the stacks that a scope asks for; of the longest, where it asks for none.
    pub(super) fn all(&self, current: &Php, scope: &Scope) -> Php {
        Php { interval_ms: self.covered_ms, ..self.all.php(&self.tables, current, scope) }
    }

    pub(super) fn covered(&self, span: Duration) -> Duration {
        let Some(last) = self.recent.back() else { return Duration::ZERO };
        let within = self.recent.iter().filter(|interval| within(interval.at, last.at, span));
        Duration::from_millis(within.map(|interval| interval.interval_ms).sum())
    }

    pub(super) fn covered_by_all(&self) -> Duration {
        Duration::from_millis(self.covered_ms)
    }

    /// Takes back the numbers of functions and routes that neither a sum nor an interval has any more, and keeps so many stacks:
    /// those of the last minute, and of the others the most frequent.
    fn forget_rare(&mut self, most_stacks: usize) {
        let tables = &self.tables;
        let (mut functions, mut routes) = (vec![false; tables.functions.len()], vec![false; tables.routes.len()]);
        let recent = || self.recent.iter();
        let used = self.all.functions().chain(recent().flat_map(|interval| interval.functions.iter().map(|f| f.0)));
        used.for_each(|id| functions[id as usize] = true);
        for id in self.all.routes().chain(recent().flat_map(|interval| interval.routes.iter().map(|route| route.0))) {
            routes[id as usize] = true;
            routes[tables.other(id) as usize] = true;
        }

        // Stacks of which only the route differed, or a function, may be the same without it.
        let mut rests: Vec<(Path, u64, bool)> = Vec::new();
        let mut by_path: NumberMap<Path, usize> = NumberMap::default();
        let mut rest_of = Vec::with_capacity(tables.stacks.len());
        let fresh: HashSet<u32> = recent().flat_map(|interval| interval.stacks()).collect();
        for (id, path) in (0..).zip(&tables.stacks) {
            let route = if routes[path.route as usize] { path.route } else { tables.other(path.route) };
            routes[route as usize] = true;
            let is_used = |function: u32| functions.get(function as usize).is_some_and(|used| *used);
            let frames = match path.frames.iter().all(|&function| is_used(function)) {
                true => Arc::clone(&path.frames),
                false => path.frames.iter().map(|&f| if is_used(f) { f } else { MORE }).collect(),
            };
            let path = Path { route, frames, truncated: path.truncated };
            let rest = *by_path.entry(path.clone()).or_insert_with(|| {
                rests.push((path, 0, false));
                rests.len() - 1
            });
            rests[rest].1 += self.all.stack_samples(id);
            rests[rest].2 |= fresh.contains(&id);
            rest_of.push(rest);
        }
        let mut order: Vec<usize> = (0..rests.len()).collect();
        order.sort_by_key(|&rest| std::cmp::Reverse((rests[rest].2, rests[rest].1)));
        order.truncate(most_stacks);
        let mut kept = vec![FORGOTTEN; rests.len()];
        (0..).zip(&order).for_each(|(new, &rest)| kept[rest] = new);
        let renumbered = Renumbered {
            functions: numbered(&functions),
            routes: numbered(&routes),
            stacks: rest_of.into_iter().map(|rest| kept[rest]).collect(),
        };
        let stacks = order.into_iter().map(|rest| {
            let (path, ..) = &rests[rest];
            let frames = path.frames.iter().map(|&function| renumbered.function(function)).collect();
            Path { route: renumbered.route(path.route), frames, truncated: path.truncated }
        });
        self.tables = tables.renumbered(&renumbered, stacks.collect());
        self.all.renumber(&renumbered);
        for interval in &mut self.recent {
            Arc::make_mut(interval).renumber(&renumbered);
        }
        self.room =
            Room { routes: self.tables.routes.len() + ROUTES, functions: self.tables.functions.len() + FUNCTIONS };
    }
}

/// Numbers in a row for what is used; [`MORE`] for the rest.
fn numbered(used: &[bool]) -> Vec<u32> {
    let mut next = 0;
    let number = |&used: &bool| {
        next += u32::from(used);
        if used { next - 1 } else { MORE }
    };
    used.iter().map(number).collect()
}

impl Tables {
    fn function(&mut self, key: &Arc<FunctionKey>) -> u32 {
        self.function_ids.find(key).unwrap_or_else(|| {
            let number = self.functions.len() as u32;
            self.functions.push(Arc::clone(key));
            self.function_ids.insert(key, number);
            number
        })
    }

    fn route(&mut self, key: &Arc<RouteKey>) -> u32 {
        if let Some(number) = self.route_ids.find(key) {
            return number;
        }
        let other = (!key.is_other()).then(|| self.route(&Arc::new(RouteKey::other(&key.group))));
        let number = self.routes.len() as u32;
        self.routes.push(NumberedRoute { key: Arc::clone(key), other: other.unwrap_or(number) });
        self.route_ids.insert(key, number);
        number
    }

    fn route_key(&self, id: u32) -> &Arc<RouteKey> {
        &self.routes[id as usize].key
    }

    fn hash_of_route(&self, id: u32) -> u64 {
        self.hasher.hash_one(&*self.routes[id as usize].key)
    }

    fn hash_of_function(&self, id: u32) -> u64 {
        self.hasher.hash_one(&*self.functions[id as usize])
    }

    /// The route that stands for those of the same group that are not listed.
    fn other(&self, id: u32) -> u32 {
        self.routes[id as usize].other
    }

    /// Whether it is such a route itself.
    fn is_other(&self, id: u32) -> bool {
        self.other(id) == id
    }

    /// The same under new numbers.
    fn renumbered(&self, numbers: &Renumbered, stacks: Vec<Path>) -> Self {
        let mut renumbered = Self { hasher: self.hasher.clone(), ..Self::default() };
        for (key, _) in self.functions.iter().zip(&numbers.functions).filter(|(_, new)| **new != MORE) {
            renumbered.function_ids.insert(key, renumbered.functions.len() as u32);
            renumbered.functions.push(Arc::clone(key));
        }
        for (NumberedRoute { key, other }, _) in
            self.routes.iter().zip(&numbers.routes).filter(|(_, new)| **new != MORE)
        {
            renumbered.route_ids.insert(key, renumbered.routes.len() as u32);
            renumbered.routes.push(NumberedRoute { key: Arc::clone(key), other: numbers.route(*other) });
        }
        renumbered.stack_ids = stacks.iter().cloned().zip(0..).collect();
        renumbered.stacks = stacks;
        renumbered
    }

    /// The number of a stack; `None` when there are too many, and for indexes that lead nowhere.
    fn stack(&mut self, stack: &Stack, functions: &[u32], routes: &[u32]) -> Option<u32> {
        let &route = routes.get(stack.route)?;
        let frames: Option<Arc<[u32]>> =
            stack.frames.iter().map(|&function| functions.get(function).copied()).collect();
        let path = Path { route, frames: frames?, truncated: stack.truncated };
        if let Some(&id) = self.stack_ids.get(&path) {
            return Some(id);
        }
        if self.stacks.len() >= MAX_STACKS {
            return None;
        }
        let id = self.stacks.len() as u32;
        self.stacks.push(path.clone());
        self.stack_ids.insert(path, id);
        Some(id)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether `at` is less than `span` before `last`. A snapshot from later than `last` (the clock was set back) is not.
fn within(at: Timestamp, last: Timestamp, span: Duration) -> bool {
    let age = last.as_millisecond() - at.as_millisecond();
    (0..span.as_millis() as i64).contains(&age)
}

#[cfg(test)]
mod tests;
