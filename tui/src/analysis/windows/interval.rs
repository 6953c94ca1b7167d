//! The part of one interval that a sum needs, by number: much less than the interval's [`Php`], whose stacks have all their frames.

use std::sync::Arc;

use jiff::Timestamp;

use super::Tables;
use crate::model::{CompiledFile, ExceptionCount, Function, LineCalls, Php, PhpError, Request, Route};

#[derive(Debug, Clone)]
pub(super) struct Interval {
    pub at: Timestamp,
    pub interval_ms: u64,
    pub functions: Vec<(u32, Counts)>,
    pub stacks: Vec<StackCounts>,
    pub routes: Vec<(u32, Route)>,
    /// Finished requests, with the number of the route in place of its index.
    pub requests: Vec<Request>,
    pub exceptions: Option<Vec<ExceptionCount>>,
    pub errors: Option<Vec<PhpError>>,
    pub compiles: Option<Vec<CompiledFile>>,
    pub lines: Option<Vec<LineCalls>>,
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
    /// Waiting time of itself and in total, calls, exact time of itself and in total.
    pub optional: [Option<u64>; 5],
    pub durations_log2: Option<Vec<u64>>,
}

/// What is counted of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct StackCounts {
    pub id: u32,
    pub samples: u64,
    pub wait_ns: Option<u64>,
}

impl Interval {
    /// Gives everything in a [`Php`] its number.
    pub(crate) fn of(at: Timestamp, php: &Php, tables: &mut Tables) -> Self {
        let function_ids: Vec<u32> = php.functions.iter().map(|function| tables.function(&function.key)).collect();
        let route_ids: Vec<u32> = php.routes.iter().map(|route| tables.route(&route.key)).collect();
        let mut left_out = 0;
        let mut stacks = Vec::with_capacity(php.stacks.len());
        for stack in &php.stacks {
            match tables.stack(stack, &function_ids, &route_ids) {
                Some(id) => stacks.push(StackCounts { id, samples: stack.samples, wait_ns: stack.wait_ns }),
                None => left_out += stack.samples,
            }
        }
        let shared = |(&id, route): (&u32, &Route)| {
            (id, Route { key: Arc::clone(&tables.routes[id as usize]), ..route.clone() })
        };
        let finished = php.requests.iter().filter(|request| request.finished);
        let mut interval = Self {
            at,
            interval_ms: php.interval_ms,
            functions: function_ids.iter().copied().zip(php.functions.iter().map(counts)).collect(),
            stacks,
            routes: route_ids.iter().zip(&php.routes).map(shared).collect(),
            requests: finished
                .filter_map(|request| {
                    Some(Request { route: *route_ids.get(request.route)? as usize, ..request.clone() })
                })
                .collect(),
            exceptions: php.exceptions.clone(),
            errors: php.errors.clone(),
            compiles: php.compiles.clone(),
            lines: php.lines.clone(),
            left_out,
            bytes: 0,
        };
        interval.bytes = interval.measured();
        interval
    }

    /// The numbers of its stacks.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = u32> {
        self.stacks.iter().map(|stack| stack.id)
    }

    /// Gives stacks their new numbers; those without one are left out.
    pub(crate) fn renumber_stacks(&mut self, renumbered: &[u32]) {
        let left_out = &mut self.left_out;
        self.stacks.retain_mut(|stack| {
            stack.id = renumbered.get(stack.id as usize).copied().unwrap_or(u32::MAX);
            if stack.id == u32::MAX {
                *left_out += stack.samples;
            }
            stack.id != u32::MAX
        });
    }

    fn measured(&self) -> usize {
        let durations = self.functions.iter().filter_map(|(_, counts)| counts.durations_log2.as_ref());
        let routes = self.routes.iter().map(|(_, route)| size_of::<(u32, Route)>() + route.histogram.bytes());
        let requests = self.requests.iter().map(|request| size_of::<Request>() + request.uri.len());
        size_of::<Self>()
            + self.functions.len() * size_of::<(u32, Counts)>()
            + durations.map(|list| list.len() * size_of::<u64>()).sum::<usize>()
            + self.stacks.len() * size_of::<StackCounts>()
            + routes.sum::<usize>()
            + requests.sum::<usize>()
            + size_of_list(&self.exceptions)
            + size_of_list(&self.errors)
            + size_of_list(&self.compiles)
            + size_of_list(&self.lines)
    }
}

fn size_of_list<T>(list: &Option<Vec<T>>) -> usize {
    list.as_ref().map_or(0, |list| list.len() * size_of::<T>())
}

fn counts(function: &Function) -> Counts {
    Counts {
        self_samples: function.self_samples,
        total_samples: function.total_samples,
        optional: [function.self_wait_ns, function.total_wait_ns, function.calls, function.self_ns, function.total_ns],
        durations_log2: function.durations_log2.clone(),
    }
}
