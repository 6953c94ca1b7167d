//! What happened to pools: workers that died, in a request or idle, and pools that were full. A worker's request is told by the PHP
//! collector and its signal by the sampler, not always in the same interval.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::php::AbortedRequest;
use crate::{
    model::{EndedBy, Notice, Pool, PoolEvent, PoolEventKind, PoolRoute, Process},
    words::pool_event,
};

/// Processes killed in an interval; no more are looked at.
const KILLED: usize = 4096;
/// The most that one snapshot holds, and the most that it has a notice for.
const MOST: usize = 64;
const NOTICES: usize = 8;
/// Signals by which php-fpm ends workers that it does not need: of one that had no request there is nothing to tell.
const QUIT: u32 = 3;
const TERM: u32 = 15;
/// Events that are kept of a pool, and pools of which they are.
const KEPT: usize = 8;
const POOLS: usize = 1_024;
/// Within so long an interval, all workers of a pool do not change but by a stop or a reload.
const SHORT_S: i64 = 5;

/// A process that a signal killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Killed {
    pub pid: u32,
    pub signal: u32,
    /// Its group, if it was seen to be a worker of a pool.
    pub worker_of: Option<Arc<str>>,
}

/// What is known from the intervals before.
#[derive(Debug, Default)]
pub(super) struct PoolEvents {
    /// Those killed while PHP did not answer: of them it is not known whether they were in a request.
    pending: Vec<Killed>,
    /// Workers that were told of in the interval before.
    told: Vec<u32>,
    /// `max_children_reached` by master and pool.
    reached: HashMap<(u32, Arc<str>), u32>,
    /// The master of each worker of a pool, in the interval before, and when that ended.
    masters: HashMap<u32, u32>,
    before: Option<Timestamp>,
    /// What happened lately, by group.
    lately: HashMap<Arc<str>, Lately>,
}

/// What happened to a pool since it was first seen.
#[derive(Debug)]
struct Lately {
    since: Timestamp,
    count: u64,
    /// The newest first.
    last: Vec<PoolEvent>,
}

impl PoolEvents {
    /// The events of the interval that ended at `at`, in which these processes were there. `pools` is `None` where they were not
    /// read.
    pub(super) fn of(
        &mut self,
        at: Timestamp,
        aborted: &[AbortedRequest],
        mut killed: Vec<Killed>,
        pools: Option<&[Pool]>,
        processes: &[Process],
    ) -> Vec<PoolEvent> {
        let mut events = Vec::new();
        killed.retain(|killed| !self.told.contains(&killed.pid));
        killed.truncate(KILLED);
        for request in aborted.iter().filter(|request| !self.told.contains(&request.pid)).take(MOST) {
            let take = |from: &mut Vec<Killed>| {
                let place = from.iter().position(|killed| killed.pid == request.pid)?;
                Some(from.swap_remove(place).signal)
            };
            let signal = take(&mut killed).or_else(|| take(&mut self.pending));
            events.push(PoolEvent {
                at: request.at,
                pid: Some(request.pid),
                signal,
                ended_by: (signal == Some(TERM)).then(|| self.ended_by(at, request, processes)).flatten(),
                request: Some(PoolRoute { method: Arc::clone(&request.method), route: Arc::clone(&request.route) }),
                duration_ms: Some(request.duration_ms),
                ..event(at, PoolEventKind::WorkerDied, &request.group)
            });
        }
        let mut idle = std::mem::replace(&mut self.pending, killed);
        if pools.is_some() {
            idle.append(&mut self.pending);
        }
        let crashed = idle.into_iter().filter(|killed| !matches!(killed.signal, QUIT | TERM));
        events.extend(crashed.filter_map(|killed| {
            let of_worker = event(at, PoolEventKind::WorkerDied, killed.worker_of.as_ref()?);
            Some(PoolEvent { pid: Some(killed.pid), signal: Some(killed.signal), ..of_worker })
        }));
        self.told = events.iter().filter_map(|event| event.pid).collect();
        if let Some(pools) = pools {
            events.extend(self.full(at, pools));
        }
        events.truncate(MOST);
        events.sort_by_key(|event| event.at);
        self.before = Some(at);
        let workers = processes.iter().filter(|process| process.pool.is_some());
        self.masters = workers.map(|process| (process.pid, process.ppid)).collect();
        events
    }

    /// What had php-fpm end a worker by SIGTERM in a request; `None` where that cannot be told.
    fn ended_by(&self, at: Timestamp, request: &AbortedRequest, processes: &[Process]) -> Option<EndedBy> {
        let pid = request.pid;
        let master = self.masters.get(&pid).copied().or(Some(request.parent).filter(|parent| *parent > 1))?;
        let lives = |pid: u32| {
            let place = processes.binary_search_by_key(&pid, |process| process.pid).ok()?;
            Some(&processes[place]).filter(|process| process.state != 'Z')
        };
        if lives(master).is_none() {
            return Some(EndedBy::StopOrReload);
        }
        let mut others = self.masters.iter().filter(|&(&other, &of)| of == master && other != pid).peekable();
        // It was the only one: nothing tells why.
        others.peek()?;
        if others.any(|(&other, _)| lives(other).is_some_and(|process| process.ppid == master)) {
            return Some(EndedBy::RequestTerminateTimeout);
        }
        let short = self.before.is_some_and(|before| at.duration_since(before).as_secs() <= SHORT_S);
        short.then_some(EndedBy::StopOrReload)
    }

    /// Puts what happened lately into the pools, which were read.
    pub(super) fn keep(&mut self, at: Timestamp, events: &[PoolEvent], pools: &mut [Pool]) {
        if self.lately.len() > POOLS {
            let groups: Vec<&Arc<str>> = pools.iter().map(group).collect();
            self.lately.retain(|known, _| groups.contains(&known));
        }
        for pool in pools.iter().take(POOLS) {
            let new = || Lately { since: at, count: 0, last: Vec::new() };
            self.lately.entry(Arc::clone(group(pool))).or_insert_with(new);
        }
        for event in events {
            let Some(lately) = self.lately.get_mut(&event.group) else { continue };
            lately.count += 1;
            lately.last.insert(0, event.clone());
            lately.last.truncate(KEPT);
        }
        for pool in pools {
            let Some(lately) = self.lately.get(group(pool)) else { continue };
            (pool.events_since, pool.event_count) = (Some(lately.since), lately.count);
            pool.events.clone_from(&lately.last);
        }
    }

    fn full(&mut self, at: Timestamp, pools: &[Pool]) -> Vec<PoolEvent> {
        let before = std::mem::take(&mut self.reached);
        let mut events = Vec::new();
        for pool in pools {
            let (board, key) = (&pool.board, (pool.board.master, Arc::clone(&pool.board.name)));
            if before.get(&key).is_some_and(|&before| board.max_children_reached > before) {
                let group = group(pool);
                let kind = PoolEventKind::MaxChildrenReached;
                events.push(PoolEvent { max_children: Some(board.max_children), ..event(at, kind, group) });
            }
            self.reached.insert(key, board.max_children_reached);
        }
        events
    }
}

/// The group of a pool; its name while it has none.
fn group(pool: &Pool) -> &Arc<str> {
    pool.group.as_ref().unwrap_or(&pool.board.name)
}

fn event(at: Timestamp, kind: PoolEventKind, group: &Arc<str>) -> PoolEvent {
    PoolEvent {
        at,
        kind,
        group: Arc::clone(group),
        pid: None,
        signal: None,
        ended_by: None,
        request: None,
        duration_ms: None,
        max_children: None,
    }
}

/// What the user should know of them.
pub(super) fn notices(events: &[PoolEvent]) -> impl Iterator<Item = Notice> {
    events.iter().take(NOTICES).map(|event| match event.kind {
        PoolEventKind::MaxChildrenReached => {
            Notice::max_children_reached(&event.group, event.max_children.unwrap_or(0))
        }
        PoolEventKind::WorkerDied | PoolEventKind::Other => {
            let signal = event.signal.map(pool_event::signal);
            let how = pool_event::how(event);
            Notice::worker_died(event.pid.unwrap_or(0), &event.group, &how, signal.as_deref(), event.ended_by)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProcessManager, Scoreboard};

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn aborted(pid: u32) -> AbortedRequest {
        AbortedRequest {
            at: time(10),
            pid,
            parent: 0,
            group: "php-fpm: www".into(),
            method: "GET".into(),
            route: "/slow".into(),
            duration_ms: 30_000.0,
        }
    }

    fn killed(pid: u32, signal: u32) -> Killed {
        Killed { pid, signal, worker_of: Some("php-fpm: www".into()) }
    }

    fn told(events: &[PoolEvent]) -> Vec<(Option<u32>, Option<u32>, bool)> {
        events.iter().map(|event| (event.pid, event.signal, event.request.is_some())).collect()
    }

    #[test]
    fn a_worker_that_dies_in_a_request_is_told_once_with_its_signal_whichever_comes_first() {
        let mut events = PoolEvents::default();
        let read = Some(&[][..]);
        let both = events.of(time(11), &[aborted(7)], vec![killed(7, TERM)], read, &[]);
        assert_eq!(told(&both), [(Some(7), Some(TERM), true)]);
        assert_eq!(both[0].at, time(10));
        // PHP answers late.
        assert_eq!(told(&events.of(time(12), &[], vec![killed(8, 11)], None, &[])), []);
        assert_eq!(told(&events.of(time(13), &[aborted(8)], vec![], read, &[])), [(Some(8), Some(11), true)]);
        assert_eq!(told(&events.of(time(14), &[aborted(9)], vec![], read, &[])), [(Some(9), None, true)]);
        assert_eq!(told(&events.of(time(15), &[], vec![killed(9, 11)], read, &[])), []);
        assert_eq!(told(&events.of(time(16), &[], vec![], read, &[])), [], "it is not told again");
        let text = notices(&both).next().unwrap().text;
        assert_eq!(text, "worker 7 of php-fpm: www was killed by SIGTERM in GET /slow after 30.0 s");
    }

    fn pool(reached: u32) -> Pool {
        Pool {
            board: Scoreboard {
                name: "www".into(),
                master: 5,
                process_manager: ProcessManager::Dynamic,
                max_children: 40,
                active: 40,
                idle: 0,
                max_active: 40,
                max_children_reached: reached,
                requests: 9,
                slow_requests: 0,
                listen_queue: None,
                queue_since: None,
                listen_queue_max: 0,
            },
            group: Some("php-fpm: www".into()),
            workers: 40,
            private_bytes: None,
            shared_bytes: None,
            base_bytes: None,
            request_bytes: None,
            requests_seen: 0,
            route: None,
            worker_bytes: None,
            room_bytes: None,
            fits: None,
            fits_unknown: None,
            bound: None,
            events_since: None,
            event_count: 0,
            events: Vec::new(),
        }
    }

    fn process(pid: u32, ppid: u32, pool: bool) -> Process {
        Process { pool: pool.then(|| "www".into()), ppid, ..Process::named(pid, "php-fpm") }
    }

    #[test]
    fn a_worker_whose_request_took_too_long_is_told_from_one_that_is_stopped() {
        let read = Some(&[][..]);
        let [master, one, two, new] = [(5, 1), (7, 5), (8, 5), (9, 5)].map(|(pid, ppid)| process(pid, ppid, ppid == 5));
        let after = |before: &[&Process], now: &[&Process], seconds: i64| {
            let [before, now] = [before, now].map(|list| list.iter().copied().cloned().collect::<Vec<_>>());
            let mut events = PoolEvents::default();
            events.of(time(10), &[], vec![], read, &before);
            let killed = vec![killed(7, TERM)];
            events.of(time(10 + seconds), &[aborted(7)], killed, read, &now)[0].ended_by
        };
        let all = [&master, &one, &two];
        assert_eq!(after(&all, &[&master, &two, &new], 1), Some(EndedBy::RequestTerminateTimeout));
        assert_eq!(after(&all, &[&master, &new], 1), Some(EndedBy::StopOrReload), "a reload: all workers are new");
        assert_eq!(after(&all, &[], 1), Some(EndedBy::StopOrReload), "its master is gone");
        assert_eq!(after(&all, &[&master, &new], 60), None, "in a minute workers come and go");
        assert_eq!(after(&[&master, &one], &[&master, &new], 1), None, "it was the only worker");
        assert_eq!(after(&[], &[&master, &two], 1), None, "it was not seen before");
    }

    #[test]
    fn a_pool_keeps_its_last_events_and_says_since_when() {
        let mut events = PoolEvents::default();
        let mut pools = [pool(0)];
        events.keep(time(1), &[], &mut pools);
        assert_eq!((pools[0].events_since, pools[0].event_count), (Some(time(1)), 0));
        for second in 2..20 {
            let of_other = event(time(second), PoolEventKind::WorkerDied, &"other".into());
            let of_pool = event(time(second), PoolEventKind::WorkerDied, &"php-fpm: www".into());
            events.keep(time(second), &[of_other, of_pool], &mut pools);
        }
        let pool = &pools[0];
        assert_eq!((pool.events_since, pool.event_count, pool.events.len()), (Some(time(1)), 18, KEPT));
        assert_eq!(pool.events[0].at, time(19), "the newest first");
    }

    #[test]
    fn an_idle_worker_that_crashes_is_told_and_one_that_is_not_needed_is_not() {
        let mut events = PoolEvents::default();
        let idle = events.of(time(10), &[], vec![killed(7, 11), killed(8, TERM), killed(9, QUIT)], Some(&[]), &[]);
        assert_eq!(told(&idle), [(Some(7), Some(11), false)]);
        let text = notices(&idle).next().unwrap().text;
        assert_eq!(text, "worker 7 of php-fpm: www was killed by SIGSEGV");
        assert_eq!(told(&events.of(time(11), &[], vec![], Some(&[]), &[])), []);
    }

    #[test]
    fn a_pool_that_was_full_again_is_told_and_one_that_was_full_before_is_not() {
        let mut events = PoolEvents::default();
        let mut full = |second, reached| events.of(time(second), &[], vec![], Some(&[pool(reached)]), &[]);
        assert_eq!((full(1, 3), full(2, 3)), (vec![], vec![]));
        let again = full(3, 4);
        assert_eq!((again.len(), again[0].at, again[0].max_children), (1, time(3), Some(40)));
        assert_eq!(notices(&again).next().unwrap().text, "php-fpm: www has reached pm.max_children (40)");
    }
}
