//! What each worker does, and how much it has served since watching began.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::Placed;
use crate::{
    collect::php::PhpSample,
    model::{Tier, TierState, Worker, WorkerState},
};

/// Keeps a count for every live worker.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    served: HashMap<u32, Served>,
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

    /// The workers that live. A command line script is no worker, nor is a master.
    pub(crate) fn list(&self, sample: &PhpSample, placed: &HashMap<u32, Placed>) -> Vec<Worker> {
        let running: HashMap<u32, u64> =
            sample.running.iter().map(|request| (request.pid, request.started_ns)).collect();
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
            workers.push(Worker {
                pid: process.pid,
                pool: process.pool.clone().unwrap_or_else(|| process.sapi.name().into()),
                group: placed.get(&process.pid).map(|placed| Arc::clone(&placed.group)),
                state,
                // Where they were observed at some time, those that were seen are known.
                requests: served.map(|served| served.requests).or(observed.then_some(0)),
                since,
                bloated_by: None,
            });
        }
        workers
    }
}

fn moment(sample: &PhpSample, monotonic_ns: u64) -> Option<Timestamp> {
    let age = i64::try_from(sample.now.monotonic_ns.checked_sub(monotonic_ns)?).ok()?;
    sample.now.at.checked_sub(SignedDuration::from_nanos(age)).ok()
}
