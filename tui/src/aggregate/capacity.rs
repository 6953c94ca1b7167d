//! How many workers of a php-fpm pool fit in memory, compared with how many it may start.
//!
//! A worker's private memory is freed when it ends; shared memory exists only once. So
//! `(available + private of all workers that run) / private of one` workers of this pool fit, if nothing else changes.

use std::sync::Arc;

use crate::{
    model::{Bound, Group, Notice, Pool, Process, Scoreboard},
    words::units,
};

/// Share of the workers that have less private memory than what is counted with.
const PERCENTILE: f64 = 0.95;
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
        board: board.clone(),
        group: workers.first().and_then(|worker| Some(Arc::clone(&groups.get(worker.group)?.name))),
        workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
        private_bytes,
        shared_bytes: workers.iter().filter_map(|worker| worker.memory.shared_bytes).max(),
        fits: limit.map(|(fits, _)| fits),
        bound: limit.map(|(_, bound)| bound),
    }
}

/// Whether a process is in a pool, which has its user behind the name where the master is a stranger's.
fn is_in(process: &Process, pool: &str) -> bool {
    let rest = process.pool.as_deref().and_then(|name| name.strip_prefix(pool));
    rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with(" (") && rest.ends_with(')')))
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
    use crate::model::{DiskRates, Memory, ProcessManager};

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
            listen_queue: 7,
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
            disk: DiskRates::default(),
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
