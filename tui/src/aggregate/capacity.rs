//! How many workers of a php-fpm pool fit in memory, compared with how many it may start.
//!
//! A worker's private memory is freed when it ends; shared memory exists only once. So
//! `(available + private of all workers that run) / private of one` workers of this pool fit, if nothing else changes.

use std::{collections::HashMap, sync::Arc};

use crate::{
    model::{Bound, Group, Notice, Pool, Process, Scoreboard, Worker, WorkerState},
    words::units,
};

/// Share of the workers that have less private memory than what is counted with.
const PERCENTILE: f64 = 0.95;
/// Bytes of a name that a scoreboard keeps.
const SCOREBOARD_NAME: usize = 31;
/// The least that a worker is counted with: one that has just been forked has hardly anything for itself yet.
const LEAST_PRIVATE: u64 = 1 << 20;

/// Room in bytes that could be taken by more workers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    /// `MemAvailable` of the machine.
    pub machine: Option<u64>,
    /// What is left below the limit of the workers' cgroup; `None` where there is no limit.
    pub cgroup: Option<u64>,
}

/// Joins what the scoreboards say with what the workers take. `room` is that beside a worker.
pub(super) fn pools(
    boards: &[Scoreboard],
    processes: &[Process],
    groups: &[Group],
    room: impl Fn(&Process) -> Room,
) -> Vec<Pool> {
    boards.iter().map(|board| of_pool(board, processes, groups, &room)).collect()
}

fn of_pool(board: &Scoreboard, processes: &[Process], groups: &[Group], room: &impl Fn(&Process) -> Room) -> Pool {
    let is_worker = |process: &&Process| process.ppid == board.master && is_in(process, &board.name);
    let named = processes.iter().find(is_worker).and_then(|worker| whole_name(worker, &board.name));
    let workers: Vec<&Process> = processes.iter().filter(is_worker).collect();
    let mut private: Vec<u64> = workers.iter().filter_map(|worker| private(worker)).collect();
    private.sort_unstable();
    // Those that are new may not be known yet.
    let known = private.len() * 2 >= workers.len();
    let private_bytes = percentile(&private).filter(|_| known);
    let taken: u64 = private.iter().sum();
    let limit = private_bytes.and_then(|each| {
        let Room { machine, cgroup } = room(workers.first()?);
        let fits =
            |room: u64| u32::try_from((room.saturating_add(taken)) / each.max(LEAST_PRIVATE)).unwrap_or(u32::MAX);
        let machine = machine.map(|room| (fits(room), Bound::Memory));
        let cgroup = cgroup.map(|room| (fits(room), Bound::Cgroup));
        machine.into_iter().chain(cgroup).min_by_key(|(fits, _)| *fits)
    });
    Pool {
        board: Scoreboard { name: named.unwrap_or_else(|| Arc::clone(&board.name)), ..board.clone() },
        group: workers.first().and_then(|worker| Some(Arc::clone(&groups.get(worker.group)?.name))),
        workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
        private_bytes,
        shared_bytes: workers.iter().filter_map(|worker| worker.memory.shared_bytes).max(),
        fits: limit.map(|(fits, _)| fits),
        bound: limit.map(|(_, bound)| bound),
    }
}

/// Has pools count as busy the workers that are seen to be, where that is known of all: the numbers of php-fpm itself drift.
pub(super) fn count_busy(pools: &mut [Pool], processes: &[Process], workers: &[Worker]) {
    let states: HashMap<u32, WorkerState> = workers.iter().map(|worker| (worker.pid, worker.state)).collect();
    for pool in pools {
        let of_pool = processes.iter().filter(|one| one.ppid == pool.board.master && is_in(one, &pool.board.name));
        let states: Option<Vec<WorkerState>> =
            of_pool.map(|one| states.get(&one.pid).copied().filter(|state| *state != WorkerState::Unknown)).collect();
        if let Some(states) = states.filter(|states| !states.is_empty()) {
            let busy = states.iter().filter(|state| **state == WorkerState::Running).count();
            pool.board.active = busy as u32;
            pool.board.idle = (states.len() - busy) as u32;
        }
    }
}

/// Whether a process is in a pool, which has its user behind the name where the master is a stranger's. A name that php-fpm has
/// cut says no more than how it begins; names of one master that begin alike for so long are not told apart.
fn is_in(process: &Process, pool: &str) -> bool {
    let rest = process.pool.as_deref().and_then(|name| name.strip_prefix(pool));
    rest.is_some_and(|rest| is_cut(pool) || rest.is_empty() || (rest.starts_with(" (") && rest.ends_with(')')))
}

/// The name of a worker's pool where php-fpm has cut it.
fn whole_name(worker: &Process, pool: &str) -> Option<Arc<str>> {
    let name = worker.pool.as_deref().filter(|_| is_cut(pool))?;
    Some(name.split_once(" (").map_or(name, |(name, _)| name).into())
}

/// Whether a name may have been cut: php-fpm keeps 31 bytes, of which a character of up to 4 may be incomplete.
fn is_cut(pool: &str) -> bool {
    (SCOREBOARD_NAME - 3..=SCOREBOARD_NAME).contains(&pool.len()) && (pool.len() == SCOREBOARD_NAME || !pool.is_ascii())
}

/// What ends with a process: its own pages, and those of it that are swapped out.
fn private(process: &Process) -> Option<u64> {
    Some(process.memory.uss_bytes?.saturating_add(process.memory.swap_bytes.unwrap_or(0)))
}

/// By nearest rank, of values in order.
fn percentile(values: &[u64]) -> Option<u64> {
    let rank = (values.len() as f64 * PERCENTILE).ceil() as usize;
    values.get(rank.checked_sub(1)?).copied()
}

/// Pools that may start more workers than fit.
pub(super) fn notices(pools: &[Pool]) -> impl Iterator<Item = Notice> {
    pools.iter().filter_map(|pool| {
        let (fits, each) = (pool.fits.filter(|&fits| fits < pool.board.max_children)?, pool.private_bytes?);
        let into = match pool.bound? {
            Bound::Memory => "memory",
            Bound::Cgroup => "the limit of its cgroup",
            Bound::Other => return None,
        };
        let board = &pool.board;
        Some(Notice::pool_too_large(&board.name, board.max_children, fits, into, &units::bytes(each)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Memory, ProcessManager};

    const MIB: u64 = 1 << 20;

    fn board(max_children: u32) -> Scoreboard {
        Scoreboard {
            master: 10,
            name: "www".into(),
            process_manager: ProcessManager::Dynamic,
            max_children,
            idle: 1,
            active: 2,
            max_active: 3,
            max_children_reached: 4,
            requests: 5,
            slow_requests: 6,
            listen_queue: Some(7),
            queue_since: None,
            listen_queue_max: 8,
        }
    }

    fn worker(pid: u32, ppid: u32, uss: Option<u64>) -> Process {
        Process {
            pid,
            ppid,
            started_at: None,
            start_ticks: None,
            comm: "php-fpm8.2".into(),
            cmdline: "php-fpm: pool www".into(),
            user: "www-data".into(),
            group: 0,
            pool: Some("www".into()),
            state: 'S',
            threads: 1,
            cpu_ratio: None,
            memory: Memory { uss_bytes: uss, shared_bytes: Some(60 * MIB), ..Memory::default() },
            pss_unknown: None,
            unit: None,
            container: None,
            cgroup: None,
        }
    }

    fn of(workers: &[Process], max_children: u32, room: Room) -> Pool {
        let groups = [Group::empty("php-fpm: www".into(), "php pool".into())];
        pools(&[board(max_children)], workers, &groups, |_| room).remove(0)
    }

    #[test]
    fn as_many_fit_as_there_is_private_memory_for() {
        let workers: Vec<_> = (0..10).map(|at| worker(20 + at, 10, Some(100 * MIB))).collect();
        let pool = of(&workers, 40, Room { machine: Some(1600 * MIB), cgroup: None });
        assert_eq!((pool.workers, pool.fits, pool.bound), (10, Some(26), Some(Bound::Memory)));
        assert_eq!((pool.private_bytes, pool.shared_bytes), (Some(100 * MIB), Some(60 * MIB)));
        assert_eq!(pool.group.as_deref(), Some("php-fpm: www"));
        let notices: Vec<_> = notices(&[pool]).collect();
        assert!(
            notices[0].text.contains("pool www: pm.max_children is 40, but only 26 workers fit")
                && notices[0].hint.contains("to 26")
        );
    }

    #[test]
    fn the_limit_of_a_cgroup_counts_where_it_is_lower() {
        let workers = [worker(20, 10, Some(100 * MIB))];
        let pool = of(&workers, 3, Room { machine: Some(1600 * MIB), cgroup: Some(250 * MIB) });
        assert_eq!((pool.fits, pool.bound), (Some(3), Some(Bound::Cgroup)));
        assert_eq!(notices(&[pool]).count(), 0, "all that are set fit");
    }

    #[test]
    fn one_big_worker_of_many_does_not_decide() {
        let mut workers: Vec<_> = (0..39).map(|at| worker(20 + at, 10, Some(10 * MIB))).collect();
        workers.push(worker(99, 10, Some(900 * MIB)));
        assert_eq!(of(&workers, 40, Room::default()).private_bytes, Some(10 * MIB));
    }

    #[test]
    fn a_pool_whose_name_php_fpm_has_cut_has_its_workers_and_its_whole_name() {
        let long = "customer-0042.shop.long-domain-name.example";
        let mut cut = board(4);
        cut.name = long[..SCOREBOARD_NAME].into();
        let named = |pid, pool: &str| Process { pool: Some(pool.into()), ..worker(pid, 10, Some(MIB)) };
        let workers = [named(20, long), named(21, "customer-0042"), named(22, &format!("{long} (alice)"))];
        let groups = [Group::empty("php-fpm: x".into(), "php pool".into())];
        let pool = pools(&[cut], &workers, &groups, |_| Room::default()).remove(0);
        assert_eq!((&*pool.board.name, pool.workers), (long, 2));
        let of = |name: &str| is_in(&named(20, name), "www");
        assert_eq!((of("www"), of("www (alice)"), of("www-2")), (true, true, false));
    }

    #[test]
    fn workers_that_are_seen_to_be_busy_count_and_not_what_php_fpm_says() {
        let workers = [worker(20, 10, None), worker(21, 10, None), worker(22, 10, None)];
        let doing = |pid, state| Worker { pid, pool: "www".into(), group: None, state, requests: None, since: None };
        let mut seen: Vec<Worker> = (20..23).map(|pid| doing(pid, WorkerState::Running)).collect();
        let mut all = pools(&[board(4)], &workers, &[], |_| Room::default());
        count_busy(&mut all, &workers, &seen[..2]);
        assert_eq!((all[0].board.active, all[0].board.idle), (2, 1), "it is not known of all");
        seen[1].state = WorkerState::Idle;
        count_busy(&mut all, &workers, &seen);
        assert_eq!((all[0].board.active, all[0].board.idle), (2, 1));
        seen[1].state = WorkerState::Running;
        count_busy(&mut all, &workers, &seen);
        assert_eq!((all[0].board.active, all[0].board.idle), (3, 0));
        seen[0].state = WorkerState::Unknown;
        seen[1].state = WorkerState::Idle;
        count_busy(&mut all, &workers, &seen);
        assert_eq!((all[0].board.active, all[0].board.idle), (3, 0));
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let room = Room { machine: Some(1600 * MIB), cgroup: None };
        let unread = of(&[worker(20, 10, None)], 40, room);
        assert_eq!((unread.private_bytes, unread.fits, unread.workers), (None, None, 1));
        assert_eq!(of(&[], 40, room).fits, None);
        assert_eq!(of(&[worker(20, 10, Some(MIB))], 40, Room::default()).fits, None);
    }

    #[test]
    fn workers_of_another_master_are_not_counted() {
        let workers = [worker(20, 10, Some(MIB)), worker(21, 11, Some(900 * MIB))];
        assert_eq!(of(&workers, 40, Room::default()).workers, 1);
    }

    proptest! {
        #[test]
        fn more_room_never_fits_fewer(sizes in proptest::collection::vec(0_u64..1 << 40, 1..50), room in 0_u64..1 << 50, more in 0_u64..1 << 40) {
            let workers: Vec<_> = (20..).zip(&sizes).map(|(pid, size)| worker(pid, 10, Some(*size))).collect();
            let fits = |room| of(&workers, 40, Room { machine: Some(room), cgroup: None }).fits;
            prop_assert!(fits(room) <= fits(room + more));
        }
    }
}
