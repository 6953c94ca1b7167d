//! Makes one snapshot of several in a row, as if its interval had been as long as theirs together: counts, times and histograms are
//! added up, rates are means over time, and memory is that of the last one with the least and the most beside it. What is a list of
//! what is there (processes, workers, pools) is that of the last one. Sums of the result are the sums of its parts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{profile::Scope, windows::Windows};
use crate::model::{
    Cost, DiskRates, Drops, Group, MORE_GROUPS, MemoryRange, Notice, OomKill, PhpState, PoolEvent, Pressure, Process,
    ProcessKey, Snapshot, WorkerKey,
};

/// Most groups of what is made; those that ended and used least are added up in one.
const MAX_GROUPS: usize = 1000;
/// Groups that are added up apart meanwhile; when there are more, those that ended are added up in one.
const MAX_SUMS: usize = 4 * MAX_GROUPS;
/// Notices of what happened.
const MAX_EVENTS: usize = 100;

/// Snapshots that become one.
#[derive(Debug, Default)]
pub(crate) struct Rollup {
    last: Option<Box<Snapshot>>,
    parts: u32,
    interval_ms: u64,
    php_interval_ms: u64,
    php_read: bool,
    /// CPU time and waiting of workers, in milliseconds.
    workers: HashMap<WorkerKey, [Option<f64>; 2]>,
    windows: Windows,
    left_out_samples: u64,
    other_route_requests: u64,
    groups: HashMap<Arc<str>, GroupSum>,
    /// What was added of groups that ended, when there were too many.
    gave_way: Option<GroupSum>,
    processes: HashMap<ProcessKey, ProcessMeans>,
    killed: Vec<OomKill>,
    pool_events: Vec<PoolEvent>,
    available: Option<MemoryRange>,
    available_unknown: bool,
    rates: [Mean; 9],
    drops: Drops,
    events: Vec<Notice>,
    /// The notices of the last part, and of those before it that have other kinds.
    states: Vec<Notice>,
}

/// What is a mean of a process.
#[derive(Debug, Clone, Copy, Default)]
struct ProcessMeans {
    cpu: Mean,
    disk: DiskMeans,
}

/// What is read from and written to disks.
#[derive(Debug, Clone, Copy, Default)]
struct DiskMeans {
    read: Mean,
    written: Mean,
}

impl DiskMeans {
    fn add(&mut self, disk: &DiskRates, ms: u64) {
        self.read.add(disk.read_bytes_per_s, ms);
        self.written.add(disk.written_bytes_per_s, ms);
    }

    fn merge(&mut self, other: Self) {
        self.read.merge(other.read);
        self.written.merge(other.written);
    }

    fn over(self, ms: u64) -> DiskRates {
        DiskRates { read_bytes_per_s: self.read.over(ms), written_bytes_per_s: self.written.over(ms) }
    }
}

/// A rate over the time for which it is known.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    unknown_ms: u64,
    known: bool,
}

#[derive(Debug)]
struct GroupSum {
    rule: Arc<str>,
    cpu: Mean,
    disk: DiskMeans,
    range: Option<MemoryRange>,
    range_unknown: bool,
    /// How many parts had it; in the others it had no process.
    parts: u32,
    started: Option<u32>,
    ended: Option<u32>,
}

impl Mean {
    fn add(&mut self, rate: Option<f64>, ms: u64) {
        match rate {
            Some(rate) => {
                self.sum += rate * ms as f64;
                self.known = true;
            }
            None => self.unknown_ms = self.unknown_ms.saturating_add(ms),
        }
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.unknown_ms = self.unknown_ms.max(other.unknown_ms);
        self.known |= other.known;
    }

    /// The mean over an interval of so many milliseconds; `None` where it was never known.
    fn over(self, ms: u64) -> Option<f64> {
        let known_ms = ms.saturating_sub(self.unknown_ms);
        self.known.then(|| if known_ms > 0 { self.sum / known_ms as f64 } else { 0.0 })
    }
}

impl GroupSum {
    fn new(rule: Arc<str>) -> Self {
        let (cpu, disk, range) = (Mean::default(), DiskMeans::default(), None);
        Self { rule, cpu, disk, range, range_unknown: false, parts: 0, started: Some(0), ended: Some(0) }
    }

    fn add(&mut self, group: &Group, ms: u64) {
        self.parts += 1;
        self.cpu.add(group.cpu_ratio, ms);
        self.disk.add(&group.disk, ms);
        match group.footprint_range.or(group.footprint_bytes.map(MemoryRange::of)) {
            Some(range) => self.range = Some(self.range.map_or(range, |known| known.with(range))),
            None => self.range_unknown = true,
        }
        self.started = plus(self.started, group.started);
        self.ended = plus(self.ended, group.ended);
    }

    /// Adds another group to those that find no room. Its memory is gone with its processes.
    fn merge(&mut self, other: &Self) {
        self.cpu.merge(other.cpu);
        self.disk.merge(other.disk);
        self.range_unknown = true;
        self.started = plus(self.started, other.started);
        self.ended = plus(self.ended, other.ended);
    }

    /// Puts the sums in place of what the last part had.
    fn put(&self, group: &mut Group, parts: u32, interval_ms: u64) {
        group.cpu_ratio = self.cpu.over(interval_ms);
        group.disk = self.disk.over(interval_ms);
        let range = self.range.filter(|_| !self.range_unknown);
        group.footprint_range =
            range.map(|range| if self.parts < parts { range.with(MemoryRange::of(0)) } else { range });
        (group.started, group.ended) = (self.started, self.ended);
    }
}

impl Rollup {
    /// Adds the next snapshot.
    pub(crate) fn add(&mut self, snapshot: Box<Snapshot>) {
        let ms = snapshot.interval_ms;
        self.parts += 1;
        self.interval_ms = self.interval_ms.saturating_add(ms);
        self.add_php(&snapshot);
        self.add_groups(&snapshot.groups, ms);
        // Of processes that ended only their group knows.
        let mut before = std::mem::take(&mut self.processes);
        self.processes = (snapshot.processes.iter().map(|process| {
            let mut means = before.remove(&key(process)).unwrap_or_default();
            means.cpu.add(process.cpu_ratio, ms);
            means.disk.add(&process.disk, ms);
            (key(process), means)
        }))
        .collect();
        let system = &snapshot.system;
        match system.memory_available_range.or(system.memory_available_bytes.map(MemoryRange::of)) {
            Some(range) => self.available = Some(self.available.map_or(range, |known| known.with(range))),
            None => self.available_unknown = true,
        }
        let (pressure, cost, drops) = (&system.pressure, &snapshot.cost, &snapshot.drops);
        let rates = [
            system.cpu_ratio,
            system.io_wait_ratio,
            system.steal_ratio,
            pressure.cpu_some,
            pressure.io_some,
            pressure.memory_some,
            cost.cpu_ratio,
            cost.bpf_ratio,
            cost.probe_hits_per_s,
        ];
        self.rates.iter_mut().zip(rates).for_each(|(mean, rate)| mean.add(rate, ms));
        self.drops = Drops {
            events: self.drops.events.saturating_add(drops.events),
            stacks: self.drops.stacks.saturating_add(drops.stacks),
            names: self.drops.names.saturating_add(drops.names),
            processes: self.drops.processes.saturating_add(drops.processes),
        };
        let room = MAX_EVENTS.saturating_sub(self.killed.len());
        self.killed.extend(system.killed.iter().take(room).cloned());
        let room = MAX_EVENTS.saturating_sub(self.pool_events.len());
        self.pool_events.extend(snapshot.pool_events.iter().take(room).cloned());
        self.add_notices(&snapshot.notices);
        self.last = Some(snapshot);
    }

    fn add_php(&mut self, snapshot: &Snapshot) {
        let php = &snapshot.php;
        self.windows.push(snapshot.at, php);
        self.php_interval_ms = self.php_interval_ms.saturating_add(php.interval_ms);
        self.php_read |= php.state == PhpState::Read;
        let mut before = std::mem::take(&mut self.workers);
        let sum = |a: Option<f64>, b: Option<f64>| a.map_or(b, |a| Some(a + b.unwrap_or(0.0)));
        self.workers = (php.workers.iter())
            .map(|worker| {
                let [cpu_ms, wait_ms] = before.remove(&worker.key()).unwrap_or_default();
                (worker.key(), [sum(cpu_ms, worker.cpu_ms), sum(wait_ms, worker.wait_ms)])
            })
            .collect();
        self.left_out_samples = self.left_out_samples.saturating_add(php.left_out_samples);
        self.other_route_requests = self.other_route_requests.saturating_add(php.other_route_requests);
    }

    fn add_groups(&mut self, groups: &[Group], ms: u64) {
        for group in groups {
            let unknown = self.gave_way.is_some();
            let new = || GroupSum { range_unknown: unknown, ..GroupSum::new(Arc::clone(&group.rule)) };
            self.groups.entry(Arc::clone(&group.name)).or_insert_with(new).add(group, ms);
        }
        if self.groups.len() > MAX_SUMS {
            let gave_way = self.gave_way.get_or_insert_with(|| GroupSum::new(MORE_GROUPS.1.into()));
            let living: HashSet<&Arc<str>> = groups.iter().map(|group| &group.name).collect();
            for (_, sum) in self.groups.extract_if(|name, _| !living.contains(name)) {
                gave_way.merge(&sum);
            }
        }
    }

    /// What happened is kept; how things are is what was said last.
    fn add_notices(&mut self, notices: &[Notice]) {
        let (events, states): (Vec<_>, Vec<_>) = notices.iter().cloned().partition(|notice| notice.kind.is_event());
        for event in events {
            if self.events.len() < MAX_EVENTS && !self.events.contains(&event) {
                self.events.push(event);
            }
        }
        self.states.retain(|known| states.iter().all(|notice| notice.kind != known.kind));
        self.states.extend(states);
    }

    /// The snapshot that they make; one alone stays as it is. `None` if there is none.
    pub(crate) fn take(&mut self) -> Option<Box<Snapshot>> {
        let Self {
            last,
            parts,
            interval_ms,
            php_interval_ms,
            php_read,
            workers,
            windows,
            left_out_samples,
            other_route_requests,
            groups,
            gave_way,
            processes,
            killed,
            pool_events,
            available,
            available_unknown,
            rates,
            drops,
            events,
            states,
        } = std::mem::take(self);
        let mut snapshot = last?;
        if parts == 1 {
            return Some(snapshot);
        }
        snapshot.interval_ms = interval_ms;
        for process in &mut snapshot.processes {
            let means = processes.get(&key(process)).copied().unwrap_or_default();
            (process.cpu_ratio, process.disk) = (means.cpu.over(interval_ms), means.disk.over(interval_ms));
        }
        put_groups(&mut snapshot.groups, groups, gave_way, parts, interval_ms);
        let [cpu_ratio, io_wait_ratio, steal_ratio, cpu_some, io_some, memory_some, own, bpf_ratio, probe_hits_per_s] =
            rates.map(|mean| mean.over(interval_ms));
        let system = &mut snapshot.system;
        (system.cpu_ratio, system.io_wait_ratio, system.steal_ratio) = (cpu_ratio, io_wait_ratio, steal_ratio);
        system.killed = killed;
        snapshot.pool_events = pool_events;
        snapshot.system.memory_available_range = available.filter(|_| !available_unknown);
        snapshot.system.pressure = Pressure { cpu_some, io_some, memory_some };
        snapshot.cost = Cost { cpu_ratio: own, bpf_ratio, probe_hits_per_s, ..snapshot.cost };
        snapshot.drops = drops;
        snapshot.notices = events.into_iter().chain(states).collect();
        snapshot.notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
        let mut php = windows.all(&snapshot.php, &Scope::All);
        php.interval_ms = php_interval_ms;
        for worker in &mut php.workers {
            [worker.cpu_ms, worker.wait_ms] = workers.get(&worker.key()).copied().unwrap_or_default();
        }
        php.left_out_samples = php.left_out_samples.saturating_add(left_out_samples);
        php.other_route_requests = other_route_requests;
        if php_read {
            php.state = PhpState::Read;
        }
        snapshot.php = Arc::new(php);
        Some(snapshot)
    }
}

/// Puts the sums into the groups of the last part. Groups that ended before it are added: they used CPU time.
fn put_groups(
    groups: &mut Vec<Group>,
    mut sums: HashMap<Arc<str>, GroupSum>,
    gave_way: Option<GroupSum>,
    parts: u32,
    interval_ms: u64,
) {
    for group in groups.iter_mut() {
        if let Some(sum) = sums.remove(&group.name) {
            sum.put(group, parts, interval_ms);
        }
    }
    let mut ended: Vec<_> = sums.into_iter().collect();
    ended.sort_by(|(a_name, a), (b_name, b)| b.cpu.sum.total_cmp(&a.cpu.sum).then_with(|| a_name.cmp(b_name)));
    let room = MAX_GROUPS.saturating_sub(groups.len());
    let without_room = ended.split_off(room.min(ended.len())).into_iter().map(|(_, sum)| sum).chain(gave_way);
    let more = without_room.reduce(|mut more, sum| {
        more.merge(&sum);
        more
    });
    ended.sort_by(|(a, _), (b, _)| a.cmp(b));
    groups.extend(ended.into_iter().map(|(name, sum)| {
        let mut group = Group::empty(name, Arc::clone(&sum.rule));
        sum.put(&mut group, parts, interval_ms);
        group
    }));
    if let Some(more) = more {
        let mut rest = Group::empty(MORE_GROUPS.0.into(), MORE_GROUPS.1.into());
        more.put(&mut rest, parts, interval_ms);
        match groups.iter_mut().find(|group| &*group.name == MORE_GROUPS.0) {
            Some(group) => group.merge(&rest),
            None => groups.push(rest),
        }
    }
}

fn key(process: &Process) -> ProcessKey {
    ProcessKey { pid: process.pid, start_ticks: process.start_ticks }
}

/// A sum with an unknown part is unknown.
fn plus(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    Some(a?.saturating_add(b?))
}

#[cfg(test)]
mod tests;
