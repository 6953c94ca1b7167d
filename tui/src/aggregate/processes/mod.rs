//! Readings of processes become the snapshot's processes and groups: this is where CPU rates come from.

mod ended;
mod masters;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    ended::{Gone, Interval},
    masters::Masters,
};
use super::{
    cpu::CpuBase,
    pool_events::Killed,
    sums::{GroupId, Groups, Listed},
};
use crate::{
    collect::proc::{CpuTicks, Details, DiskBytes, ProcessReading, ProcessSample, Pss, RssParts},
    model::{DiskRates, Group, Memory, Process, PssUnknown},
    rules::{RuleId, Rules, naming},
};

/// What one [`ProcessSample`] adds to a snapshot.
#[derive(Debug, Default)]
pub(super) struct ProcessPart {
    pub groups: Vec<Group>,
    /// Processes that a signal killed.
    pub killed: Vec<Killed>,
    pub processes: Vec<Process>,
    /// How each process came to its group, in the order of `processes`.
    pub placements: Vec<Placement>,
    /// Processes whose own group found no room.
    pub without_room: u32,
    /// Time since the previous sample; `None` for the first.
    pub interval_s: Option<f64>,
    /// Shares of all CPUs' time.
    pub shares: Option<CpuShares>,
    /// CPU of this program in cores.
    pub own_cpu_ratio: Option<f64>,
    /// Memory of this program.
    pub own_rss_bytes: Option<u64>,
}

/// How a process came to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The rule, in [`Rules::all`].
    pub rule: RuleId,
    /// The ancestor that it follows; `None` when the rule takes the process itself.
    pub follows: Option<u32>,
}

/// Most ancestors that are asked for a group to follow.
const MAX_ANCESTORS: usize = 1000;

/// Keeps the previous readings.
#[derive(Debug, Default)]
pub(super) struct ProcessAggregate {
    rules: Arc<Rules>,
    groups: Groups,
    masters: Masters,
    /// In order of pid, as samples are.
    previous: Vec<Previous>,
    machine: Option<PreviousMachine>,
    /// Processes that were not met any more, and whose end was not told yet.
    gone: Gone,
    /// Processes that a signal killed in the interval.
    killed: Vec<Killed>,
    /// When the first sample was made, in ticks since boot.
    first_ticks: Option<u64>,
}

#[derive(Debug)]
struct Previous {
    pid: u32,
    ppid: u32,
    start_ticks: u64,
    cpu: CpuBase,
    /// The most that was read of it: threads that end while they are counted may be missing from a reading.
    disk: Option<DiskBytes>,
    details: Arc<Details>,
    place: Place,
    /// It is new since the sample before.
    started: bool,
    /// That it ended was counted; what is left is a zombie.
    ended: bool,
}

/// Where a process is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// No rule of the user's takes it, and its ancestors were not asked yet.
    Open,
    /// In a group.
    In { group: GroupId, placement: Placement },
}

#[derive(Debug, Clone, Copy)]
struct PreviousMachine {
    at: Instant,
    cpu: Option<CpuTicks>,
    own_cpu: Duration,
    uptime_ticks: Option<u64>,
}

impl ProcessAggregate {
    /// An aggregate that groups by these rules.
    pub(crate) fn new(rules: Arc<Rules>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Decides where a new or renamed process is. `before` is where it was under its old name.
    fn place(&mut self, details: &Details, ppid: u32, before: Option<Place>) -> Place {
        if let Some((name, rule)) = self.rules.own_group(details) {
            return self.enter(&name, rule);
        }
        match before {
            // Which one it follows was decided when it was new: its parent may have ended since.
            Some(place @ Place::In { placement: Placement { follows: Some(_), .. }, .. }) => place,
            _ if self.rules.any_children() => Place::Open,
            _ => self.enter_built_in(details, ppid),
        }
    }

    fn enter(&mut self, name: &str, rule: RuleId) -> Place {
        let group = self.groups.assign(name, self.rules.all()[rule].name());
        Place::In { group, placement: Placement { rule, follows: None } }
    }

    fn enter_built_in(&mut self, details: &Details, ppid: u32) -> Place {
        let (mut name, rule) = self.rules.built_in_group(details);
        if let Some(pool) = details.pool.as_deref()
            && name == naming::of_pool(pool, details.container.as_deref())
        {
            name = self.masters.name(name, ppid);
        }
        self.enter(&name, rule)
    }

    /// Decides open places: with the nearest ancestor in a group whose rule lets children follow, as process-exporter does
    /// it; else by the built-in rules.
    fn close(&mut self, processes: &mut [Previous]) {
        for at in 0..processes.len() {
            if matches!(processes[at].place, Place::Open) {
                let followed = self.ancestor(processes, at);
                // Those between stay open, so that they find the same ancestor for themselves.
                processes[at].place = match followed {
                    Some(place) => place,
                    None => Place::Open,
                };
            }
        }
        for process in processes {
            if matches!(process.place, Place::Open) {
                process.place = self.enter_built_in(&process.details, process.ppid);
            }
        }
    }

    /// Walks up through open places.
    fn ancestor(&self, processes: &[Previous], of: usize) -> Option<Place> {
        let mut at = of;
        for _ in 0..MAX_ANCESTORS {
            let parent = processes[at].ppid;
            at = processes.binary_search_by_key(&parent, |process| process.pid).ok()?;
            match processes[at].place {
                Place::Open => {}
                Place::In { group, placement: Placement { rule, follows } } => {
                    let follow = rule < self.rules.own() && self.rules.all()[rule].has_children();
                    let placement = Placement { rule, follows: Some(follows.unwrap_or(parent)) };
                    return follow.then_some(Place::In { group, placement });
                }
            }
        }
        None
    }

    fn keep_gone(&mut self, process: Previous, now: Option<PreviousMachine>) {
        if let Place::In { group, .. } = process.place {
            self.gone.keep(process, self.groups.name(group), now.map(|now| now.at));
        }
    }

    /// The place of a process of PHP whose title does not say what it runs, where `scripts` do.
    fn by_script(&mut self, place: Place, script: &str) -> Place {
        let Place::In { placement: Placement { rule, follows: None }, .. } = place else { return place };
        let rules = self.rules.all();
        if rule < self.rules.own() || rules[rule].template() != naming::NO_SCRIPT {
            return place;
        }
        let of_scripts = rules.iter().skip(self.rules.own()).position(|rule| rule.template() == naming::SCRIPT);
        let rule = of_scripts.map_or(rule, |at| self.rules.own() + at);
        self.enter(&naming::of_script(Some(script)), rule)
    }

    /// Makes the processes and groups of one sample. `scripts` are what processes of PHP on the command line run.
    pub(crate) fn update(&mut self, sample: &ProcessSample, scripts: &HashMap<u32, Arc<str>>) -> ProcessPart {
        let now = sample.at.map(|at| PreviousMachine {
            at,
            cpu: sample.machine.cpu,
            own_cpu: sample.own_cpu,
            uptime_ticks: sample.machine.uptime_ticks,
        });
        let before = self.machine;
        let interval_s = match (before, now) {
            (Some(before), Some(now)) => Some(now.at.saturating_duration_since(before.at).as_secs_f64()),
            _ => None,
        }
        .filter(|&seconds| seconds > 0.0);
        // What starts after the previous pass has used all its CPU since then.
        let born_after = before.and_then(|before| before.uptime_ticks);

        // A tick of the kernel may be added late, so there is some room.
        let most = interval_s.filter(|_| sample.machine.host.cpus > 0);
        let most = most.map(|seconds| Duration::from_secs_f64((seconds + 0.1) * f64::from(sample.machine.host.cpus)));

        self.masters.retain(|pid| find(&sample.processes, pid).is_some());
        let mut processes = Vec::with_capacity(sample.processes.len());
        let mut current = Vec::with_capacity(sample.processes.len());
        let mut open = false;
        let mut previous = std::mem::take(&mut self.previous).into_iter().peekable();
        for reading in &sample.processes {
            while let Some(gone) = previous.next_if(|previous| previous.pid < reading.pid) {
                self.keep_gone(gone, now);
            }
            let known = match previous.next_if(|previous| previous.pid == reading.pid) {
                Some(known) if known.start_ticks == reading.start_ticks => Some(known),
                Some(gone) => {
                    self.keep_gone(gone, now);
                    None
                }
                // It may have ended before any pass met it, and be a zombie now.
                None => self.take_back(reading.pid, reading.start_ticks),
            };
            let started = known.is_none() && born_after.is_some_and(|uptime| reading.start_ticks > uptime);
            let (used, cpu) = match &known {
                Some(known) => known.cpu.advance(reading.cpu, reading.cpu_base, most),
                None => (started.then_some(reading.cpu), CpuBase::new(reading.cpu_base)),
            };
            let cpu_ratio = used.zip(interval_s).map(|(used, seconds)| used.as_secs_f64() / seconds);
            let ended = known.as_ref().is_some_and(|known| known.ended);
            let disk_before = match &known {
                Some(known) => known.disk,
                None => started.then(DiskBytes::default),
            };
            let disk = most_of(disk_before, reading.disk);
            let rates = disk_before.zip(disk).zip(interval_s);
            let rates = rates.map(|((before, now), seconds)| disk_rates(before, now, seconds)).unwrap_or_default();
            let place = match known {
                Some(known) if Arc::ptr_eq(&known.details, &reading.details) => known.place,
                known => self.place(&reading.details, reading.ppid, known.map(|known| known.place)),
            };
            let place = match scripts.get(&reading.pid) {
                Some(script) => self.by_script(place, script),
                None => place,
            };
            open |= matches!(place, Place::Open);
            processes.push(Process { disk: rates, ..process(reading, cpu_ratio) });
            current.push(Previous {
                pid: reading.pid,
                ppid: reading.ppid,
                start_ticks: reading.start_ticks,
                cpu,
                disk,
                details: Arc::clone(&reading.details),
                place,
                started,
                ended,
            });
        }
        for gone in previous {
            self.keep_gone(gone, now);
        }
        if open {
            self.close(&mut current);
        }
        let mut placements = Vec::with_capacity(current.len());
        for (process, current) in processes.iter_mut().zip(&current) {
            let Place::In { group, placement } = current.place else { unreachable!("every open place was closed") };
            self.groups.add(group, process);
            if current.started {
                self.groups.add_started(group);
            }
            // The place among the groups is known when all sums are.
            process.group = group;
            placements.push(placement);
        }
        if let Some(ended) = &sample.ended {
            let first_ticks = self.first_ticks;
            self.add_ended(ended, &mut current, &Interval { at: sample.at, seconds: interval_s, first_ticks });
        }
        self.previous = current;
        self.machine = now;
        self.first_ticks = self.first_ticks.or(sample.machine.uptime_ticks);

        let Listed { groups, places, without_room } =
            self.groups.finish(sample.ended.is_some() && interval_s.is_some());
        for process in &mut processes {
            process.group = places[process.group];
        }
        let own = sample.own_pid.and_then(|pid| find(&sample.processes, pid));
        ProcessPart {
            without_room,
            killed: std::mem::take(&mut self.killed),
            groups,
            processes,
            placements,
            interval_s,
            shares: before.and_then(|before| CpuShares::between(before.cpu?, sample.machine.cpu?)),
            own_cpu_ratio: before
                .zip(interval_s)
                .map(|(before, seconds)| sample.own_cpu.saturating_sub(before.own_cpu).as_secs_f64() / seconds),
            own_rss_bytes: own.map(|own| own.rss_bytes),
        }
    }
}

fn find(readings: &[ProcessReading], pid: u32) -> Option<&ProcessReading> {
    readings.binary_search_by_key(&pid, |reading| reading.pid).ok().map(|place| &readings[place])
}

/// Shares of the time of all CPUs, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CpuShares {
    pub busy: f64,
    pub io_wait: f64,
    pub steal: f64,
}

impl CpuShares {
    fn between(before: CpuTicks, now: CpuTicks) -> Option<Self> {
        let total = now.total.checked_sub(before.total).filter(|&total| total > 0)?;
        // Waiting for io can be counted back by the kernel, so that busy time seems to grow by more than there was.
        let share = |before: u64, now: u64| (now.saturating_sub(before) as f64 / total as f64).min(1.0);
        Some(Self {
            busy: share(before.busy, now.busy),
            io_wait: share(before.io_wait, now.io_wait),
            steal: share(before.steal, now.steal),
        })
    }
}

fn most_of(before: Option<DiskBytes>, now: Option<DiskBytes>) -> Option<DiskBytes> {
    let (now, before) = (now?, before.unwrap_or_default());
    Some(DiskBytes { read: now.read.max(before.read), written: now.written.max(before.written) })
}

fn disk_rates(before: DiskBytes, now: DiskBytes, seconds: f64) -> DiskRates {
    let rate = |before: u64, now: u64| Some(now.saturating_sub(before) as f64 / seconds);
    DiskRates { read_bytes_per_s: rate(before.read, now.read), written_bytes_per_s: rate(before.written, now.written) }
}

/// The process without its group.
fn process(reading: &ProcessReading, cpu_ratio: Option<f64>) -> Process {
    let details = &*reading.details;
    let (parts, pss_unknown) = parts(reading.pss, reading.rss_parts);
    Process {
        pid: reading.pid,
        ppid: reading.ppid,
        started_at: details.started_at,
        start_ticks: Some(reading.start_ticks),
        comm: Arc::clone(&details.comm),
        cmdline: Arc::clone(&details.cmdline),
        user: Arc::clone(&details.user),
        group: usize::MAX,
        pool: details.pool.clone(),
        state: reading.state,
        threads: reading.threads,
        cpu_ratio,
        memory: Memory {
            rss_bytes: Some(reading.rss_bytes),
            swap_bytes: reading.swap_bytes,
            // What was read before, where nothing is swapped out by now.
            swap_pss_bytes: parts.swap_pss_bytes.map(|bytes| bytes.min(reading.swap_bytes.unwrap_or(u64::MAX))),
            ..parts
        },
        disk: DiskRates::default(),
        pss_unknown,
        unit: details.unit.clone(),
        container: details.container.clone(),
        cgroup: reading.cgroup,
    }
}

/// An age in steps that get coarser the older it is, rounded up: closer says no more, and in a recording each number that changes
/// takes room.
fn age_ms(age: Duration) -> u64 {
    let seconds = u64::try_from(age.as_millis()).unwrap_or(u64::MAX).div_ceil(1000);
    let step = [0, 1, 3, 10, 30].into_iter().find(|&step| seconds <= step);
    step.unwrap_or_else(|| seconds.div_ceil(60).saturating_mul(60)).saturating_mul(1000)
}

/// What was read of the parts of memory, or why it was not.
fn parts(pss: Pss, rss: Option<RssParts>) -> (Memory, Option<PssUnknown>) {
    match pss {
        Pss::Unknown(why) => {
            let (file_bytes, shmem_bytes) = (rss.map(|rss| rss.file_bytes), rss.map(|rss| rss.shmem_bytes));
            (Memory { file_bytes, shmem_bytes, ..Memory::default() }, Some(why))
        }
        Pss::Known(rollup, age) => {
            let memory = Memory {
                pss_bytes: Some(rollup.pss_bytes),
                uss_bytes: Some(rollup.uss_bytes),
                shared_bytes: Some(rollup.shared_bytes),
                file_bytes: rollup.file_bytes,
                shmem_bytes: rollup.shmem_bytes,
                swap_pss_bytes: rollup.swap_pss_bytes,
                pss_age_ms: age.map(age_ms),
                ..Memory::default()
            };
            (memory, None)
        }
    }
}
