//! The page of memory that no process holds: what it is, what it takes, and what to do about it.

use super::facts::{Line, fact, heading};
use crate::{
    model::{MemoryPart, PartKind},
    ui::{frame::Screen, panes::memory::entries},
    view::TileKey,
    words::{machine_memory, units},
};

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
