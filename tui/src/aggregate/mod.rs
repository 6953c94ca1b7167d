//! Turns samples into snapshots: the only place with rates, groups and routes.
//! It reads no clock and no file; the same samples make the same snapshots.

mod capacity;
mod clock;
mod cpu;
mod digits;
mod growth;
mod machine_memory;
mod notices;
mod oom;
pub mod php;
mod pool_events;
mod processes;
mod sums;
pub(crate) mod totals;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use self::{
    capacity::{Capacity, Room},
    clock::Clock,
    growth::Growths,
    php::{PhpAggregate, PhpPart, Placed, RouteRules},
    pool_events::PoolEvents,
    processes::ProcessAggregate,
    totals::Totals,
};
pub use self::{processes::Placement, sums::MAX_GROUPS};
use crate::{
    collect::{php::PhpSample, proc::ProcessSample},
    model::{Cgroup, Cost, Drops, Group, Notice, Php, PhpState, Process, SCHEMA, Scoreboard, Snapshot, System, Worker},
    rules::Rules,
};

/// What the PHP collector has to say about one interval.
#[derive(Debug)]
pub enum PhpReading {
    /// It is switched off.
    Off,
    /// It has never answered: it still looks for PHP and attaches.
    Starting,
    /// It did not answer in time; what it counted comes with a later snapshot.
    Late,
    /// It has stopped and will not answer again.
    Ended,
    /// Its answer, and the seconds since its previous one.
    Sample(Box<PhpSample>, f64),
}

/// Makes one [`Snapshot`] of every pair of samples.
#[derive(Debug, Default)]
pub struct Aggregate {
    processes: ProcessAggregate,
    php: PhpAggregate,
    pools: Vec<Scoreboard>,
    capacity: Capacity,
    /// What processes of PHP on the command line run, as PHP itself has it.
    scripts: HashMap<u32, Arc<str>>,
    /// The latest PHP part, for what holds between two answers.
    known_php: Arc<Php>,
    standing: Vec<Notice>,
    totals: Totals,
    clock: Clock,
    before: oom::Before,
    pool_events: PoolEvents,
    /// Time since the first snapshot.
    passed_ns: u64,
    /// What counts against the limits of control groups, by path and version.
    charged: Growths<(Arc<str>, u8)>,
    /// Resident memory of processes in a request that runs, by process and its start.
    resident: Growths<(u32, Timestamp)>,
}

impl Aggregate {
    /// `standing` notices are in every snapshot; `rules` decide the groups.
    pub fn new(standing: Vec<Notice>, rules: Arc<Rules>) -> Self {
        Self { standing, processes: ProcessAggregate::new(rules), ..Self::default() }
    }

    /// With other rules for what makes requests one route.
    #[must_use]
    pub fn with_routes(mut self, rules: RouteRules) -> Self {
        self.php.set_route_rules(rules);
        self
    }

    /// Makes the snapshot of the interval that ended at `at`.
    pub fn update(&mut self, at: Timestamp, mut sample: ProcessSample, php: PhpReading) -> Snapshot {
        let mut notices = self.standing.clone();
        notices.extend(notices::of_processes(&sample));
        notices.extend(notices::of_php(&php));
        if let PhpReading::Sample(php, _) = &php {
            let names = php.processes.iter().filter(|process| process.alive && process.sapi.runs_scripts());
            self.scripts.clear();
            self.scripts.extend(names.filter_map(|process| Some((process.pid, process.script_name.clone()?))));
        }
        let part = self.processes.update(&sample, &self.scripts);
        notices.extend(notices::of_groups(part.without_room));
        notices.extend(self.clock.take(at, sample.machine.host.uptime_s, part.interval_s));
        let placed = |pid: u32| {
            let process = &part.processes[part.processes.binary_search_by_key(&pid, |process| process.pid).ok()?];
            Some(Placed { group: Arc::clone(&part.groups[process.group].name), pool: process.pool.clone() })
        };
        let mut php = match php {
            PhpReading::Sample(mut sample, interval_s) => {
                self.pools = std::mem::take(&mut sample.pools);
                self.php.update(*sample, interval_s, &placed)
            }
            PhpReading::Late => PhpPart { php: Arc::new(between_answers(&self.known_php)), ..PhpPart::default() },
            PhpReading::Off => self.without_php(PhpState::Off),
            PhpReading::Starting => self.without_php(PhpState::Starting),
            PhpReading::Ended => self.without_php(PhpState::Ended),
        };
        self.capacity.served(&php.served, &self.pools, &part.processes);
        if !self.pools.is_empty() {
            let room = |worker: &Process| Room {
                machine: sample.machine.memory.available,
                cgroup: worker.cgroup.and_then(|index| sample.cgroups.get(index)?.memory_available_bytes),
            };
            // Nothing else has it yet, so nothing is copied.
            let php = Arc::make_mut(&mut php.php);
            php.pools = self.capacity.pools(&self.pools, &part.processes, &part.groups, room);
            capacity::count_busy(&mut php.pools, &part.processes, &php.workers);
            self.capacity.name_bloated(&self.pools, &part.processes, &mut php.workers);
            notices.extend(capacity::notices(&php.pools, &php.workers, at));
        }
        let passed_ns = part.interval_s.map_or(0, |seconds| (seconds * 1e9) as u64);
        self.passed_ns = self.passed_ns.saturating_add(passed_ns);
        self.follow_cgroups(&mut sample.cgroups);
        if php.php.state == PhpState::Read && !(php.php.workers.is_empty() && php.php.requests.is_empty()) {
            self.follow_processes(Arc::make_mut(&mut php.php), &part.processes);
        }
        let read = (php.php.state == PhpState::Read).then_some(&*php.php.pools);
        let pool_events = self.pool_events.of(at, &php.aborted, part.killed, read, &part.processes);
        if !php.php.pools.is_empty() {
            self.pool_events.keep(at, &pool_events, &mut Arc::make_mut(&mut php.php).pools);
        }
        self.known_php = Arc::clone(&php.php);
        notices.extend(pool_events::notices(&pool_events));
        notices.extend(php.notices);
        let killed = self.before.kills(at, sample.oom_kills.as_deref().unwrap_or_default());
        notices.extend(killed.iter().map(oom::notice));
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
        self.before.keep(at, &part.processes, &part.groups, &sample.cgroups);
        let memory = machine_memory::of(&sample.machine, &part.processes);
        let mut snapshot = Snapshot {
            schema: SCHEMA,
            at,
            interval_ms: part.interval_s.map_or(0, |seconds| (seconds * 1000.0).round() as u64),
            host: sample.machine.host,
            system: System {
                cpu_ratio: part.shares.map(|shares| shares.busy),
                io_wait_ratio: part.shares.map(|shares| shares.io_wait),
                steal_ratio: part.shares.map(|shares| shares.steal),
                load: sample.machine.load,
                memory_available_bytes: sample.machine.memory.available,
                memory_available_range: None,
                swap_used_bytes: sample.machine.memory.swap_used(),
                oom_kills: sample.machine.oom_kills,
                killed,
                pressure: sample.machine.pressure,
            },
            memory: Some(memory),
            groups: part.groups,
            processes: part.processes,
            cgroups: sample.cgroups,
            php: php.php,
            pool_events,
            drops: Drops { processes: sample.ended_lost, ..php.drops },
            cost: Cost { cpu_ratio: part.own_cpu_ratio, rss_bytes: part.own_rss_bytes, ..php.cost },
            notices,
        };
        digits::round(&mut snapshot);
        self.totals.add(&snapshot);
        snapshot
    }

    /// What was counted since the start.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Says how fast what counts against the limits of control groups grows.
    fn follow_cgroups(&mut self, cgroups: &mut [Cgroup]) {
        for cgroup in &mut *cgroups {
            let used = cgroup.memory_max_bytes.zip(cgroup.memory_available_bytes);
            let Some(used) = used.and_then(|(limit, available)| limit.checked_sub(available)) else { continue };
            let key = (Arc::clone(&cgroup.path), cgroup.version);
            cgroup.growth_bytes_per_minute = self.charged.of(key, used, self.passed_ns);
        }
        let limited = cgroups.iter().filter(|cgroup| cgroup.memory_max_bytes.is_some());
        let limited: HashSet<(&str, u8)> = limited.map(|cgroup| (&*cgroup.path, cgroup.version)).collect();
        self.charged.keep(|(path, version)| limited.contains(&(&**path, *version)));
    }

    /// Says what workers have, and how fast processes grow that are in a request.
    fn follow_processes(&mut self, php: &mut Php, processes: &[Process]) {
        let rss = |pid: u32| {
            let index = processes.binary_search_by_key(&pid, |process| process.pid).ok()?;
            processes[index].memory.rss_bytes
        };
        // Threads share the memory of their process: it is none of theirs.
        for worker in php.workers.iter_mut().filter(|worker| worker.tid.is_none()) {
            worker.rss_bytes = rss(worker.pid);
        }
        for request in php.requests.iter_mut().filter(|request| !request.finished) {
            let key = (request.pid, request.started_at);
            let growth = rss(request.pid).and_then(|rss| self.resident.of(key, rss, self.passed_ns));
            request.rss_growth_bytes_per_minute = growth;
        }
        let running = php.requests.iter().filter(|request| !request.finished);
        let running: HashSet<(u32, Timestamp)> = running.map(|request| (request.pid, request.started_at)).collect();
        self.resident.keep(|key| running.contains(key));
    }

    fn without_php(&mut self, state: PhpState) -> PhpPart {
        self.pools.clear();
        PhpPart { php: Arc::new(Php { state, ..Php::default() }), ..PhpPart::default() }
    }
}

/// The groups of one sample, and how each process came to its group.
pub fn place(sample: &ProcessSample, rules: Arc<Rules>) -> (Vec<Group>, Vec<Process>, Vec<Placement>) {
    let part = ProcessAggregate::new(rules).update(sample, &HashMap::new());
    (part.groups, part.processes, part.placements)
}

/// Programs, workers and the state of exact tracing still hold; counts belong to the interval that has not been read.
fn between_answers(known: &Php) -> Php {
    Php {
        state: PhpState::Late,
        targets: known.targets.clone(),
        workers: (known.workers.iter())
            .map(|worker| {
                // Their stacks are those of functions that are not listed here.
                let (cpu_ms, wait_ms, stack) = (None, None, Vec::new());
                Worker { cpu_ms, wait_ms, stack, ..worker.clone() }
            })
            .collect(),
        exact: known.exact.clone(),
        ..Php::default()
    }
}
