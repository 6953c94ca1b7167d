//! Where the machine's memory is, so that it adds up. What is used is `MemTotal` less `MemAvailable`, and the kernel computes
//! `MemAvailable` from what is free, the page cache and what it can give back of the slab, less a reserve (`si_mem_available` in
//! mm/show_mem.c). So what is used is: pages of processes, shared memory, the kernel's own memory, and that reserve.

use crate::{
    collect::proc::{Machine, MemoryInfo},
    model::{MachineMemory, MemoryPart, PartKind, Process},
};

/// What processes take of the memory that is in use.
#[derive(Debug, Clone, Copy, Default)]
struct OfProcesses {
    /// Sum of the footprints.
    all: u64,
    /// The shared memory in it.
    shared: u64,
}

/// Joins what the kernel says of the machine with what the processes take.
pub(super) fn of(machine: &Machine, processes: &[Process]) -> MachineMemory {
    let info = &machine.memory;
    let processes = processes.iter().try_fold(OfProcesses::default(), |sum, process| {
        let memory = &process.memory;
        Some(OfProcesses {
            all: sum.all.saturating_add(memory.footprint_bytes()?),
            shared: sum.shared.saturating_add(memory.shmem_bytes.unwrap_or(0)),
        })
    });
    let mut parts = shared(machine, processes.map_or(0, |processes| processes.shared));
    parts.extend(kernel(machine));
    let cache = info.active_file.zip(info.inactive_file).map(|(active, inactive)| active.saturating_add(inactive));
    for (kind, bytes) in
        [(PartKind::PageCache, cache), (PartKind::SlabReclaimable, info.reclaimable.or(info.slab_reclaimable))]
    {
        parts.extend(part(kind, bytes));
    }
    parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (a.kind, &a.mount).cmp(&(b.kind, &b.mount))));
    let mut memory = MachineMemory {
        used_bytes: info.used(),
        processes_bytes: processes.map(|processes| processes.all),
        parts,
        unattributed_bytes: None,
    };
    let found = memory.used_parts().map(|part| part.bytes).fold(0, u64::saturating_add);
    memory.unattributed_bytes = memory.used_bytes.zip(memory.processes_bytes).map(|(used, processes)| {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        signed(used).saturating_sub(signed(found.saturating_add(processes)))
    });
    memory
}

fn part(kind: PartKind, bytes: Option<u64>) -> Option<MemoryPart> {
    let bytes = bytes.filter(|&bytes| bytes > 0)?;
    Some(MemoryPart { kind, mount: None, bytes, size_bytes: None, limit_bytes: None, count: None })
}

/// Files in memory and segments. Pages that processes map are counted there: what mounts, segments and processes have together
/// beyond all shared memory (`Shmem`) is in two of them, first taken from the segments, then from the biggest mount.
fn shared(machine: &Machine, of_processes: u64) -> Vec<MemoryPart> {
    let mut parts = Vec::new();
    if let Some(segments) = machine.segments.filter(|segments| segments.count > 0) {
        parts.push(MemoryPart {
            kind: PartKind::SystemV,
            mount: None,
            bytes: segments.resident_bytes,
            size_bytes: Some(segments.resident_bytes),
            limit_bytes: None,
            count: Some(segments.count),
        });
    }
    let first_mount = parts.len();
    for mount in &machine.mounts {
        if let Some(used) = mount.used_bytes.filter(|&used| used > 0) {
            parts.push(MemoryPart {
                kind: PartKind::Tmpfs,
                mount: Some(mount.point.clone()),
                bytes: used,
                size_bytes: Some(used),
                limit_bytes: mount.limit_bytes,
                count: None,
            });
        }
    }
    parts[first_mount..].sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let Some(all) = machine.memory.shmem else { return parts };
    let beside = all.saturating_sub(of_processes);
    let known = parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
    let mut twice = known.saturating_sub(beside);
    for part in &mut parts {
        let taken = twice.min(part.bytes);
        part.bytes -= taken;
        twice -= taken;
    }
    parts.extend(part(PartKind::SharedMemory, Some(beside.saturating_sub(known))));
    parts
}

/// The kernel's own memory.
fn kernel(machine: &Machine) -> Vec<MemoryPart> {
    let info = &machine.memory;
    let less = |bytes: Option<u64>, other: Option<u64>| Some(bytes?.saturating_sub(other.unwrap_or(0)));
    let huge_free = info.huge_free_bytes();
    let tables = info.page_tables.map(|bytes| bytes.saturating_add(info.second_page_tables.unwrap_or(0)));
    let mut known: Vec<(PartKind, u64)> = [
        (PartKind::HugePages, less(info.huge_bytes(), huge_free)),
        (PartKind::HugePagesFree, huge_free),
        (PartKind::Slab, info.slab_unreclaimable),
        (PartKind::PageTables, tables),
        (PartKind::KernelStacks, info.kernel_stacks),
        (PartKind::Vmalloc, less(info.vmalloc, info.kernel_stacks)),
        (PartKind::PerCpu, info.per_cpu),
        (PartKind::Zram, machine.zram_bytes),
        (PartKind::Zswap, info.zswap),
        (PartKind::SwapCache, swap_cache(info)),
        (PartKind::LockedFiles, locked_files(info)),
        (PartKind::CpuFree, machine.cpu_free_bytes.zip(kept(info)).map(|(bytes, kept)| bytes.min(kept))),
    ]
    .into_iter()
    .filter_map(|(kind, bytes)| Some((kind, bytes?)))
    .collect();
    // All that is neither free, nor of processes, nor given back; what is left of it has no line of its own.
    let other = kept(info).map(|kept| known.iter().fold(kept, |rest, (_, bytes)| rest.saturating_sub(*bytes)));
    // Their small buffers are in the slab.
    let sockets = machine.socket_bytes.map(|bytes| other.map_or(bytes, |other| bytes.min(other)));
    known.extend(sockets.map(|bytes| (PartKind::Sockets, bytes)));
    known.extend(less(other, sockets).map(|bytes| (PartKind::OtherKernel, bytes)));
    known.extend(reserve(info).map(|bytes| (PartKind::Reserve, bytes)));
    known.into_iter().filter_map(|(kind, bytes)| part(kind, Some(bytes))).collect()
}

/// Memory that is neither free, nor of processes, nor shared, nor given back when it is needed.
fn kept(info: &MemoryInfo) -> Option<u64> {
    let given_back = [info.active_file?, info.inactive_file?, info.reclaimable.or(info.slab_reclaimable)?];
    let parts = [info.free?, info.anon?, info.shmem?].into_iter().chain(given_back);
    Some(parts.fold(info.total?, u64::saturating_sub))
}

/// What is free or could be given back and is not counted as available.
fn reserve(info: &MemoryInfo) -> Option<u64> {
    let given_back = [info.active_file?, info.inactive_file?, info.reclaimable.or(info.slab_reclaimable)?];
    Some(given_back.into_iter().fold(info.free?, u64::saturating_add).saturating_sub(info.available?))
}

/// Pages on the lists of anonymous memory that neither processes nor shared memory account for: they are in the swap cache.
fn swap_cache(info: &MemoryInfo) -> Option<u64> {
    let listed = info.active_anon?.saturating_add(info.inactive_anon?);
    Some(listed.saturating_sub(info.anon?).saturating_sub(info.shmem?).min(info.swap_cached?))
}

/// Page cache that is on none of the lists from which it could be given back.
fn locked_files(info: &MemoryInfo) -> Option<u64> {
    /// Pages on their way to a list: up to 31 for each CPU, more on big machines.
    const ON_THE_WAY: u64 = 8 << 20;
    let files = info.buffers?.saturating_add(info.cached?).saturating_sub(info.shmem?);
    let listed = info.active_file?.saturating_add(info.inactive_file?);
    Some(files.saturating_sub(listed)).filter(|&locked| locked > ON_THE_WAY)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        collect::proc::{MemoryMount, Segments},
        model::Memory,
    };

    const MIB: u64 = 1 << 20;

    fn process(footprint: u64, file: u64, shmem: u64) -> Process {
        let memory = Memory {
            pss_bytes: Some(footprint + file),
            file_bytes: Some(file),
            shmem_bytes: Some(shmem),
            ..Memory::default()
        };
        Process { memory, ..Process::named(1, "x") }
    }

    /// 1000 MiB, of which 400 are free, 200 are page cache and 20 can be given back of the slab.
    fn machine() -> Machine {
        let memory = MemoryInfo {
            total: Some(1000 * MIB),
            free: Some(400 * MIB),
            available: Some(600 * MIB),
            buffers: Some(0),
            cached: Some(300 * MIB),
            active_file: Some(150 * MIB),
            inactive_file: Some(50 * MIB),
            anon: Some(180 * MIB),
            shmem: Some(100 * MIB),
            reclaimable: Some(20 * MIB),
            slab_unreclaimable: Some(30 * MIB),
            kernel_stacks: Some(4 * MIB),
            vmalloc: Some(10 * MIB),
            page_tables: Some(6 * MIB),
            ..MemoryInfo::default()
        };
        Machine { memory, ..Machine::default() }
    }

    fn bytes(memory: &MachineMemory, kind: PartKind) -> u64 {
        memory.parts.iter().filter(|part| part.kind == kind).map(|part| part.bytes).sum()
    }

    #[test]
    fn the_parts_add_up_to_what_is_used() {
        // Files that processes map are page cache, and not in use.
        let memory = of(&machine(), &[process(200 * MIB, 70 * MIB, 20 * MIB)]);
        assert_eq!((memory.used_bytes, memory.processes_bytes), (Some(400 * MIB), Some(200 * MIB)));
        assert_eq!(memory.unattributed_bytes, Some(0));
        let expected = [
            (PartKind::SharedMemory, 80),
            (PartKind::Slab, 30),
            (PartKind::KernelStacks, 4),
            (PartKind::Vmalloc, 6),
            (PartKind::PageTables, 6),
            (PartKind::Reserve, 20 + 200 + 400 - 600),
            (PartKind::OtherKernel, 54),
            (PartKind::PageCache, 200),
            (PartKind::SlabReclaimable, 20),
        ];
        for (kind, mebibytes) in expected {
            assert_eq!(bytes(&memory, kind), mebibytes * MIB, "{kind:?}");
        }
        assert_eq!(memory.cache_bytes(), 220 * MIB);
    }

    #[test]
    fn shared_memory_that_processes_map_counts_once() {
        let mut machine = machine();
        let mount = |point: &str, used: u64| MemoryMount {
            point: Arc::from(point),
            used_bytes: Some(used * MIB),
            limit_bytes: Some(500 * MIB),
        };
        machine.mounts = vec![mount("/tmp", 5), mount("/dev/shm", 60)];
        machine.segments = Some(Segments { count: 2, resident_bytes: 30 * MIB });
        // 100 MiB are shared in all; processes map 50 of them.
        let memory = of(&machine, &[process(230 * MIB, 0, 50 * MIB)]);
        let of_mount = |point: &str| memory.parts.iter().find(|part| part.mount.as_deref() == Some(point)).unwrap();
        assert_eq!((bytes(&memory, PartKind::SystemV), bytes(&memory, PartKind::SharedMemory)), (0, 0));
        assert_eq!((of_mount("/dev/shm").bytes, of_mount("/dev/shm").size_bytes), (45 * MIB, Some(60 * MIB)));
        assert_eq!((of_mount("/tmp").bytes, memory.unattributed_bytes), (5 * MIB, Some(0)));
    }

    #[test]
    fn what_does_not_add_up_is_said_with_its_sign() {
        let with = |footprint| of(&machine(), &[process(footprint * MIB, 0, 0)]).unattributed_bytes;
        assert_eq!((with(180), with(100), with(200)), (Some(0), Some(80 << 20), Some(-(20 << 20))));
    }

    #[test]
    fn what_is_unknown_is_left_out_and_no_part_is_invented() {
        let memory = of(&Machine::default(), &[]);
        assert_eq!((memory.used_bytes, memory.unattributed_bytes, memory.parts.len()), (None, None, 0));
        let old = MemoryInfo { available: None, anon: None, ..machine().memory };
        let memory = of(&Machine { memory: old, ..Machine::default() }, &[process(MIB, 0, 0)]);
        assert_eq!((memory.used_bytes, memory.unattributed_bytes), (None, None));
        assert_eq!((bytes(&memory, PartKind::OtherKernel), bytes(&memory, PartKind::Slab)), (0, 30 * MIB));
        let unknown = Process { memory: Memory::default(), ..process(0, 0, 0) };
        assert_eq!(of(&machine(), &[unknown]).unattributed_bytes, None);
    }
}
