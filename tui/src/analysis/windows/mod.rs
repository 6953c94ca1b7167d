//! PHP profiles added up over time. Every function, route and stack gets a number once, so that adding is by number; a window is
//! the sum of its intervals, and "all" is a sum that only grows. Bounded: rare stacks are forgotten and counted.

pub(crate) mod places;
mod sum;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use self::sum::Sum;
use crate::model::{FunctionKey, FunctionKind, Numbers, Php, RouteKey, Stack};

/// Different stacks kept; when there are more, the rarest half is forgotten.
pub const MAX_STACKS: usize = 20_000;
/// Different functions and routes kept; more are counted as one.
const MAX_NAMES: usize = 30_000;
/// Longest window that is added up from its parts.
const KEPT: Duration = Duration::from_secs(60);

/// Numbers of everything seen, intervals of the last minute, and the sum over all time.
#[derive(Debug, Default)]
pub(super) struct Windows {
    tables: Tables,
    recent: VecDeque<Interval>,
    all: Sum,
    forgotten: u64,
    covered_ms: u64,
}

/// What the numbers stand for.
#[derive(Debug, Default)]
struct Tables {
    function_ids: Numbers<FunctionKey>,
    functions: Vec<Arc<FunctionKey>>,
    route_ids: Numbers<RouteKey>,
    routes: Vec<Arc<RouteKey>>,
    stack_ids: HashMap<Path, u32>,
    stacks: Vec<Path>,
}

/// A stack by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Path {
    route: u32,
    frames: Box<[u32]>,
    truncated: bool,
}

/// One interval with the number of each entry of its lists.
#[derive(Debug)]
struct Interval {
    at: Timestamp,
    interval_ms: u64,
    php: Arc<Php>,
    functions: Vec<u32>,
    routes: Vec<u32>,
    stacks: Vec<u32>,
}

impl Windows {
    pub(super) fn push(&mut self, at: Timestamp, interval_ms: u64, php: &Arc<Php>) {
        if self.tables.stacks.len() + php.stacks.len() > MAX_STACKS {
            self.forget_rare_stacks();
        }
        let functions: Vec<u32> = php.functions.iter().map(|function| self.tables.function(&function.key)).collect();
        let routes: Vec<u32> = php.routes.iter().map(|route| self.tables.route(&route.key)).collect();
        let stacks = php.stacks.iter().map(|stack| self.tables.stack(stack, &functions, &routes)).collect();
        let interval = Interval { at, interval_ms, php: php.clone(), functions, routes, stacks };
        self.all.add(&interval, &self.tables);
        self.covered_ms += interval_ms;
        self.recent.push_back(interval);
        while self.recent.front().is_some_and(|oldest| !within(oldest.at, at, KEPT)) {
            self.recent.pop_front();
        }
    }

    /// The sum of the intervals that ended less than `span` before the last one.
    pub(super) fn over(&self, span: Duration, current: &Php) -> Php {
        let mut sum = Sum::default();
        let Some(last) = self.recent.back() else { return Php::default() };
        for interval in self.recent.iter().filter(|interval| within(interval.at, last.at, span)) {
            sum.add(interval, &self.tables);
        }
        sum.php(&self.tables, current)
    }

    /// The sum over all time.
    pub(super) fn all(&self, current: &Php) -> Php {
        self.all.php(&self.tables, current)
    }

    pub(super) fn covered(&self, span: Duration) -> Duration {
        let Some(last) = self.recent.back() else { return Duration::ZERO };
        let within = self.recent.iter().filter(|interval| within(interval.at, last.at, span));
        Duration::from_millis(within.map(|interval| interval.interval_ms).sum())
    }

    pub(super) fn covered_by_all(&self) -> Duration {
        Duration::from_millis(self.covered_ms)
    }

    pub(super) fn forgotten_samples(&self) -> u64 {
        self.forgotten
    }

    /// Keeps the stacks of the last minute and the more frequent half of the others.
    fn forget_rare_stacks(&mut self) {
        let fresh: HashSet<u32> = self.recent.iter().flat_map(|interval| interval.stacks.iter().copied()).collect();
        let mut ids: Vec<u32> = (0..self.tables.stacks.len() as u32).collect();
        ids.sort_by_key(|&id| std::cmp::Reverse((fresh.contains(&id), self.all.stack_samples(id))));
        ids.truncate(MAX_STACKS / 2);
        let mut renumbered = vec![u32::MAX; self.tables.stacks.len()];
        for (new, &old) in ids.iter().enumerate() {
            renumbered[old as usize] = new as u32;
        }
        self.forgotten += self.all.renumber_stacks(&renumbered, ids.len());
        self.tables.stacks = ids.iter().map(|&old| self.tables.stacks[old as usize].clone()).collect();
        self.tables.stack_ids =
            self.tables.stacks.iter().enumerate().map(|(id, path)| (path.clone(), id as u32)).collect();
        for id in self.recent.iter_mut().flat_map(|interval| &mut interval.stacks) {
            *id = renumbered.get(*id as usize).copied().unwrap_or(u32::MAX);
        }
    }
}

impl Tables {
    fn function(&mut self, key: &Arc<FunctionKey>) -> u32 {
        let more = || FunctionKey {
            name: "(more functions)".into(),
            class: "".into(),
            file: "".into(),
            line: 0,
            kind: FunctionKind::Unknown,
        };
        number(&mut self.function_ids, &mut self.functions, key, more)
    }

    fn route(&mut self, key: &Arc<RouteKey>) -> u32 {
        let more =
            || RouteKey { route: "(more routes)".into(), script: "".into(), method: "".into(), group: "".into() };
        number(&mut self.route_ids, &mut self.routes, key, more)
    }

    fn stack(&mut self, stack: &Stack, functions: &[u32], routes: &[u32]) -> u32 {
        let Some(&route) = routes.get(stack.route) else { return u32::MAX };
        let frames: Option<Box<[u32]>> =
            stack.frames.iter().map(|&function| functions.get(function).copied()).collect();
        let Some(frames) = frames else { return u32::MAX };
        let path = Path { route, frames, truncated: stack.truncated };
        if let Some(&id) = self.stack_ids.get(&path) {
            return id;
        }
        if self.stacks.len() >= MAX_STACKS {
            return u32::MAX;
        }
        let id = self.stacks.len() as u32;
        self.stacks.push(path.clone());
        self.stack_ids.insert(path, id);
        id
    }
}

/// The number of a key. The last number is that of `more`, which stands for all keys beyond the bound.
fn number<K: Eq + Hash>(
    numbers: &mut Numbers<K>,
    keys: &mut Vec<Arc<K>>,
    key: &Arc<K>,
    more: impl FnOnce() -> K,
) -> u32 {
    if let Some(number) = numbers.find(key) {
        return number;
    }
    let number = keys.len().min(MAX_NAMES - 1);
    if number + 1 < MAX_NAMES {
        keys.push(Arc::clone(key));
        numbers.insert(key, number as u32);
    } else if keys.len() < MAX_NAMES {
        let more = Arc::new(more());
        numbers.insert(&more, number as u32);
        keys.push(more);
    }
    number as u32
}

/// Whether `at` is less than `span` before `last`. A snapshot from later than `last` (the clock was set back) is not.
fn within(at: Timestamp, last: Timestamp, span: Duration) -> bool {
    let age = last.as_millisecond() - at.as_millisecond();
    (0..span.as_millis() as i64).contains(&age)
}

#[cfg(test)]
mod tests;
