//! The page of memory that no process holds: what it is, what it takes, and what to do about it.

use std::sync::Arc;

use super::{
    facts::{Line, fact, heading},
    process::muted,
};
use crate::{
    model::{MemoryPart, PartKind},
    ui::{frame::Screen, panes::memory::entries},
    view::TileKey,
    words::{machine_memory, units},
};

/// Bytes in files without a name that are worth a line.
const DELETED: u64 = 1 << 20;

/// The title of the page.
pub(crate) fn title(key: &TileKey) -> String {
    match key {
        TileKey::Part(kind, Some(mount)) => format!("{} {mount}", machine_memory::kind(*kind)),
        TileKey::Part(kind, None) => machine_memory::kind(*kind).to_owned(),
        TileKey::Unattributed => machine_memory::UNATTRIBUTED.to_owned(),
        _ => machine_memory::SHARED.to_owned(),
    }
}

/// The parts of the page.
pub(crate) fn parts(screen: &Screen, key: &TileKey) -> Vec<Vec<Line>> {
    let Some(snapshot) = screen.snapshot else { return Vec::new() };
    let memory = snapshot.memory.as_ref();
    let mut lines = Vec::new();
    match key {
        TileKey::Part(kind, mount) => {
            let part = memory.and_then(|memory| memory.parts.iter().find(|p| p.kind == *kind && p.mount == *mount));
            lines.extend(part.map_or_else(|| vec![heading("there is none now; esc goes back")], of_part));
            lines.extend(about(*kind));
            lines.extend(contents(screen, *kind, mount.as_ref(), part));
        }
        TileKey::Unattributed => {
            let bytes = memory.and_then(|memory| memory.unattributed_bytes).unwrap_or(0);
            lines.push(fact("size", units::bytes(bytes.max(0).unsigned_abs())));
            lines.extend(
                [
                    "used, and in no process and no part that is seen: PSS that was read at other times,",
                    "processes of another pid namespace, or processes that may not be read",
                ]
                .map(heading),
            );
        }
        _ => {
            let shared = screen.entries.list.iter().find(|entry| entry.key == TileKey::Shared);
            let bytes = shared.and_then(|entry: &entries::Entry| entry.bytes);
            lines.push(fact("size", bytes.map_or_else(|| "-".to_owned(), units::bytes)));
            lines.extend(
                [
                    "shared memory that these processes map: opcache, tmpfs, System V, memory that was shared before fork",
                    "it exists once, so it is counted once; the sizes of the processes are without it",
                ]
                .map(heading),
            );
        }
    }
    if let Some(memory) = memory {
        lines.extend([heading(""), heading(&machine_memory::sum(memory))]);
    }
    vec![lines]
}

/// What is in it, where it can be looked into.
fn contents(screen: &Screen, kind: PartKind, mount: Option<&Arc<str>>, part: Option<&MemoryPart>) -> Vec<Line> {
    let title = match kind {
        PartKind::Tmpfs => "biggest files",
        PartKind::SystemV => "biggest segments, and how many processes have them",
        PartKind::Slab | PartKind::SlabReclaimable => "biggest caches, and how many objects are in use",
        _ => return Vec::new(),
    };
    let mut lines = vec![heading(""), heading(title)];
    if screen.view.recorded || screen.scrub.is_some() {
        lines.push(muted("known only of now: it is not recorded".to_owned()));
        return lines;
    }
    let found = screen.contents.filter(|contents| contents.of.kind == kind && contents.of.mount.as_ref() == mount);
    let Some(found) = found else {
        lines.push(muted("reading …".to_owned()));
        return lines;
    };
    if !found.trouble.is_empty() {
        lines.push(muted(found.trouble.clone()));
        return lines;
    }
    lines.extend(found.items.iter().map(|item| {
        let count = item.count.map_or_else(String::new, |count| format!("   {}", units::count(count)));
        fact(&units::bytes(item.bytes), format!("{}{count}", item.name))
    }));
    if found.rest_bytes > 0 {
        lines.push(fact(&units::bytes(found.rest_bytes), "all others together"));
    }
    let all = found.items.iter().map(|item| item.bytes).fold(found.rest_bytes, u64::saturating_add);
    let size = part.and_then(|part| part.size_bytes).filter(|_| kind == PartKind::Tmpfs && found.complete);
    if let Some(gone) = size.map(|size| size.saturating_sub(all)).filter(|&gone| gone >= DELETED) {
        lines.push(fact(&units::bytes(gone), "in files that were deleted and that a process still has open: lsof +L1"));
    }
    let seen = units::count(found.seen);
    let took = units::duration_ms(found.took.as_secs_f64() * 1000.0);
    let end = if found.complete { "" } else { ", and there are more: it takes too long to look at all" };
    lines.push(muted(format!("{seen} seen in {took}{end}")));
    lines
}

fn of_part(part: &MemoryPart) -> Vec<Line> {
    let mut lines = vec![fact("size", units::bytes(part.bytes))];
    if let Some(size) = part.size_bytes.filter(|&size| size > part.bytes) {
        lines.push(fact(
            "with mapped",
            format!("{}, of which processes map {}", units::bytes(size), units::bytes(size - part.bytes)),
        ));
    }
    if let Some(limit) = part.limit_bytes {
        lines.push(fact("limit", units::bytes(limit)));
    }
    if let Some(count) = part.count {
        lines.push(fact("segments", units::count(count.into())));
    }
    lines
}

fn about(kind: PartKind) -> Vec<Line> {
    machine_memory::about(kind).iter().map(|line| heading(line)).collect()
}
