//! What a condition measures, with what it needs of the snapshots before: sums over the last seconds, the least memory of the last
//! minutes, counters as they were. Bounded by the number of groups and by the spans that the grammar allows.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Amount, Holds, Name, Quantile, Resource, What};
use crate::{
    model::{Histogram, PhpState, Snapshot},
    words::units,
};

/// Parts of the span in which growth is measured.
const PARTS: u32 = 60;

const NO_GROUP: &str = "no process group has this name now (`tusktop groups` lists them)";
const NO_POOL: &str = "no pool of php-fpm has this name now, or none is observed (`tusktop doctor` says why)";

/// What is remembered.
#[derive(Debug)]
pub(super) enum Measure {
    /// By second.
    Sums(VecDeque<Sums>),
    /// The least of each part of the span, by name; the machine has the empty name.
    Least(HashMap<Arc<str>, VecDeque<(Duration, u64)>>),
    /// `max_children_reached` of pools by master and name.
    Reached(HashMap<(u32, Arc<str>), u32>),
    /// OOM kills since boot.
    Kills(Option<u64>),
    Nothing,
}

/// What was counted in a second.
#[derive(Debug, Default)]
pub(super) struct Sums {
    at: Duration,
    histogram: Histogram,
    max_ms: f64,
    requests: u64,
    failed: u64,
    exceptions: u64,
}

impl Measure {
    pub(super) fn new(what: &What) -> Self {
        match what {
            What::Requests { .. } | What::Failed { .. } | What::Exceptions { .. } => Self::Sums(VecDeque::new()),
            What::Growth { .. } => Self::Least(HashMap::new()),
            What::PoolFull { .. } => Self::Reached(HashMap::new()),
            What::OomKill => Self::Kills(None),
            What::Memory { .. } | What::Pressure { .. } => Self::Nothing,
        }
    }

    /// Takes the next snapshot, which ended at `clock`.
    pub(super) fn take(&mut self, what: &What, snapshot: &Snapshot, clock: Duration) -> Holds {
        match (self, what) {
            (Self::Sums(sums), What::Requests { quantile, of, above_ms, within }) => {
                if let Some(unknown) = without_php(snapshot) {
                    return unknown;
                }
                let sums = add(sums, snapshot, of, clock, *within);
                let (name, value) = match *quantile {
                    Quantile::At(quantile, name) => (name, sums.histogram.quantile_ms(quantile)),
                    Quantile::Max => ("max", Some(sums.max_ms)),
                };
                match value.filter(|value| value > above_ms) {
                    Some(value) => Holds::Yes(format!(
                        "{name}{} in the last {} is {} ({} requests)",
                        of_what(of),
                        span(*within),
                        units::duration_ms(value),
                        units::count(sums.requests)
                    )),
                    None => Holds::No,
                }
            }
            (Self::Sums(sums), What::Failed { of, above, within }) => {
                if let Some(unknown) = without_php(snapshot) {
                    return unknown;
                }
                let sums = add(sums, snapshot, of, clock, *within);
                let measured = match *above {
                    Amount::PerSecond(_, minute) => {
                        Amount::PerSecond(sums.failed as f64 / within.as_secs_f64(), minute)
                    }
                    _ if sums.requests == 0 => return Holds::No,
                    _ => Amount::Share(sums.failed as f64 / sums.requests as f64),
                };
                let counted = format!("{} of {} requests", units::count(sums.failed), units::count(sums.requests));
                compared(measured, *above, |measured| {
                    format!("5xx{} in the last {}: {measured} ({counted})", of_what(of), span(*within))
                })
            }
            (Self::Sums(sums), What::Exceptions { of, above, within }) => {
                if let Some(unknown) = without_php(snapshot) {
                    return unknown;
                }
                // Between two readings it says nothing; without the tier it never does.
                if snapshot.php.state == PhpState::Read
                    && snapshot.php.exceptions.is_none()
                    && !snapshot.php.targets.is_empty()
                {
                    return Holds::Unknown("exceptions are not observed");
                }
                let count = add(sums, snapshot, of, clock, *within).exceptions;
                let minute = matches!(above, Amount::PerSecond(_, true));
                compared(Amount::PerSecond(count as f64 / within.as_secs_f64(), minute), *above, |measured| {
                    format!(
                        "exceptions{} in the last {}: {} ({measured})",
                        of_what(of),
                        span(*within),
                        units::count(count)
                    )
                })
            }
            (_, What::Memory { of, above }) => {
                let Some((name, bytes)) = memory(snapshot, of).max_by_key(|&(_, bytes)| bytes) else {
                    return unknown_memory(of);
                };
                let measured = match above {
                    Amount::Share(_) if snapshot.host.memory_bytes == 0 => {
                        return Holds::Unknown("the size of memory is not known");
                    }
                    Amount::Share(_) => Amount::Share(bytes as f64 / snapshot.host.memory_bytes as f64),
                    _ => Amount::Bytes(bytes),
                };
                compared(measured, *above, |measured| match &*name {
                    "" => format!("memory in use is {measured}"),
                    name => format!("memory of {name} is {measured}"),
                })
            }
            (Self::Least(least), What::Growth { of, above, within }) => {
                growth(least, snapshot, of, *above, clock, *within)
            }
            (_, What::Pressure { of, above }) => {
                let pressure = &snapshot.system.pressure;
                let (name, percent) = match of {
                    Resource::Cpu => ("cpu", pressure.cpu_some),
                    Resource::Io => ("io", pressure.io_some),
                    Resource::Memory => ("memory", pressure.memory_some),
                };
                match percent {
                    None => Holds::Unknown("the kernel has no pressure stall information (/proc/pressure)"),
                    Some(percent) => compared(Amount::Share(percent / 100.0), Amount::Share(*above), |measured| {
                        format!("{name} pressure is {measured}")
                    }),
                }
            }
            (Self::Reached(reached), What::PoolFull { of }) => pool(reached, snapshot, of),
            (Self::Kills(before), What::OomKill) => match (before.take(), snapshot.system.oom_kills) {
                (_, None) => Holds::Unknown("the kernel does not count OOM kills (oom_kill in /proc/vmstat)"),
                (known, Some(now)) => {
                    *before = Some(now);
                    match now.saturating_sub(known.unwrap_or(now)) {
                        0 => Holds::No,
                        1 => Holds::Yes("the kernel killed a process because memory was gone".into()),
                        kills => Holds::Yes(format!("the kernel killed {kills} processes because memory was gone")),
                    }
                }
            },
            _ => Holds::No,
        }
    }
}

/// Whether nothing is known of PHP. Between two answers of the collector nothing is either, and the next one has it all.
fn without_php(snapshot: &Snapshot) -> Option<Holds> {
    match snapshot.php.state {
        PhpState::Off => Some(Holds::Unknown("PHP is not observed")),
        PhpState::Ended => Some(Holds::Unknown("the PHP collector has stopped")),
        _ => None,
    }
}

/// Adds what a snapshot counted, forgets what is too old, and hands back the sum of the rest.
fn add(sums: &mut VecDeque<Sums>, snapshot: &Snapshot, of: &Name, clock: Duration, within: Duration) -> Sums {
    // The parts of a second are together, so that a short interval does not make many.
    let same = sums.back().is_some_and(|last| last.at.as_secs() == clock.as_secs());
    if !same {
        sums.push_back(Sums::default());
    }
    if let Some(last) = sums.back_mut() {
        last.at = clock;
        for route in
            snapshot.php.routes.iter().filter(|route| of.matches(&route.key.route) || of.matches(&route.key.script))
        {
            last.histogram.merge(&route.histogram);
            last.max_ms = last.max_ms.max(route.duration_ms.max.unwrap_or(0.0));
            last.requests += route.requests;
            last.failed += route.errors;
        }
        let exceptions = snapshot.php.exceptions.iter().flatten().filter(|exception| of.matches(&exception.class));
        last.exceptions += exceptions.map(|exception| exception.count).sum::<u64>();
    }
    while sums.front().is_some_and(|oldest| oldest.at + within <= clock) {
        sums.pop_front();
    }
    let mut all = Sums::default();
    for part in &*sums {
        all.histogram.merge(&part.histogram);
        all.max_ms = all.max_ms.max(part.max_ms);
        all.requests += part.requests;
        all.failed += part.failed;
        all.exceptions += part.exceptions;
    }
    all
}

/// Memory of the groups of a name, or of the machine.
fn memory<'a>(snapshot: &'a Snapshot, of: &'a Name) -> impl Iterator<Item = (Arc<str>, u64)> + 'a {
    let available = snapshot.system.memory_available_bytes;
    let used = available.map(|available| ("".into(), snapshot.host.memory_bytes.saturating_sub(available)));
    let groups = snapshot.groups.iter().filter(|group| !of.is_any() && of.matches(&group.name));
    let groups = groups.filter_map(|group| Some((Arc::clone(&group.name), group.footprint_bytes?)));
    groups.chain(used.filter(|_| of.is_any()))
}

/// Where there is no memory of a name, there is no group of that name now, or the name is wrong.
fn unknown_memory(of: &Name) -> Holds {
    if of.is_any() { Holds::Unknown("memory of the machine is not known") } else { Holds::Unknown(NO_GROUP) }
}

fn growth(
    least: &mut HashMap<Arc<str>, VecDeque<(Duration, u64)>>,
    snapshot: &Snapshot,
    of: &Name,
    above: u64,
    clock: Duration,
    within: Duration,
) -> Holds {
    let now: HashMap<Arc<str>, u64> = memory(snapshot, of).collect();
    least.retain(|name, _| now.contains_key(name));
    let mut most: Option<(Arc<str>, u64, u64)> = None;
    for (name, bytes) in now {
        let parts = least.entry(Arc::clone(&name)).or_default();
        match parts.back_mut() {
            Some((begun, least)) if clock - *begun < within / PARTS => *least = (*least).min(bytes),
            _ => parts.push_back((clock, bytes)),
        }
        while parts.front().is_some_and(|(begun, _)| *begun + within < clock) {
            parts.pop_front();
        }
        let least = parts.iter().map(|&(_, bytes)| bytes).min().unwrap_or(bytes);
        let grown = bytes.saturating_sub(least);
        if grown > most.as_ref().map_or(above, |(_, grown, _)| *grown) {
            most = Some((name, grown, bytes));
        }
    }
    match most {
        None if least.is_empty() => unknown_memory(of),
        None => Holds::No,
        Some((name, grown, bytes)) => {
            let whose = if name.is_empty() { "memory in use".to_owned() } else { format!("memory of {name}") };
            Holds::Yes(format!(
                "{whose} grew by {} in the last {}, to {}",
                units::bytes(grown),
                span(within),
                units::bytes(bytes)
            ))
        }
    }
}

fn pool(reached: &mut HashMap<(u32, Arc<str>), u32>, snapshot: &Snapshot, of: &Name) -> Holds {
    if let Some(unknown) = without_php(snapshot) {
        return unknown;
    }
    if snapshot.php.state == PhpState::Late {
        return Holds::No;
    }
    let before = std::mem::take(reached);
    let mut full = None;
    for board in snapshot.php.pools.iter().map(|pool| &pool.board).filter(|board| of.matches(&board.name)) {
        let key = (board.master, Arc::clone(&board.name));
        // It was full between two snapshots, too, if it says so.
        let more = before.get(&key).is_some_and(|&before| board.max_children_reached > before);
        reached.insert(key, board.max_children_reached);
        if full.is_none() && (more || (board.max_children > 0 && board.active >= board.max_children)) {
            let queue = board.listen_queue.map_or_else(String::new, |queue| format!(", {queue} connections wait"));
            full = Some(format!(
                "pool {} is full: {} of {} workers are busy{queue}",
                board.name, board.active, board.max_children
            ));
        }
    }
    match full {
        Some(full) => Holds::Yes(full),
        None if reached.is_empty() => Holds::Unknown(NO_POOL),
        None => Holds::No,
    }
}

fn compared(measured: Amount, above: Amount, text: impl FnOnce(Amount) -> String) -> Holds {
    let holds = match (measured, above) {
        (Amount::Share(a), Amount::Share(b)) | (Amount::PerSecond(a, _), Amount::PerSecond(b, _)) => a > b,
        (Amount::Bytes(a), Amount::Bytes(b)) => a > b,
        _ => false,
    };
    if holds { Holds::Yes(text(measured)) } else { Holds::No }
}

fn of_what(name: &Name) -> String {
    name.0.as_ref().map_or(String::new(), |(_, name)| format!(" of {name}"))
}

/// `10s`, `1m`, as it is typed.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}
