//! What the memory pane shows: groups or processes at the level that was zoomed to, filtered, biggest first.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    analysis::difference::Verdict,
    model::{Cgroup, DiskRates, Grouping, MachineMemory, Memory, MemoryPart, Process, Request, Snapshot},
    ui::{
        Input,
        filter::{About, Filter},
        paint::{self, Per},
    },
    view::{Pane, Sort, TileKey, Zoom},
    words::{
        machine_memory,
        memory::{self, Measure},
    },
};

/// One group or process.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    /// What it is.
    pub key: TileKey,
    /// Group or command.
    pub name: &'a str,
    /// Name that decides the colour.
    pub family: &'a str,
    /// The group that it is, or that its process is in, as an index into the snapshot's.
    pub group: usize,
    /// Memory by the measure; `None` when unknown.
    pub bytes: Option<u64>,
    /// `bytes` are RSS, wholly or in part, where others are PSS.
    pub estimated: bool,
    /// Parts of its memory.
    pub memory: &'a Memory,
    /// The control group that all of it is in.
    pub cgroup: Option<&'a Cgroup>,
    /// CPU in cores.
    pub cpu: Option<f64>,
    /// Number of processes.
    pub processes: u32,
    /// Growth of a group in bytes.
    pub growth: Option<f64>,
    /// What `growth` is a rate of.
    pub per: Per,
    /// Growth of the mean process of a group, what it is a rate of, and since when it grows.
    pub process_growth: Option<(f64, Per, Option<Timestamp>)>,
    /// The process, when it is one.
    pub process: Option<&'a Process>,
    /// The part of the machine's memory, when it is one that no process holds.
    pub part: Option<&'a MemoryPart>,
    /// What it reads from and writes to disks.
    pub disk: DiskRates,
}

/// The entries of the level that is shown.
#[derive(Debug, Clone)]
pub(crate) struct Entries<'a> {
    /// Biggest memory first.
    pub list: Vec<Entry<'a>>,
    /// What `bytes` are, over all processes of this level.
    pub measure: Measure,
    /// Sum over the list.
    pub total: u64,
    /// The group that is zoomed into.
    pub group: Option<&'a str>,
    /// The control group of that group.
    pub cgroup: Option<&'a Cgroup>,
    /// How many were filtered out.
    pub hidden: usize,
    /// The machine's memory, at the level that shows all of it.
    pub machine: Option<&'a MachineMemory>,
}

/// The group that the zoom path ends in.
pub(crate) fn zoomed_group(zoom: &[Zoom]) -> Option<&Arc<str>> {
    zoom.iter().rev().find_map(|step| match step {
        Zoom::Group(name) => Some(name),
        Zoom::Rest(_) => None,
    })
}

/// How much a group grew: lately or over the marked span, else from one span to the other, where that is more than noise.
fn growth(input: &Input, group: &str) -> (Option<f64>, Per) {
    if input.view.grouping != Grouping::Rules {
        return paint::rate_of(input.histories.growth(group));
    }
    match (input.difference, input.between) {
        (Some(difference), _) => {
            let found = difference.groups.iter().find(|known| *known.group == *group);
            let changed = found.filter(|found| found.memory_bytes.verdict == Verdict::Changed);
            (changed.and_then(|found| found.memory_bytes.difference), Per::Nothing)
        }
        (None, Some(between)) => (between.growth().get(group).copied(), Per::Minute),
        (None, None) => paint::rate_of(input.histories.growth(group)),
    }
}

/// How much the mean process of a group grew lately, and since when.
fn process_growth(input: &Input, group: &str) -> Option<(f64, Per, Option<Timestamp>)> {
    let (growth, per) = paint::rate_of(input.histories.process_growth(group));
    Some((growth?, per, input.histories.process_grows_since(group)))
}

/// Collects the entries of the level that is shown. Empty without a snapshot.
pub(crate) fn entries<'a>(input: &'a Input<'a>) -> Entries<'a> {
    let Some(snapshot) = input.snapshot else {
        return Entries {
            list: Vec::new(),
            measure: Measure::Rss(None),
            total: 0,
            group: None,
            cgroup: None,
            hidden: 0,
            machine: None,
        };
    };
    let group = zoomed_group(&input.view.zoom);
    let index = group.and_then(|name| snapshot.groups.iter().position(|group| group.name == *name));
    let filter = Filter::about(&input.view.pane(Pane::Map).filter);
    let except =
        |key: &TileKey| input.view.zoom.iter().any(|step| matches!(step, Zoom::Rest(shown) if shown.contains(key)));
    let (memories, mut list, total_count) = match group {
        Some(name) => {
            let members = snapshot.processes.iter().filter(|process| Some(process.group) == index);
            let members: Vec<&Process> = members.filter(|p| !except(&TileKey::Process(p.pid))).collect();
            let measure = Measure::of(members.iter().copied());
            let shown = members.iter().filter(|process| matches_process(&filter, process));
            let mut list: Vec<Entry> = shown.map(|process| of_process(process, measure, name, snapshot)).collect();
            if filter.0.is_empty() && !except(&TileKey::Shared) {
                list.extend(shared(&members, measure, name, index));
            }
            let count = members.len().max(list.len());
            (measure, list, count)
        }
        None => {
            let measure = Measure::of(&snapshot.processes);
            let by_process = groups_of_matching_processes(snapshot, &filter);
            let groups = snapshot.groups.iter().enumerate();
            let groups = groups.filter(|(_, group)| !except(&TileKey::Group(group.name.clone())));
            let mut count = 0;
            let shown = groups.filter(|(index, group)| {
                count += 1;
                matches_group(&filter, &group.name) || by_process.get(*index).is_some_and(|&found| found)
            });
            let list: Vec<Entry> = shown
                .map(|(index, group)| (index, group, growth(input, &group.name)))
                .map(|(index, group, (growth, per))| Entry {
                    key: TileKey::Group(group.name.clone()),
                    name: &group.name,
                    family: &group.name,
                    group: index,
                    bytes: memory::footprint(group),
                    estimated: measure.is_estimate(group),
                    memory: &group.memory,
                    cgroup: cgroup(snapshot, group.cgroup),
                    cpu: group.cpu_ratio,
                    processes: group.processes,
                    growth,
                    per,
                    process_growth: process_growth(input, &group.name),
                    process: None,
                    part: None,
                    disk: group.disk,
                })
                .collect();
            let mut list = list;
            let parts = snapshot.memory.iter().flat_map(|memory| parts(memory, input.view.cache));
            for part in parts.filter(|part| !except(&part.key)) {
                count += 1;
                if filter.0.is_empty() || matches_group(&filter, part.name) {
                    list.push(part);
                }
            }
            (measure, list, count)
        }
    };
    list.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(b.name)).then_with(|| pid(a).cmp(&pid(b))));
    let total = list.iter().filter_map(|entry| entry.bytes).sum();
    let hidden = total_count - list.len();
    Entries {
        list,
        measure: memories,
        total,
        group: group.map(|name| &**name),
        cgroup: cgroup(snapshot, index.and_then(|index| snapshot.groups[index].cgroup)),
        hidden,
        machine: snapshot.memory.as_ref().filter(|_| input.view.zoom.is_empty()),
    }
}

impl<'a> Entry<'a> {
    /// Memory that is neither a group's nor a process's.
    fn beside_processes(key: TileKey, name: &'a str, bytes: u64) -> Self {
        Self {
            key,
            name,
            family: name,
            group: usize::MAX,
            bytes: Some(bytes),
            estimated: false,
            memory: &Memory::UNKNOWN,
            cgroup: None,
            cpu: None,
            processes: 0,
            growth: None,
            per: Per::Minute,
            process_growth: None,
            process: None,
            part: None,
            disk: DiskRates::default(),
        }
    }
}

/// What no process holds.
fn parts(memory: &MachineMemory, cache: bool) -> impl Iterator<Item = Entry<'_>> {
    let shown = memory.parts.iter().filter(move |part| part.bytes > 0 && (cache || !part.kind.is_given_back()));
    let of = |key, name, bytes, part| Entry { part, ..Entry::beside_processes(key, name, bytes) };
    let rest = memory.unattributed_bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|&bytes| bytes > 0);
    let rest = rest.map(|bytes| of(TileKey::Unattributed, machine_memory::UNATTRIBUTED, bytes, None));
    shown
        .map(move |part| {
            let key = TileKey::Part(part.kind, part.mount.clone());
            of(key, machine_memory::name(part), part.bytes, Some(part))
        })
        .chain(rest)
}

/// What the processes of a group share by intent. The sizes of its processes are without it.
fn shared<'a>(members: &[&Process], measure: Measure, group: &'a str, index: Option<usize>) -> Option<Entry<'a>> {
    let bytes = members.iter().filter_map(|member| apart(member)).fold(0, u64::saturating_add);
    (bytes > 0).then(|| Entry {
        family: group,
        group: index.unwrap_or(usize::MAX),
        estimated: measure.is_mixed(),
        ..Entry::beside_processes(TileKey::Shared, machine_memory::SHARED, bytes)
    })
}

/// The part of a process's size that is shared memory, which has a tile of its own.
fn apart(process: &Process) -> Option<u64> {
    Some(process.memory.shmem_bytes?.min(process.memory.footprint_bytes()?))
}

/// Orders entries for the table; the treemap is always by memory.
pub(crate) fn sort_for_table(list: &mut [Entry], sort: Option<Sort>, inverted: bool) {
    match sort {
        Some(Sort::Cpu) => {
            list.sort_by(|a, b| b.cpu.unwrap_or(-1.0).total_cmp(&a.cpu.unwrap_or(-1.0)));
        }
        Some(Sort::Disk) => {
            list.sort_by(|a, b| b.disk.sum().unwrap_or(-1.0).total_cmp(&a.disk.sum().unwrap_or(-1.0)));
        }
        Some(Sort::Rate) => list.sort_by_key(|entry| (std::cmp::Reverse(entry.processes), pid(entry))),
        Some(Sort::Name) => list.sort_by(|a, b| a.name.cmp(b.name)),
        Some(Sort::User) => {
            list.sort_by(|a, b| a.process.map(|process| &process.user).cmp(&b.process.map(|process| &process.user)));
        }
        _ => {}
    }
    if inverted {
        list.reverse();
    }
}

fn pid(entry: &Entry) -> u32 {
    entry.process.map_or(0, |process| process.pid)
}

fn of_process<'a>(process: &'a Process, measure: Measure, group: &'a str, snapshot: &'a Snapshot) -> Entry<'a> {
    Entry {
        key: TileKey::Process(process.pid),
        name: &process.comm,
        family: group,
        group: process.group,
        bytes: process.memory.footprint_bytes().map(|bytes| bytes - apart(process).unwrap_or(0)),
        estimated: measure.is_mixed() && process.memory.pss_bytes.is_none(),
        memory: &process.memory,
        cgroup: cgroup(snapshot, process.cgroup),
        cpu: process.cpu_ratio,
        processes: 1,
        growth: None,
        per: Per::Minute,
        process_growth: None,
        process: Some(process),
        part: None,
        disk: process.disk,
    }
}

fn cgroup(snapshot: &Snapshot, index: Option<usize>) -> Option<&Cgroup> {
    snapshot.cgroups.get(index?)
}

fn matches_process((filter, about): &(Filter, About), process: &Process) -> bool {
    match about {
        About::All => filter.has(&[&process.comm, &process.cmdline, &process.user]) || filter.has_number(process.pid),
        About::User => filter.has(&[&process.user]),
        About::Name => filter.has(&[&process.comm, &process.cmdline]),
        About::Pid => filter.has_number(process.pid),
    }
}

fn matches_group((filter, about): &(Filter, About), name: &str) -> bool {
    filter.is_empty() || matches!(about, About::All | About::Name) && filter.has(&[name])
}

fn groups_of_matching_processes(snapshot: &Snapshot, filter: &(Filter, About)) -> Vec<bool> {
    if filter.0.is_empty() {
        return Vec::new();
    }
    let mut found = vec![false; snapshot.groups.len()];
    for process in &snapshot.processes {
        if let Some(group) = found.get_mut(process.group)
            && !*group
        {
            *group = matches_process(filter, process);
        }
    }
    found
}

/// The request that a process serves now.
pub(crate) fn running_request(snapshot: &Snapshot, pid: u32) -> Option<&Request> {
    snapshot.php.requests.iter().find(|request| request.pid == pid && !request.finished)
}

/// Whether a group has PHP workers.
pub(crate) fn serves_php(snapshot: &Snapshot, group: &str) -> bool {
    snapshot.php.routes.iter().any(|route| *route.key.group == *group)
        || snapshot.php.workers.iter().any(|worker| {
            let at = snapshot.processes.binary_search_by_key(&worker.pid, |process| process.pid);
            let index = at.ok().map(|at| snapshot.processes[at].group);
            index.and_then(|index| snapshot.groups.get(index)).is_some_and(|g| *g.name == *group)
        })
}
