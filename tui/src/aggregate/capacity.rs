//! How many workers of a php-fpm pool fit in memory, compared with how many it may start, and which of them stay big.
//!
//! What a worker has for itself is freed when it ends; shared memory exists only once. While it serves, a worker has what is not PHP's
//! heap (private minus heap) and the peak of its request. So `(available + private of all workers that run) / (both of them)` workers of
//! this pool fit, if nothing else changes. At rest the heap is nearly empty, so workers at rest say little: before enough requests were
//! seen it is not said how many fit, unless not even workers at rest do.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::php::ServedRequest;
use crate::{
    model::{
        Bloat, Bound, FitsUnknown, Group, Notice, Pool, PoolRoute, Process, Scoreboard, SizeHistogram, Worker,
        WorkerState,
    },
    words::units,
};

/// Share of the workers, and of the requests, that have less memory than what is counted with.
const PERCENTILE: f64 = 0.95;
/// The least that a worker is counted with: one that has just been forked has hardly anything for itself yet.
const LEAST_PRIVATE: u64 = 1 << 20;
/// Requests that have to be seen before it is said what one takes: one of 20 is above the percentile.
const ENOUGH: u64 = 20;
/// Seconds after which requests count half.
const HALF_LIFE_S: i64 = 30 * 60;
/// Routes of a pool whose requests are told apart; those of more count for the pool alone.
const ROUTES: usize = 200;
/// A worker is big if it has so many times as much as the middle one of its pool, and at least this.
const BIG_RATIO: u64 = 3;
const BIG_BYTES: u64 = 64 << 20;

/// Room in bytes that could be taken by more workers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    /// `MemAvailable` of the machine.
    pub machine: Option<u64>,
    /// What is left below the limit of the workers' cgroup; `None` where there is no limit.
    pub cgroup: Option<u64>,
}

/// How many workers fit.
#[derive(Debug, Clone, Copy)]
struct Fitting {
    fits: u32,
    /// What they may take in all.
    room: u64,
    bound: Bound,
}

/// What was seen of the requests of all pools.
#[derive(Debug, Default)]
pub(super) struct Capacity {
    /// By master and name.
    pools: HashMap<(u32, Arc<str>), Served>,
    workers: HashMap<u32, Seen>,
}

/// The requests of a pool.
#[derive(Debug, Default)]
struct Served {
    peaks: SizeHistogram,
    /// By method and path.
    routes: HashMap<(Arc<str>, Arc<str>), SizeHistogram>,
    /// The last of its requests was served with another allocator than PHP's, whose peaks are not known.
    other_allocator: bool,
    halved_at: Option<Timestamp>,
}

/// What was seen of a worker.
#[derive(Debug, Default)]
struct Seen {
    /// What PHP's allocator had when it was last seen.
    heap_bytes: u64,
    /// Its biggest request.
    biggest: Option<Biggest>,
}

#[derive(Debug)]
struct Biggest {
    peak_bytes: u64,
    method: Arc<str>,
    route: Arc<str>,
    at: Timestamp,
}

impl Served {
    fn add(&mut self, request: &ServedRequest, peak_bytes: u64) {
        let halved_at = *self.halved_at.get_or_insert(request.at);
        if request.at.as_second() - halved_at.as_second() >= HALF_LIFE_S {
            self.halved_at = Some(request.at);
            self.peaks.fade();
            self.routes.retain(|_, peaks| {
                peaks.fade();
                peaks.count() > 0
            });
        }
        self.peaks.record_bytes(peak_bytes);
        let key = (request.method.clone(), request.route.clone());
        if self.routes.len() < ROUTES || self.routes.contains_key(&key) {
            self.routes.entry(key).or_default().record_bytes(peak_bytes);
        }
    }

    /// Its percentile, and the route with most of the requests that have as much; `None` before enough were seen.
    fn peak(&self) -> Option<(u64, Option<PoolRoute>)> {
        let peak = self.peaks.quantile_bytes(PERCENTILE).filter(|_| self.peaks.count() >= ENOUGH)?;
        let big = self.routes.iter().map(|(key, peaks)| (peaks.count_from(peak), key));
        let most = big.max().filter(|(count, _)| *count > 0);
        Some((peak, most.map(|(_, (method, route))| PoolRoute { method: method.clone(), route: route.clone() })))
    }
}

impl Capacity {
    /// Notes the requests of an interval.
    pub(super) fn served(&mut self, served: &[ServedRequest], boards: &[Scoreboard], processes: &[Process]) {
        let alive: HashSet<u32> = processes.iter().map(|process| process.pid).collect();
        let known = |of: &(u32, Arc<str>)| boards.iter().any(|board| board.master == of.0 && board.name == of.1);
        self.pools.retain(|of, _| known(of));
        for request in served {
            let Some(board) = board_of(request, boards, processes) else { continue };
            if alive.contains(&request.pid) {
                self.workers.entry(request.pid).or_default().note(request);
            }
            let of_pool = self.pools.entry((board.master, board.name.clone())).or_default();
            of_pool.other_allocator = request.other_allocator;
            if let Some(peak_bytes) = request.peak_bytes {
                of_pool.add(request, peak_bytes);
            }
        }
        self.workers.retain(|pid, _| alive.contains(pid));
    }

    /// Joins what the scoreboards say with what the workers take. `room` is that beside a worker.
    pub(super) fn pools(
        &self,
        boards: &[Scoreboard],
        processes: &[Process],
        groups: &[Group],
        room: impl Fn(&Process) -> Room,
    ) -> Vec<Pool> {
        let nothing: &[Process] = &[];
        let of = |board| if is_alike(board, boards) { nothing } else { processes };
        boards.iter().map(|board| self.of_pool(board, of(board), groups, &room)).collect()
    }

    fn of_pool(
        &self,
        board: &Scoreboard,
        processes: &[Process],
        groups: &[Group],
        room: &impl Fn(&Process) -> Room,
    ) -> Pool {
        let workers: Vec<&Process> = processes.iter().filter(|process| is_worker(process, board)).collect();
        let named = workers.first().and_then(|worker| whole_name(worker, &board.name));
        let known: Vec<(&Process, u64)> =
            workers.iter().filter_map(|worker| Some((*worker, private(worker)?))).collect();
        // Those that are new may not be known yet.
        let are_known = known.len() * 2 >= workers.len();
        let private_bytes = percentile(known.iter().map(|(_, private)| *private)).filter(|_| are_known);
        let of_worker = |&(worker, private): &(&Process, u64)| {
            let heap = self.workers.get(&worker.pid).map_or(0, |seen| seen.heap_bytes);
            private.saturating_sub(heap)
        };
        let base_bytes = percentile(known.iter().map(of_worker)).filter(|_| are_known);
        let served = self.pools.get(&(board.master, board.name.clone()));
        let (request_bytes, route) = served.and_then(Served::peak).unzip();
        let serving = base_bytes.zip(request_bytes).map(|(base, peak)| base.saturating_add(peak));
        let worker_bytes = private_bytes.and_then(|private| Some(serving?.max(private)));
        // What lies in swap is no memory that would be freed, but each needs room for it.
        let taken: u64 = known.iter().filter_map(|(worker, _)| worker.memory.uss_bytes).sum();
        let fitting = |each: u64| {
            let Room { machine, cgroup } = room(workers.first()?);
            let machine = machine.map(|room| (room, Bound::Memory));
            let cgroup = cgroup.map(|room| (room, Bound::Cgroup));
            let (room, bound) = machine.into_iter().chain(cgroup).min_by_key(|(room, _)| *room)?;
            let room = room.saturating_add(taken);
            Some(Fitting { fits: u32::try_from(room / each.max(LEAST_PRIVATE)).unwrap_or(u32::MAX), room, bound })
        };
        let at_rest = private_bytes.and_then(fitting);
        let limit = match worker_bytes {
            Some(each) => fitting(each),
            // Those that serve take more, so no more than these fit.
            None => at_rest.filter(|at_rest| at_rest.fits < board.max_children),
        };
        let fits_unknown = match (limit, at_rest) {
            (Some(_), _) => None,
            (None, Some(_)) if served.is_some_and(|served| served.other_allocator) => Some(FitsUnknown::OtherAllocator),
            (None, Some(_)) => Some(FitsUnknown::FewRequests),
            (None, None) => Some(FitsUnknown::Memory),
        };
        Pool {
            board: Scoreboard { name: named.unwrap_or_else(|| Arc::clone(&board.name)), ..board.clone() },
            group: workers.first().and_then(|worker| Some(Arc::clone(&groups.get(worker.group)?.name))),
            workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
            private_bytes,
            shared_bytes: workers.iter().filter_map(|worker| worker.memory.shared_bytes).max(),
            base_bytes,
            request_bytes,
            requests_seen: served.map_or(0, |served| served.peaks.count()),
            route: route.flatten(),
            worker_bytes,
            room_bytes: limit.map(|limit| limit.room),
            fits: limit.map(|limit| limit.fits),
            fits_unknown,
            bound: limit.map(|limit| limit.bound),
            events_since: None,
            event_count: 0,
            events: Vec::new(),
        }
    }

    /// Says of workers at rest that are much bigger than the others of their pool by which request they became so.
    pub(super) fn name_bloated(&self, boards: &[Scoreboard], processes: &[Process], workers: &mut [Worker]) {
        for board in boards {
            let of_board = processes.iter().filter(|process| is_worker(process, board));
            let known: HashMap<u32, u64> =
                of_board.filter_map(|process| Some((process.pid, private(process)?))).collect();
            for worker in workers.iter_mut().filter(|worker| worker.state == WorkerState::Idle) {
                let Some(&private_bytes) = known.get(&worker.pid).filter(|private| **private >= BIG_BYTES) else {
                    continue;
                };
                let mut others: Vec<u64> =
                    known.iter().filter(|(pid, _)| **pid != worker.pid).map(|(_, private)| *private).collect();
                others.sort_unstable();
                let Some(&middle) = others.get(others.len() / 2) else { continue };
                let biggest = self.workers.get(&worker.pid).and_then(|seen| seen.biggest.as_ref());
                // A request that took less did not make it so big.
                let biggest = biggest.filter(|biggest| biggest.peak_bytes >= private_bytes / 2);
                if let Some(biggest) = biggest.filter(|_| private_bytes / BIG_RATIO >= middle) {
                    let Biggest { peak_bytes, at, .. } = *biggest;
                    let (method, route) = (biggest.method.clone(), biggest.route.clone());
                    worker.bloated_by = Some(Bloat { private_bytes, method, route, peak_bytes, at });
                }
            }
        }
    }
}

impl Seen {
    fn note(&mut self, request: &ServedRequest) {
        self.heap_bytes = request.heap_bytes;
        if let Some(peak_bytes) = request.peak_bytes
            && self.biggest.as_ref().is_none_or(|biggest| biggest.peak_bytes <= peak_bytes)
        {
            let (method, route) = (request.method.clone(), request.route.clone());
            self.biggest = Some(Biggest { peak_bytes, method, route, at: request.at });
        }
    }
}

/// The pool that served a request. Of a worker that has ended only the name of its pool is known.
fn board_of<'a>(request: &ServedRequest, boards: &'a [Scoreboard], processes: &[Process]) -> Option<&'a Scoreboard> {
    let place = processes.binary_search_by_key(&request.pid, |process| process.pid);
    if let Ok(place) = place
        && let Some(board) = boards.iter().find(|board| is_worker(&processes[place], board))
    {
        return Some(board);
    }
    let mut named = boards.iter().filter(|board| request.pool.as_deref() == Some(&*board.name));
    named.next().filter(|_| named.next().is_none() && place.is_err())
}

fn is_worker(process: &Process, board: &Scoreboard) -> bool {
    process.ppid == board.master && is_in(process, &board.name)
}

/// Has pools count as busy the workers that are seen to be, where that is known of all: the numbers of php-fpm itself drift.
pub(super) fn count_busy(pools: &mut [Pool], processes: &[Process], workers: &[Worker]) {
    let states: HashMap<u32, WorkerState> = workers.iter().map(|worker| (worker.pid, worker.state)).collect();
    // Of one whose workers are not told apart from those of another, php-fpm's own numbers stay.
    for pool in pools.iter_mut().filter(|pool| pool.workers > 0) {
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

/// Whether the name of a pool was cut, and another pool of its master begins with what is left of it: then its workers are not told
/// apart by their titles. The collector has given each its whole name, where it can: not in a container, and not without workers.
fn is_alike(board: &Scoreboard, boards: &[Scoreboard]) -> bool {
    let begins = |other: &&Scoreboard| other.master == board.master && other.name.starts_with(&*board.name);
    Scoreboard::may_be_cut(&board.name) && boards.iter().filter(begins).count() > 1
}

/// Says of which pools it is not known which workers are theirs.
pub(super) fn alike(boards: &[Scoreboard], processes: &[Process]) -> Option<Notice> {
    let of = |board: &&Scoreboard| is_alike(board, boards);
    let alike: Vec<&Scoreboard> = boards.iter().filter(of).collect();
    let is_of_another =
        |process: &Process| boards.iter().any(|board| !is_alike(board, boards) && is_worker(process, board));
    let board = alike
        .iter()
        .find(|board| processes.iter().any(|process| is_worker(process, board) && !is_of_another(process)))?;
    Some(Notice::pools_alike(&board.name, board.master))
}

/// Whether a process is in a pool, which has its user behind the name where the master is a stranger's. A name that php-fpm has
/// cut says no more than how it begins.
fn is_in(process: &Process, pool: &str) -> bool {
    let rest = process.pool.as_deref().and_then(|name| name.strip_prefix(pool));
    rest.is_some_and(|rest| {
        Scoreboard::may_be_cut(pool) || rest.is_empty() || (rest.starts_with(" (") && rest.ends_with(')'))
    })
}

/// The name of a worker's pool where php-fpm has cut it.
fn whole_name(worker: &Process, pool: &str) -> Option<Arc<str>> {
    let name = worker.pool.as_deref().filter(|_| Scoreboard::may_be_cut(pool))?;
    Some(name.split_once(" (").map_or(name, |(name, _)| name).into())
}

/// What ends with a process: its own pages, and those of it that are swapped out.
fn private(process: &Process) -> Option<u64> {
    Some(process.memory.uss_bytes?.saturating_add(process.memory.swapped_bytes().unwrap_or(0)))
}

/// By nearest rank.
fn percentile(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    let rank = (values.len() as f64 * PERCENTILE).ceil() as usize;
    values.get(rank.checked_sub(1)?).copied()
}

/// Pools that may start more workers than fit, and workers that stay big.
pub(super) fn notices(pools: &[Pool], workers: &[Worker], at: Timestamp) -> Vec<Notice> {
    let too_large = pools.iter().filter_map(|pool| {
        let (fits, each) =
            (pool.fits.filter(|&fits| fits < pool.board.max_children)?, pool.worker_bytes.or(pool.private_bytes)?);
        let into = match pool.bound? {
            Bound::Memory => "memory",
            Bound::Cgroup => "the limit of its cgroup",
            Bound::Other => return None,
        };
        let board = &pool.board;
        Some(Notice::pool_too_large(&board.name, board.max_children, fits, into, &units::bytes(each)))
    });
    let bloated = workers.iter().filter_map(|worker| {
        let bloat = worker.bloated_by.as_ref()?;
        let request = format!("{} {}", bloat.method, bloat.route);
        let [private, peak] = [bloat.private_bytes, bloat.peak_bytes].map(units::bytes);
        let ago = units::age(u64::try_from(at.as_second() - bloat.at.as_second()).unwrap_or(0));
        Some(Notice::worker_bloated(worker.pid, &worker.pool, &private, request.trim_start(), &peak, &ago))
    });
    too_large.chain(bloated.take(BLOATED)).collect()
}

/// Workers that are named in notices.
const BLOATED: usize = 5;

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
            disk: DiskRates::default(),
            memory: Memory { uss_bytes: uss, shared_bytes: Some(60 * MIB), ..Memory::default() },
            pss_unknown: None,
            unit: None,
            container: None,
            cgroup: None,
        }
    }

    fn of(workers: &[Process], max_children: u32, room: Room) -> Pool {
        after(workers, max_children, room, &[])
    }

    /// A pool whose workers are these, after requests with these peaks.
    fn after(workers: &[Process], max_children: u32, room: Room, peaks: &[(u32, &str, u64)]) -> Pool {
        let boards = [board(max_children)];
        let mut capacity = Capacity::default();
        let served: Vec<_> = peaks.iter().map(|&(pid, route, peak)| request(pid, route, Some(peak), 2 * MIB)).collect();
        capacity.served(&served, &boards, workers);
        let groups = [Group::empty("php-fpm: www".into(), "php pool".into())];
        capacity.pools(&boards, workers, &groups, |_| room).remove(0)
    }

    fn request(pid: u32, route: &str, peak_bytes: Option<u64>, heap_bytes: u64) -> ServedRequest {
        let (method, route) = ("POST".into(), route.into());
        ServedRequest {
            pid,
            pool: Some("www".into()),
            heap_bytes,
            peak_bytes,
            other_allocator: false,
            method,
            route,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn with_another_allocator_it_is_said_why_it_is_not_known_how_many_fit() {
        let workers: Vec<_> = (0..4).map(|at| worker(20 + at, 10, Some(20 * MIB))).collect();
        let mut capacity = Capacity::default();
        let boards = [board(4)];
        let unknown = ServedRequest { other_allocator: true, ..request(20, "/", None, 0) };
        capacity.served(&[unknown], &boards, &workers);
        let room = Room { machine: Some(1600 * MIB), cgroup: None };
        let pool = capacity.pools(&boards, &workers, &[], |_| room).remove(0);
        assert_eq!((pool.fits, pool.fits_unknown), (None, Some(FitsUnknown::OtherAllocator)));
    }

    #[test]
    fn as_many_fit_as_there_is_private_memory_for() {
        let workers: Vec<_> = (0..10).map(|at| worker(20 + at, 10, Some(100 * MIB))).collect();
        let pool = of(&workers, 40, Room { machine: Some(1600 * MIB), cgroup: None });
        assert_eq!((pool.workers, pool.fits, pool.bound), (10, Some(26), Some(Bound::Memory)));
        assert_eq!((pool.private_bytes, pool.shared_bytes), (Some(100 * MIB), Some(60 * MIB)));
        assert_eq!(pool.group.as_deref(), Some("php-fpm: www"));
        assert_eq!((pool.worker_bytes, pool.fits_unknown), (None, None), "those at rest are too many already");
        let notices = notices(&[pool], &[], Timestamp::UNIX_EPOCH);
        assert!(
            notices[0].text.contains("pool www: pm.max_children is 40, but only 26 workers fit")
                && notices[0].hint.contains("to 26")
        );
    }

    #[test]
    fn what_lies_in_swap_needs_room_and_frees_none() {
        let mut workers: Vec<_> = (0..10).map(|at| worker(20 + at, 10, Some(100 * MIB))).collect();
        for worker in &mut workers {
            worker.memory.swap_bytes = Some(100 * MIB);
        }
        let pool = of(&workers, 40, Room { machine: Some(1600 * MIB), cgroup: None });
        assert_eq!((pool.private_bytes, pool.fits), (Some(200 * MIB), Some((1600 + 1000) / 200)));
    }

    #[test]
    fn the_limit_of_a_cgroup_counts_where_it_is_lower() {
        let workers = [worker(20, 10, Some(100 * MIB))];
        let room = Room { machine: Some(1600 * MIB), cgroup: Some(250 * MIB) };
        assert_eq!(of(&workers, 4, room).fits, Some(3));
        let pool = after(&workers, 3, room, &[(20, "/", 2 * MIB); 20]);
        assert_eq!((pool.fits, pool.bound), (Some(3), Some(Bound::Cgroup)));
        assert_eq!(notices(&[pool], &[], Timestamp::UNIX_EPOCH).len(), 0, "all that are set fit");
    }

    #[test]
    fn one_big_worker_of_many_does_not_decide() {
        let mut workers: Vec<_> = (0..39).map(|at| worker(20 + at, 10, Some(10 * MIB))).collect();
        workers.push(worker(99, 10, Some(900 * MIB)));
        assert_eq!(of(&workers, 40, Room::default()).private_bytes, Some(10 * MIB));
    }

    #[test]
    fn a_worker_is_counted_with_what_its_requests_take() {
        let workers: Vec<_> = (0..10).map(|at| worker(20 + at, 10, Some(4 * MIB))).collect();
        let room = Room { machine: Some(3000 * MIB), cgroup: None };
        let rest = of(&workers, 40, room);
        assert_eq!((rest.fits, rest.fits_unknown), (None, Some(FitsUnknown::FewRequests)), "at rest 760 would fit");
        let peaks: Vec<_> =
            (0..40).map(|at| (20 + at % 10, if at % 4 == 0 { "/report" } else { "/" }, 60 * MIB)).collect();
        let few = after(&workers, 40, room, &peaks[..19]);
        assert_eq!((few.fits, few.fits_unknown, few.requests_seen), (None, Some(FitsUnknown::FewRequests), 19));
        let served = after(&workers, 40, room, &peaks);
        // 2 MiB of the 4 at rest are the heap's. The peak is that of a bucket.
        let each = served.worker_bytes.unwrap();
        assert!(each.abs_diff(62 * MIB) < MIB && served.base_bytes == Some(2 * MIB), "{each}");
        assert_eq!((served.fits, served.fits_unknown), (Some((3040 * MIB / each) as u32), None));
        assert_eq!(served.room_bytes, Some(3040 * MIB), "what is free, and what the ten have");
        assert_eq!(served.route.unwrap().route.as_ref(), "/");
    }

    #[test]
    fn the_route_with_the_big_requests_binds_the_pool() {
        let workers = [worker(20, 10, Some(4 * MIB))];
        let peaks: Vec<_> =
            (0..100).map(|at| if at < 90 { (20, "/", 4 * MIB) } else { (20, "/report", 300 * MIB) }).collect();
        let pool = after(&workers, 40, Room { machine: Some(3000 * MIB), cgroup: None }, &peaks);
        assert_eq!(pool.route, Some(PoolRoute { method: "POST".into(), route: "/report".into() }));
        assert!(pool.fits.is_some_and(|fits| fits < 11), "{:?}", pool.fits);
    }

    #[test]
    fn what_workers_have_already_is_never_counted_as_less() {
        let workers: Vec<_> = (0..3).map(|at| worker(20 + at, 10, Some(500 * MIB))).collect();
        let pool = after(&workers, 40, Room { machine: Some(3000 * MIB), cgroup: None }, &[(20, "/", 4 * MIB); 40]);
        assert!(pool.worker_bytes >= Some(500 * MIB) && pool.fits <= Some(9));
    }

    #[test]
    fn a_worker_that_stays_big_is_named_with_its_biggest_request() {
        let mut workers: Vec<_> = (0..4).map(|at| worker(20 + at, 10, Some(10 * MIB))).collect();
        workers[3].memory.uss_bytes = Some(1100 * MIB);
        let boards = [board(40)];
        let mut capacity = Capacity::default();
        let served = [request(23, "/report", Some(1126 * MIB), MIB), request(23, "/", Some(4 * MIB), 100 * MIB)];
        capacity.served(&served, &boards, &workers);
        let idle =
            |pid| Worker { state: WorkerState::Idle, requests: Some(2), ..Worker::seen(pid, "www".into(), None) };
        let mut listed = [idle(20), idle(23)];
        capacity.name_bloated(&boards, &workers, &mut listed);
        assert_eq!(listed[0].bloated_by, None);
        let bloat = listed[1].bloated_by.clone().unwrap();
        assert_eq!((&*bloat.route, bloat.private_bytes, bloat.peak_bytes), ("/report", 1100 * MIB, 1126 * MIB));
        let later = Timestamp::from_second(2_400).unwrap();
        let notice = notices(&[], &listed, later).remove(0);
        assert!(notice.text.contains("bloated by POST /report") && notice.text.contains("40m"), "{}", notice.text);
    }

    #[test]
    fn a_pool_whose_name_php_fpm_has_cut_has_its_workers_and_its_whole_name() {
        let long = "customer-0042.shop.long-domain-name.example";
        let mut cut = board(4);
        cut.name = long[..Scoreboard::NAME_BYTES].into();
        let named = |pid, pool: &str| Process { pool: Some(pool.into()), ..worker(pid, 10, Some(MIB)) };
        let workers = [named(20, long), named(21, "customer-0042"), named(22, &format!("{long} (alice)"))];
        let groups = [Group::empty("php-fpm: x".into(), "php pool".into())];
        let pool = Capacity::default().pools(&[cut], &workers, &groups, |_| Room::default()).remove(0);
        assert_eq!((&*pool.board.name, pool.workers), (long, 2));
        let of = |name: &str| is_in(&named(20, name), "www");
        assert_eq!((of("www"), of("www (alice)"), of("www-2")), (true, true, false));
    }

    #[test]
    fn pools_that_php_fpm_cut_to_one_name_have_no_workers_of_each_other() {
        let names = ["customer-0042.shop.long-domain-name.example", "customer-0042.shop.long-domain-other.example"];
        let named = |pid, pool: &str| Process { pool: Some(pool.into()), ..worker(pid, 10, Some(MIB)) };
        let workers = [named(20, names[0]), named(21, names[1]), named(22, names[1])];
        let groups = [Group::empty("php-fpm: x".into(), "php pool".into())];
        let cut = &names[0][..Scoreboard::NAME_BYTES];
        assert!(names[1].starts_with(cut));
        let pools = |names: [&str; 2]| {
            let boards = names.map(|name| Scoreboard { name: name.into(), ..board(4) });
            let pools = Capacity::default().pools(&boards, &workers, &groups, |_| Room::default());
            let counts: Vec<u32> = pools.iter().map(|pool| pool.workers).collect();
            (counts, alike(&boards, &workers).is_some())
        };
        assert_eq!(pools(names), (vec![1, 2], false), "the collector knows both names");
        assert_eq!(pools([cut, cut]), (vec![0, 0], true), "it knows none");
        assert_eq!(pools([names[1], cut]), (vec![2, 0], true), "one has workers that are not told");
    }

    #[test]
    fn workers_that_are_seen_to_be_busy_count_and_not_what_php_fpm_says() {
        let workers = [worker(20, 10, None), worker(21, 10, None), worker(22, 10, None)];
        let doing = |pid, state| Worker { state, ..Worker::seen(pid, "www".into(), None) };
        let mut seen: Vec<Worker> = (20..23).map(|pid| doing(pid, WorkerState::Running)).collect();
        let mut all = Capacity::default().pools(&[board(4)], &workers, &[], |_| Room::default());
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
        assert_eq!((of(&[], 40, room).fits, of(&[], 40, room).fits_unknown), (None, Some(FitsUnknown::Memory)));
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
            let peaks = [(20, "/", 1 << 20); 20];
            let fits = |room| after(&workers, 40, Room { machine: Some(room), cgroup: None }, &peaks).fits;
            prop_assert!(fits(room).is_some() && fits(room) <= fits(room + more));
        }
    }
}
