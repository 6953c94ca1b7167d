//! What each worker does, and how much it has served since watching began.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::super::digits;
use super::stacks::Stacks;
use super::{Placed, Threaded};
use crate::collect::php::NamedStack;
use crate::{
    collect::php::{PhpProcess, PhpSample},
    model::{Tier, TierState, Worker, WorkerKey, WorkerState},
};

/// Keeps a count for every live worker.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    served: HashMap<WorkerKey, Served>,
    /// The last stack of the request that runs, by worker.
    stacks: HashMap<WorkerKey, LastStack>,
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
    pub(super) fn update(&mut self, sample: &PhpSample, threaded: &Threaded) {
        for finished in &sample.finished {
            let served = self.served.entry(threaded.worker(&finished.request)).or_default();
            served.requests += 1;
            served.last_end_ns = served.last_end_ns.max(finished.request.started_ns + finished.duration_ns);
        }
        let alive: HashSet<WorkerKey> =
            sample.processes.iter().filter(|process| process.alive).flat_map(keys).collect();
        self.served.retain(|key, _| alive.contains(key));
    }

    /// What each worker did in the interval. Of requests that run it keeps the stack that took most of it.
    fn activity(
        &mut self,
        sample: &PhpSample,
        threaded: &Threaded,
        running: &HashMap<WorkerKey, u64>,
    ) -> HashMap<WorkerKey, Activity> {
        self.stacks.retain(|key, last| running.get(key) == Some(&last.started_ns));
        let mut activity: HashMap<WorkerKey, Activity> = HashMap::new();
        for count in &sample.stacks {
            // Outside of a request, nothing tells which thread of a process it was.
            let process = WorkerKey::of_process(count.pid);
            let key = count.request.as_ref().map_or(process, |request| threaded.worker(request));
            let sum = activity.entry(key).or_default();
            sum.samples += count.samples;
            sum.wait_ns += count.wait_ns;
            let started_ns = count.request.as_ref().map(|request| request.started_ns);
            let time = count.samples.saturating_mul(SAMPLE_NS).saturating_add(count.wait_ns);
            if time > sum.most && started_ns.is_some() && running.get(&key).copied() == started_ns {
                sum.most = time;
                let (started_ns, stack) = (started_ns.unwrap_or(0), Arc::clone(&count.stack));
                self.stacks.insert(key, LastStack { started_ns, stack, seen_ns: sample.now.monotonic_ns });
            }
        }
        activity
    }

    /// The workers that live. A command line script is no worker, nor is a master.
    pub(super) fn list(
        &mut self,
        sample: &PhpSample,
        threaded: &Threaded,
        placed: &HashMap<u32, Placed>,
        stacks: &mut Stacks,
    ) -> Vec<Worker> {
        let running: HashMap<WorkerKey, u64> =
            // Where several are told of one worker, that which has run for longest: it comes first.
            sample.running.iter().rev().map(|request| (threaded.worker(request), request.started_ns)).collect();
        let activity = self.activity(sample, threaded, &running);
        let moment = |ns: u64| moment(sample, ns);
        let mut workers = Vec::new();
        let serving = sample.processes.iter().filter(|process| process.alive && !process.sapi.runs_scripts());
        for (process, key) in serving.flat_map(|process| keys(process).map(move |key| (process, key))) {
            let served = self.served.get(&key);
            let started = running.get(&key);
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
            let did = activity.get(&key).copied().unwrap_or_default();
            let last = self.stacks.get(&key);
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
                tid: key.tid,
                ..Worker::seen(process.pid, pool, group)
            });
        }
        workers
    }
}

/// The workers that a process is: itself, or its threads.
fn keys(process: &PhpProcess) -> impl Iterator<Item = WorkerKey> {
    let itself = process.threads.is_empty().then_some(None);
    let threads = process.threads.iter().map(|&tid| Some(tid));
    itself.into_iter().chain(threads).map(|tid| WorkerKey { pid: process.pid, tid })
}

/// What a sample weighs beside waiting, about: the time to the next at the usual rate.
const SAMPLE_NS: u64 = 10_000_000;

fn moment(sample: &PhpSample, monotonic_ns: u64) -> Option<Timestamp> {
    let age = i64::try_from(sample.now.monotonic_ns.checked_sub(monotonic_ns)?).ok()?;
    sample.now.at.checked_sub(SignedDuration::from_nanos(age)).ok()
}
