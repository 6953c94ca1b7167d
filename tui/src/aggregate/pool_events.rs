//! What happened to pools: workers that died, in a request or idle, and pools that were full. A worker's request is told by the PHP
//! collector and its signal by the sampler, not always in the same interval.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::php::AbortedRequest;
use crate::{
    model::{Notice, Pool, PoolEvent, PoolEventKind, PoolRoute},
    words::units,
};

/// Processes killed in an interval; no more are looked at.
const KILLED: usize = 4096;
/// The most that one snapshot holds, and the most that it has a notice for.
const MOST: usize = 64;
const NOTICES: usize = 8;
/// Signals by which php-fpm ends workers that it does not need: of one that had no request there is nothing to tell.
const QUIT: u32 = 3;
const TERM: u32 = 15;

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
}

impl PoolEvents {
    /// The events of the interval that ended at `at`. `pools` is `None` where they were not read.
    pub(super) fn of(
        &mut self,
        at: Timestamp,
        aborted: &[AbortedRequest],
        mut killed: Vec<Killed>,
        pools: Option<&[Pool]>,
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
        events
    }

    fn full(&mut self, at: Timestamp, pools: &[Pool]) -> Vec<PoolEvent> {
        let before = std::mem::take(&mut self.reached);
        let mut events = Vec::new();
        for pool in pools {
            let (board, key) = (&pool.board, (pool.board.master, Arc::clone(&pool.board.name)));
            if before.get(&key).is_some_and(|&before| board.max_children_reached > before) {
                let group = pool.group.as_ref().unwrap_or(&board.name);
                let kind = PoolEventKind::MaxChildrenReached;
                events.push(PoolEvent { max_children: Some(board.max_children), ..event(at, kind, group) });
            }
            self.reached.insert(key, board.max_children_reached);
        }
        events
    }
}

fn event(at: Timestamp, kind: PoolEventKind, group: &Arc<str>) -> PoolEvent {
    PoolEvent {
        at,
        kind,
        group: Arc::clone(group),
        pid: None,
        signal: None,
        request: None,
        duration_ms: None,
        max_children: None,
    }
}

/// A signal in words (signal(7)); those that kill PHP have the same numbers on all architectures that tusktop runs on.
fn signal(number: u32) -> String {
    let name = match number {
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// What the user should know of them.
pub(super) fn notices(events: &[PoolEvent]) -> impl Iterator<Item = Notice> {
    events.iter().take(NOTICES).map(|event| match event.kind {
        PoolEventKind::MaxChildrenReached => {
            Notice::max_children_reached(&event.group, event.max_children.unwrap_or(0))
        }
        PoolEventKind::WorkerDied | PoolEventKind::Other => {
            let request = event.request.as_ref().map_or_else(String::new, |request| {
                let lasted =
                    event.duration_ms.map_or_else(String::new, |ms| format!(" after {}", units::duration_ms(ms)));
                format!(" in {} {}{lasted}", request.method, request.route)
            });
            Notice::worker_died(event.pid.unwrap_or(0), &event.group, event.signal.map(signal).as_deref(), &request)
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
        let both = events.of(time(11), &[aborted(7)], vec![killed(7, TERM)], read);
        assert_eq!(told(&both), [(Some(7), Some(TERM), true)]);
        assert_eq!(both[0].at, time(10));
        // PHP answers late.
        assert_eq!(told(&events.of(time(12), &[], vec![killed(8, 11)], None)), []);
        assert_eq!(told(&events.of(time(13), &[aborted(8)], vec![], read)), [(Some(8), Some(11), true)]);
        assert_eq!(told(&events.of(time(14), &[aborted(9)], vec![], read)), [(Some(9), None, true)]);
        assert_eq!(told(&events.of(time(15), &[], vec![killed(9, 11)], read)), []);
        assert_eq!(told(&events.of(time(16), &[], vec![], read)), [], "it is not told again");
        let text = notices(&both).next().unwrap().text;
        assert_eq!(text, "worker 7 of php-fpm: www was killed by SIGTERM in GET /slow after 30.0 s");
    }

    #[test]
    fn an_idle_worker_that_crashes_is_told_and_one_that_is_not_needed_is_not() {
        let mut events = PoolEvents::default();
        let idle = events.of(time(10), &[], vec![killed(7, 11), killed(8, TERM), killed(9, QUIT)], Some(&[]));
        assert_eq!(told(&idle), [(Some(7), Some(11), false)]);
        let text = notices(&idle).next().unwrap().text;
        assert_eq!(text, "worker 7 of php-fpm: www was killed by SIGSEGV");
        assert_eq!(told(&events.of(time(11), &[], vec![], Some(&[]))), []);
    }

    #[test]
    fn a_pool_that_was_full_again_is_told_and_one_that_was_full_before_is_not() {
        let pool = |reached: u32| Pool {
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
        };
        let mut events = PoolEvents::default();
        let mut full = |second, reached| events.of(time(second), &[], vec![], Some(&[pool(reached)]));
        assert_eq!((full(1, 3), full(2, 3)), (vec![], vec![]));
        let again = full(3, 4);
        assert_eq!((again.len(), again[0].at, again[0].max_children), (1, time(3), Some(40)));
        assert_eq!(notices(&again).next().unwrap().text, "php-fpm: www has reached pm.max_children (40)");
    }
}
