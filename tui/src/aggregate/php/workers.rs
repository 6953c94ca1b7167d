//! What each worker does, and how much it has served since watching began.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::super::digits;
use super::Placed;
use super::stacks::Stacks;
use crate::collect::php::NamedStack;
use crate::{
    collect::php::PhpSample,
    model::{Tier, TierState, Worker, WorkerState},
};

/// Keeps a count for every live worker.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    served: HashMap<u32, Served>,
    /// The last stack of the request that runs, by process.
    stacks: HashMap<u32, LastStack>,
}

/// A stack that a request was seen in.
#[derive(Debug, Clone)]
struct LastStack {
    /// Start of the request.
    started_ns: u64,
    stack: Arc<NamedStack>,
    /// When the interval ended in which it was seen.
    seen_ns: u64,
}

/// What a worker did in the interval.
#[derive(Debug, Default, Clone, Copy)]
struct Activity {
    samples: u64,
    wait_ns: u64,
    /// Of the stack that took most of the request that runs.
    most: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Served {
    requests: u64,
    last_end_ns: u64,
}

impl Workers {
    /// Counts the requests of the interval and forgets the workers that have ended.
    pub(crate) fn update(&mut self, sample: &PhpSample) {
        for finished in &sample.finished {
            let served = self.served.entry(finished.request.pid).or_default();
            served.requests += 1;
            served.last_end_ns = served.last_end_ns.max(finished.request.started_ns + finished.duration_ns);
        }
        let alive: HashSet<u32> =
            sample.processes.iter().filter(|process| process.alive).map(|process| process.pid).collect();
        self.served.retain(|pid, _| alive.contains(pid));
    }

    /// What each process did in the interval. Of requests that run it keeps the stack that took most of it.
    fn activity(&mut self, sample: &PhpSample, running: &HashMap<u32, u64>) -> HashMap<u32, Activity> {
        self.stacks.retain(|pid, last| running.get(pid) == Some(&last.started_ns));
        let mut activity: HashMap<u32, Activity> = HashMap::new();
        for count in &sample.stacks {
            let sum = activity.entry(count.pid).or_default();
            sum.samples += count.samples;
            sum.wait_ns += count.wait_ns;
            let started_ns = count.request.as_ref().map(|request| request.started_ns);
            let time = count.samples.saturating_mul(SAMPLE_NS).saturating_add(count.wait_ns);
            if time > sum.most && started_ns.is_some() && running.get(&count.pid).copied() == started_ns {
                sum.most = time;
                let (started_ns, stack) = (started_ns.unwrap_or(0), Arc::clone(&count.stack));
                self.stacks.insert(count.pid, LastStack { started_ns, stack, seen_ns: sample.now.monotonic_ns });
            }
        }
        activity
    }

    /// The workers that live. A command line script is no worker, nor is a master.
    pub(crate) fn list(
        &mut self,
        sample: &PhpSample,
        placed: &HashMap<u32, Placed>,
        stacks: &mut Stacks,
    ) -> Vec<Worker> {
        let running: HashMap<u32, u64> =
            // Of a process with several threads, that which has run for longest: it comes first.
            sample.running.iter().rev().map(|request| (request.pid, request.started_ns)).collect();
        let activity = self.activity(sample, &running);
        let moment = |ns: u64| moment(sample, ns);
        let mut workers = Vec::new();
        for process in sample.processes.iter().filter(|process| process.alive && !process.sapi.runs_scripts()) {
            let served = self.served.get(&process.pid);
            let started = running.get(&process.pid);
            // Nothing but its pool or its requests tells a worker from the process that only starts workers.
            if process.pool.is_none() && served.is_none() && started.is_none() {
                continue;
            }
            // While the tier rests, nothing tells whether a worker is idle; nor does anything of one that has not been looked at.
            let requests = sample.target(process.image).map(|target| target.tiers[Tier::Requests].state);
            let observed = requests == Some(TierState::On);
            let (state, since) = match started {
                Some(&started) => (WorkerState::Running, moment(started)),
                None if observed && process.known => {
                    (WorkerState::Idle, served.and_then(|served| moment(served.last_end_ns)))
                }
                None => (WorkerState::Unknown, None),
            };
            let tier = |tier| sample.target(process.image).map(|target| &target.tiers[tier]);
            let hz = tier(Tier::Sampling).filter(|tier| tier.state == TierState::On).and_then(|tier| tier.hz);
            let waits = tier(Tier::Waiting).is_some_and(|tier| tier.state == TierState::On);
            let did = activity.get(&process.pid).copied().unwrap_or_default();
            let last = self.stacks.get(&process.pid);
            let frames = last.map(|last| last.stack.frames.iter().map(|key| stacks.function(key)).collect());
            let pool = process.pool.clone().unwrap_or_else(|| process.sapi.name().into());
            let group = placed.get(&process.pid).map(|placed| Arc::clone(&placed.group));
            workers.push(Worker {
                state,
                // Where they were observed at some time, those that were seen are known.
                requests: served.map(|served| served.requests).or(observed.then_some(0)),
                since,
                cpu_ms: hz.filter(|hz| *hz > 0).map(|hz| (did.samples as f64 * 1000.0 / f64::from(hz)).round()),
                wait_ms: waits.then_some(digits::milliseconds(did.wait_ns)),
                stack: frames.unwrap_or_default(),
                stack_age_ms: last.map(|last| sample.now.monotonic_ns.saturating_sub(last.seen_ns) / 1_000_000),
                ..Worker::seen(process.pid, pool, group)
            });
        }
        workers
    }
}

/// What a sample weighs beside waiting, about: the time to the next at the usual rate.
const SAMPLE_NS: u64 = 10_000_000;

fn moment(sample: &PhpSample, monotonic_ns: u64) -> Option<Timestamp> {
    let age = i64::try_from(sample.now.monotonic_ns.checked_sub(monotonic_ns)?).ok()?;
    sample.now.at.checked_sub(SignedDuration::from_nanos(age)).ok()
}
