//! Processes that ended: the CPU time that no pass has seen is added to the sums of their groups. That is the time since the
//! last pass, or all of it if no pass saw the process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{CpuBase, Place, Placement, Previous, ProcessAggregate};
use crate::{
    aggregate::{pool_events::Killed, sums::GroupId},
    collect::proc::{Details, EndedReading},
};

/// How long a process that is no longer there is kept. Its end was told before the pass that missed it, but the ring gives
/// nothing out while an older event in it is still being written.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most processes that are kept.
const MAX_GONE: usize = 16_384;

/// Processes that passes do not meet any more, by pid and start time: those whose end was not told yet, and those whose end was told
/// before any pass met them, which may come back as zombies.
#[derive(Debug, Default)]
pub(super) struct Gone(BTreeMap<(u32, u64), GoneProcess>);

#[derive(Debug)]
struct GoneProcess {
    process: Previous,
    /// Its group may be forgotten meanwhile, and its number given to another one.
    group: Arc<str>,
    since: Instant,
}

impl Gone {
    /// Keeps a process.
    pub(crate) fn keep(&mut self, process: Previous, group: &Arc<str>, now: Option<Instant>) {
        if let Some(since) = now.filter(|_| self.0.len() < MAX_GONE) {
            self.0.insert((process.pid, process.start_ticks), GoneProcess { process, group: Arc::clone(group), since });
        }
    }

    /// The process of a pid with this start time, or the newest.
    fn find(&self, pid: u32, start_ticks: Option<u64>) -> Option<&GoneProcess> {
        match start_ticks {
            Some(start_ticks) => self.0.get(&(pid, start_ticks)),
            None => self.0.range((pid, 0)..=(pid, u64::MAX)).next_back().map(|(_, gone)| gone),
        }
    }

    fn expire(&mut self, now: Option<Instant>) {
        if let Some(now) = now {
            self.0.retain(|_, gone| now.saturating_duration_since(gone.since) < PATIENCE);
        }
    }
}

/// Where a process was, and what it was.
#[derive(Clone)]
struct Member {
    group: GroupId,
    placement: Placement,
    details: Arc<Details>,
}

/// What all processes that ended are seen against.
pub(super) struct Interval {
    pub at: Option<Instant>,
    /// Length; `None` for the first sample.
    pub seconds: Option<f64>,
    /// Start time of what was there before the first sample.
    pub first_ticks: Option<u64>,
}

impl ProcessAggregate {
    /// Adds those that ended to their groups. `current` are the processes that the pass met, all of them in groups.
    pub(super) fn add_ended(&mut self, ended: &[EndedReading], current: &mut [Previous], interval: &Interval) {
        // A parent that ends as well comes after its children.
        let mut met: HashMap<u32, Member> = HashMap::new();
        // Later words on a process come to one that is known by then.
        for reading in ended.iter().rev().filter(|reading| reading.last.is_some()) {
            self.add_end(reading, current, interval, &mut met);
        }
        for reading in ended.iter().filter(|reading| reading.last.is_none()) {
            self.add_end(reading, current, interval, &mut met);
        }
        self.gone.expire(interval.at);
    }

    fn add_end(
        &mut self,
        reading: &EndedReading,
        current: &mut [Previous],
        interval: &Interval,
        met: &mut HashMap<u32, Member>,
    ) {
        let ratio = |used: Option<Duration>| Some(used?.as_secs_f64() / interval.seconds?);
        if let Some((member, cpu, counted)) = self.known(current, reading.pid, Some(reading.start_ticks)) {
            self.mark_ended(current, reading);
            if let Some(signal) = reading.last.as_ref().and_then(|last| last.signal).filter(|_| !counted) {
                let worker_of = member.details.pool.is_some().then(|| Arc::clone(self.groups.name(member.group)));
                self.killed.push(Killed { pid: reading.pid, signal, worker_of });
            }
            self.groups.add_used(member.group, ratio(cpu.until_end(reading.cpu)));
            if !counted {
                self.groups.add_ended(member.group);
            }
            met.insert(reading.pid, member);
        } else if let Some(last) = &reading.last {
            let parent = match met.get(&last.ppid) {
                Some(parent) => Some(parent.clone()),
                None => self.known(current, last.ppid, None).map(|(parent, ..)| parent),
            };
            let member = self.place_unseen(&last.details, parent.map(|parent| (last.ppid, parent)));
            self.keep_ended(reading, last.ppid, &member, interval.at);
            // What it was is not known: it may have been forked as a worker.
            self.killed.extend(last.signal.map(|signal| Killed { pid: reading.pid, signal, worker_of: None }));
            // Of one that was there from the start and never met, it is not known when it used its CPU.
            let born_since = interval.first_ticks.is_some_and(|first| reading.start_ticks >= first);
            self.groups.add_used(member.group, ratio(born_since.then_some(reading.cpu)));
            self.groups.add_ended(member.group);
            self.groups.add_started(member.group);
            met.insert(reading.pid, member);
        }
    }

    /// A process that the pass met, or that is kept: where it is, its CPU time, and whether its end was counted.
    fn known(&mut self, current: &[Previous], pid: u32, start_ticks: Option<u64>) -> Option<(Member, CpuBase, bool)> {
        let same = |process: &Previous| start_ticks.is_none_or(|ticks| ticks == process.start_ticks);
        let living = current.binary_search_by_key(&pid, |process| process.pid).ok().map(|at| &current[at]);
        let (process, name) = match living.filter(|process| same(process)) {
            Some(process) => (process, None),
            None => {
                let gone = self.gone.find(pid, start_ticks)?;
                (&gone.process, Some(&gone.group))
            }
        };
        let Place::In { group, placement } = process.place else { return None };
        let group = match name {
            Some(name) => self.groups.assign(name, self.rules.all()[placement.rule].name()),
            None => group,
        };
        let member = Member { group, placement, details: Arc::clone(&process.details) };
        Some((member, process.cpu, process.ended))
    }

    /// A zombie that later passes meet, and the last word on it, have no more to add than what comes after this.
    fn mark_ended(&mut self, current: &mut [Previous], reading: &EndedReading) {
        let same = |process: &&mut Previous| process.start_ticks == reading.start_ticks;
        let living = current.binary_search_by_key(&reading.pid, |process| process.pid).ok();
        let process = match living.map(|at| &mut current[at]).filter(same) {
            Some(process) => Some(process),
            None => self.gone.0.get_mut(&(reading.pid, reading.start_ticks)).map(|gone| &mut gone.process),
        };
        if let Some(process) = process {
            (process.ended, process.cpu) = (true, CpuBase::new(reading.cpu));
        }
    }

    /// Keeps a process that no pass has met: there may be a last word on it, or a zombie.
    fn keep_ended(&mut self, reading: &EndedReading, ppid: u32, member: &Member, now: Option<Instant>) {
        let process = Previous {
            pid: reading.pid,
            ppid,
            start_ticks: reading.start_ticks,
            disk: None,
            cpu: CpuBase::new(reading.cpu),
            details: Arc::clone(&member.details),
            place: Place::In { group: member.group, placement: member.placement },
            started: false,
            ended: true,
        };
        self.gone.keep(process, self.groups.name(member.group), now);
    }

    /// A process that is there after all, in its group.
    pub(super) fn take_back(&mut self, pid: u32, start_ticks: u64) -> Option<Previous> {
        let GoneProcess { mut process, group: name, .. } = self.gone.0.remove(&(pid, start_ticks))?;
        if let Place::In { group, placement } = &mut process.place {
            *group = self.groups.assign(&name, self.rules.all()[placement.rule].name());
        }
        Some(process)
    }

    /// Decides the group of a process that no pass has met, by what was noted of it and what its parent has.
    fn place_unseen(&mut self, noted: &Details, parent: Option<(u32, Member)>) -> Member {
        let mut details = noted.clone();
        if let Some((_, parent)) = &parent {
            // It was forked in the cgroup of its parent, which can no longer be asked of itself.
            details.unit.clone_from(&parent.details.unit);
            details.container.clone_from(&parent.details.container);
            details.cgroups = Arc::clone(&parent.details.cgroups);
            details.memory_cgroup.clone_from(&parent.details.memory_cgroup);
            if details.cmdline.is_empty() && details.comm == parent.details.comm {
                // It did no exec, so it had the arguments of its parent.
                details.exe = Arc::clone(&parent.details.exe);
                details.cmdline = Arc::clone(&parent.details.cmdline);
                (details.php, details.script) = (parent.details.php, parent.details.script.clone());
            }
        }
        let own = self.rules.own_group(&details);
        let follows = |(ppid, parent): &(u32, Member)| {
            let Placement { rule, follows } = parent.placement;
            let follow = rule < self.rules.own() && self.rules.all()[rule].has_children();
            follow.then_some((parent.group, Placement { rule, follows: Some(follows.unwrap_or(*ppid)) }))
        };
        let (group, placement) = match (own, parent.as_ref().and_then(follows)) {
            (None, Some(followed)) => followed,
            (own, _) => {
                let (name, rule) = own.unwrap_or_else(|| self.rules.built_in_group(&details));
                (self.groups.assign(&name, self.rules.all()[rule].name()), Placement { rule, follows: None })
            }
        };
        Member { group, placement, details: Arc::new(details) }
    }
}

#[cfg(test)]
mod tests;
