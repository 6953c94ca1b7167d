//! PHP profiles added up over time. Every function, route and stack gets a number once, so that adding is by number; a window is
//! the sum of its intervals, and "all" is a sum that only grows. Bounded: rare stacks are forgotten and counted.

mod interval;
pub(crate) mod places;
mod sum;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use self::{interval::Interval, sum::Sum};
use crate::model::{FunctionKey, FunctionKind, Numbers, Php, RouteKey, Stack};

/// Different stacks kept; when there are more, the rarest half is forgotten.
pub(crate) const MAX_STACKS: usize = 20_000;
/// Different functions and routes kept; more are counted as one.
const MAX_NAMES: usize = 30_000;
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
}

/// What the numbers stand for.
#[derive(Debug, Clone, Default)]
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
    frames: Arc<[u32]>,
    truncated: bool,
}

impl Windows {
    pub(super) fn push(&mut self, at: Timestamp, php: &Php) {
        if self.tables.stacks.len() + php.stacks.len() > MAX_STACKS {
            self.forget_rare_stacks();
        }
        let interval = Interval::of(at, php, &mut self.tables);
        self.all.add(&interval);
        self.covered_ms += php.interval_ms;
        self.recent_bytes += interval.bytes;
        self.recent.push_back(Arc::new(interval));
        while self.recent.len() > 1
            && (self.recent_bytes > MAX_BYTES || self.recent.front().is_some_and(|oldest| !within(oldest.at, at, KEPT)))
        {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |oldest| oldest.bytes);
        }
    }

    /// The sum of the intervals that ended less than `span` before the last one.
    pub(super) fn over(&self, span: Duration, current: &Php) -> Php {
        let mut sum = Sum::default();
        let Some(last) = self.recent.back() else { return Php::default() };
        for interval in self.recent.iter().filter(|interval| within(interval.at, last.at, span)) {
            sum.add(interval);
        }
        Php { interval_ms: millis(self.covered(span)), ..sum.php(&self.tables, current) }
    }

    /// The sum over all time.
    pub(super) fn all(&self, current: &Php) -> Php {
        Php { interval_ms: self.covered_ms, ..self.all.php(&self.tables, current) }
    }

    pub(super) fn covered(&self, span: Duration) -> Duration {
        let Some(last) = self.recent.back() else { return Duration::ZERO };
        let within = self.recent.iter().filter(|interval| within(interval.at, last.at, span));
        Duration::from_millis(within.map(|interval| interval.interval_ms).sum())
    }

    pub(super) fn covered_by_all(&self) -> Duration {
        Duration::from_millis(self.covered_ms)
    }

    /// Keeps the stacks of the last minute and the more frequent half of the others.
    fn forget_rare_stacks(&mut self) {
        let fresh: HashSet<u32> = self.recent.iter().flat_map(|interval| interval.stacks()).collect();
        let mut ids: Vec<u32> = (0..self.tables.stacks.len() as u32).collect();
        ids.sort_by_key(|&id| std::cmp::Reverse((fresh.contains(&id), self.all.stack_samples(id))));
        ids.truncate(MAX_STACKS / 2);
        let mut renumbered = vec![u32::MAX; self.tables.stacks.len()];
        for (new, &old) in ids.iter().enumerate() {
            renumbered[old as usize] = new as u32;
        }
        self.all.renumber_stacks(&renumbered, ids.len());
        self.tables.stacks = ids.iter().map(|&old| self.tables.stacks[old as usize].clone()).collect();
        self.tables.stack_ids =
            self.tables.stacks.iter().enumerate().map(|(id, path)| (path.clone(), id as u32)).collect();
        for interval in &mut self.recent {
            Arc::make_mut(interval).renumber_stacks(&renumbered);
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
