//! Which processes a signal or an inspection is for: those of the selected tile or row, or of the open detail.

use std::sync::Arc;

use crate::{
    model::{Chosen, Process, ProcessKey, SignalTarget, Snapshot, TargetProcess},
    ui::frame::Screen,
    view::{List, Pane, Row, TileKey},
};

/// Ancestors that are followed from our own process.
const ANCESTORS: usize = 64;

/// The target on a screen whose memory pane has these rows.
pub(crate) fn target(screen: &Screen, list: &List) -> Option<Arc<SignalTarget>> {
    let snapshot = screen.snapshot?;
    if let Some(order) = screen.view.inspected() {
        let chosen = Chosen::Process(order.process.pid);
        let processes = process(snapshot, order.process).map(of).into_iter().collect();
        return Some(Arc::new(with_us(screen, snapshot, chosen, processes)));
    }
    let row = screen.view.pane(Pane::Map).selected.as_ref().or(list.rows.first())?;
    let Row::Tile(tile) = row else { return None };
    if !list.rows.contains(row) {
        return None;
    }
    let (chosen, processes) = match tile {
        TileKey::Process(pid) => {
            let process = process(snapshot, ProcessKey { pid: *pid, start_ticks: None });
            (Chosen::Process(*pid), process.map(of).into_iter().collect())
        }
        TileKey::Part(..) | TileKey::Unattributed | TileKey::Shared => return None,
        TileKey::Group(name) => {
            let group = snapshot.groups.iter().position(|group| group.name == *name)?;
            let processes = snapshot.processes.iter().filter(|process| process.group == group).map(of);
            (Chosen::Group(name.clone()), processes.collect())
        }
    };
    Some(Arc::new(with_us(screen, snapshot, chosen, processes)))
}

fn with_us(screen: &Screen, snapshot: &Snapshot, chosen: Chosen, processes: Vec<TargetProcess>) -> SignalTarget {
    let mut pid = screen.view.own_pid;
    let mut has_us = false;
    // Up to the first process, which is no terminal of ours. The bound ends a circle, which a torn reading may have.
    for _ in 0..ANCESTORS {
        if pid <= 1 {
            break;
        }
        has_us |= processes.iter().any(|process| process.key.pid == pid);
        pid = process(snapshot, ProcessKey { pid, start_ticks: None }).map_or(0, |process| process.ppid);
    }
    SignalTarget { chosen, processes, has_us }
}

/// A process of the snapshot, if it is still the same one.
pub(crate) fn process(snapshot: &Snapshot, key: ProcessKey) -> Option<&Process> {
    let at = snapshot.processes.binary_search_by_key(&key.pid, |process| process.pid).ok()?;
    let process = &snapshot.processes[at];
    let other = key.start_ticks.zip(process.start_ticks).is_some_and(|(one, two)| one != two);
    (!other).then_some(process)
}

fn of(process: &Process) -> TargetProcess {
    TargetProcess {
        key: ProcessKey { pid: process.pid, start_ticks: process.start_ticks },
        comm: process.comm.clone(),
        cmdline: process.cmdline.clone(),
        user: process.user.clone(),
        pool: process.pool.clone(),
    }
}
