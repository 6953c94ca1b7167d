//! Processes that ended: what they used after they were seen last, or in all when no pass ever met them, goes to the sums
//! of their groups.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Place, Placement, Previous, ProcessAggregate};
use crate::{
    aggregate::groups::GroupId,
    collect::proc::{Details, EndedReading},
};

/// How long the end of a process that is no longer there is waited for. The kernel tells of it when it lets go of the
/// last of the process, usually within 30 ms; some configurations put that off for 10 s (`CONFIG_RCU_LAZY`).
const PATIENCE: Duration = Duration::from_secs(15);
/// Most processes whose end is waited for.
const MAX_GONE: usize = 16_384;

/// Processes that were not there any more, by pid.
#[derive(Debug, Default)]
pub(super) struct Gone(HashMap<u32, GoneProcess>);

#[derive(Debug)]
struct GoneProcess {
    process: Previous,
    /// Its group may be forgotten meanwhile, and its number given to another one.
    group: Arc<str>,
    since: Instant,
}

impl Gone {
    /// Keeps a process that the pass did not meet any more.
    pub fn keep(&mut self, process: Previous, group: &Arc<str>, now: Option<Instant>) {
        if let Some(since) = now.filter(|_| self.0.len() < MAX_GONE) {
            self.0.insert(process.pid, GoneProcess { process, group: Arc::clone(group), since });
        }
    }

    /// Forgets those whose end was waited for in vain.
    fn expire(&mut self, now: Option<Instant>) {
        if let Some(now) = now {
            self.0.retain(|_, gone| now.saturating_duration_since(gone.since) < PATIENCE);
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
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
    /// Now.
    pub at: Option<Instant>,
    /// Length; `None` for the first sample.
    pub seconds: Option<f64>,
    /// Start time of what was there before the first sample.
    pub first_ticks: Option<u64>,
}

impl ProcessAggregate {
    /// Adds those that ended to their groups. `current` are the processes that the pass met, all of them in groups.
    pub(super) fn add_ended(&mut self, ended: &[EndedReading], current: &[Previous], interval: &Interval) {
        // A parent that ends as well comes after its children.
        let mut met: HashMap<u32, Member> = HashMap::new();
        for reading in ended.iter().rev() {
            let pid = reading.details.pid;
            let known = self.known(current, pid, Some(reading.start_ticks));
            let (member, used, unseen) = match known {
                Some((member, cpu)) => (member, cpu.until_end(reading.cpu), false),
                None => {
                    let parent = reading.ppid.and_then(|ppid| {
                        met.get(&ppid)
                            .cloned()
                            .or_else(|| Some(self.known(current, ppid, None)?.0))
                            .map(|it| (ppid, it))
                    });
                    let member = self.place_unseen(&reading.details, parent);
                    // Of one that was there from the start and never met, nobody knows when it used its CPU.
                    let born_since = interval.first_ticks.is_some_and(|first| reading.start_ticks >= first);
                    (member, born_since.then_some(reading.cpu), true)
                }
            };
            let ratio = used.zip(interval.seconds).map(|(used, seconds)| used.as_secs_f64() / seconds);
            self.groups.add_ended(member.group, ratio, unseen);
            met.insert(pid, member);
        }
        for reading in ended {
            if self.gone.0.get(&reading.details.pid).is_some_and(|gone| gone.process.start_ticks == reading.start_ticks)
            {
                self.gone.0.remove(&reading.details.pid);
            }
        }
        self.gone.expire(interval.at);
    }

    /// A process that a pass has met, with the CPU time that it had then.
    fn known(&mut self, current: &[Previous], pid: u32, start_ticks: Option<u64>) -> Option<(Member, super::CpuBase)> {
        let same = |process: &Previous| start_ticks.is_none_or(|ticks| ticks == process.start_ticks);
        let living = current.binary_search_by_key(&pid, |process| process.pid).ok().map(|at| &current[at]);
        let (process, group) = match living.filter(|process| same(process)) {
            Some(process) => (process, None),
            None => {
                let gone = self.gone.0.get(&pid).filter(|gone| same(&gone.process))?;
                (&gone.process, Some(&gone.group))
            }
        };
        let Place::In { group: place, placement } = process.place else { return None };
        let group = match group {
            Some(name) => self.groups.assign(name, self.rules.all()[placement.rule].name()),
            None => place,
        };
        Some((Member { group, placement, details: Arc::clone(&process.details) }, process.cpu))
    }

    /// Decides the group of a process that no pass has met, by what was noted of it and what its parent has.
    fn place_unseen(&mut self, noted: &Details, parent: Option<(u32, Member)>) -> Member {
        let mut details = noted.clone();
        if let Some((_, parent)) = &parent {
            // It was forked in the cgroup of its parent, which can no longer be asked of itself.
            details.unit.clone_from(&parent.details.unit);
            details.container.clone_from(&parent.details.container);
            details.cgroups = Arc::clone(&parent.details.cgroups);
            if details.cmdline.is_empty() && details.comm == parent.details.comm {
                // It did no exec, so it had the arguments of its parent.
                details.exe = Arc::clone(&parent.details.exe);
                details.cmdline = Arc::clone(&parent.details.cmdline);
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
