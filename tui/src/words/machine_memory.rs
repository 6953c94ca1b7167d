//! What the parts of the machine's memory are called, what they are, and what they add up to in one line.

use super::units;
use crate::model::{MachineMemory, MemoryPart, PartKind};

/// What is used and found nowhere.
pub(crate) const UNATTRIBUTED: &str = "not accounted for";
/// The memory that processes of a group share.
pub(crate) const SHARED: &str = "shared by its processes";
/// Share of what is used from which on a difference is worth a word.
const WORTH_A_WORD: f64 = 0.03;

/// The name of a part: where a file system is mounted, or what it is.
pub(crate) fn name(part: &MemoryPart) -> &str {
    part.mount.as_deref().unwrap_or_else(|| kind(part.kind))
}

/// The name of a kind of memory.
pub(crate) fn kind(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Tmpfs => "tmpfs",
        PartKind::SystemV => "System V segments",
        PartKind::SharedMemory => "other shared memory",
        PartKind::HugePages => "huge pages in use",
        PartKind::HugePagesFree => "huge pages, unused",
        PartKind::Slab => "slab",
        PartKind::PageTables => "page tables",
        PartKind::KernelStacks => "kernel stacks",
        PartKind::Vmalloc => "vmalloc",
        PartKind::PerCpu => "per-CPU data",
        PartKind::Sockets => "socket buffers",
        PartKind::Zram => "zram",
        PartKind::Zswap => "zswap",
        PartKind::SwapCache => "swap cache",
        PartKind::LockedFiles => "locked files, ramfs",
        PartKind::Reserve => "kept free by the kernel",
        PartKind::CpuFree => "free pages held by CPUs",
        PartKind::OtherKernel => "other kernel memory",
        PartKind::PageCache => "page cache",
        PartKind::SlabReclaimable => "slab, can be given back",
        PartKind::Other => "other",
    }
}

/// What a kind of memory is, and what to do about it.
pub(crate) fn about(kind: PartKind) -> &'static [&'static str] {
    match kind {
        PartKind::Tmpfs => &[
            "files in memory: they stay until they are deleted",
            "what processes map of them counts there and not here",
        ],
        PartKind::SystemV => &["shared memory of shmget(2); ipcs -m lists it, ipcrm removes it"],
        PartKind::SharedMemory => &[
            "shared memory that no process maps and no mount shows: a tmpfs without a limit or behind a network file system,",
            "one of a namespace that was not looked at yet or does not answer, or a descriptor of memfd_create",
        ],
        PartKind::HugePages => &["pages of hugetlbfs in use; neither RSS nor PSS counts them"],
        PartKind::HugePagesFree => &["set aside by vm.nr_hugepages; nothing else can use them"],
        PartKind::Slab => &["objects of the kernel that it cannot give back: open files, sockets, tasks, cgroups"],
        PartKind::PageTables => &["tables of the memory of all processes; many processes that map much need much"],
        PartKind::KernelStacks => &["16 KiB for each thread"],
        PartKind::Vmalloc => &["modules, BPF maps, big buffers of the kernel; /proc/vmallocinfo lists them"],
        PartKind::PerCpu => &["counters and caches that exist once for each CPU; many cgroups need much"],
        PartKind::Sockets => &["data in TCP and UDP sockets that was not read or not acknowledged"],
        PartKind::Zram => &["what compressed swap in memory takes"],
        PartKind::Zswap => &["the compressed cache in front of swap"],
        PartKind::SwapCache => &["pages that are in memory and in swap, and that no process maps now"],
        PartKind::LockedFiles => &["files that mlock(2) keeps in memory, and all of ramfs"],
        PartKind::Reserve => &[
            "free memory and cache that the kernel does not count as available:",
            "its watermarks (vm.min_free_kbytes) and reserves",
        ],
        PartKind::CpuFree => &[
            "free pages in lists of the CPUs, many after a big process has ended; they come back when memory is needed,",
            "but the kernel counts them neither as free nor as available",
        ],
        PartKind::OtherKernel => {
            &["pages of drivers, of the network and of other parts without a counter of their own"]
        }
        PartKind::PageCache => {
            &["files that were read or written; given back when memory is needed, so it is not used memory"]
        }
        PartKind::SlabReclaimable => {
            &["names and inodes of files; given back when memory is needed, so it is not used memory"]
        }
        PartKind::Other => &[],
    }
}

/// `used 1.9 GiB = processes 320 MiB + tmpfs and shared memory 1.5 GiB + kernel 112 MiB`; empty where nothing is known.
pub(crate) fn sum(memory: &MachineMemory) -> String {
    let (Some(used), Some(processes)) = (memory.used_bytes, memory.processes_bytes) else { return String::new() };
    let total = |wanted: &dyn Fn(PartKind) -> bool| -> u64 {
        memory.used_parts().filter(|part| wanted(part.kind)).map(|part| part.bytes).fold(0, u64::saturating_add)
    };
    let huge = |kind| matches!(kind, PartKind::HugePages | PartKind::HugePagesFree);
    let swap = |kind| matches!(kind, PartKind::Zram | PartKind::Zswap | PartKind::SwapCache);
    let kept = |kind| matches!(kind, PartKind::Reserve | PartKind::CpuFree);
    let apart = |kind: PartKind| kind.is_shared() || huge(kind) || swap(kind) || kept(kind);
    let parts = [
        ("processes", processes),
        ("tmpfs and shared memory", total(&PartKind::is_shared)),
        ("huge pages", total(&huge)),
        ("swap in memory", total(&swap)),
        ("kernel", total(&|kind| !apart(kind))),
        ("kept free", total(&kept)),
    ];
    let parts = parts.into_iter().filter(|(name, bytes)| *bytes > 0 || *name == "processes");
    let parts: Vec<String> = parts.map(|(name, bytes)| format!("{name} {}", units::bytes(bytes))).collect();
    let rest = match memory.unattributed_bytes.unwrap_or(0) {
        0 => String::new(),
        rest if rest > 0 => format!(" + {UNATTRIBUTED} {}", units::bytes(rest.unsigned_abs())),
        rest => format!(" - counted twice {}", units::bytes(rest.unsigned_abs())),
    };
    format!("used {} = {}{rest}", units::bytes(used), parts.join(" + "))
}

/// What was found beyond what is used, where that is worth a word.
pub(crate) fn counted_twice(memory: &MachineMemory) -> Option<u64> {
    let twice = memory.unattributed_bytes.filter(|&rest| rest < 0)?.unsigned_abs();
    (twice as f64 > memory.used_bytes? as f64 * WORTH_A_WORD).then_some(twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: PartKind, mebibytes: u64) -> MemoryPart {
        MemoryPart { kind, mount: None, bytes: mebibytes << 20, size_bytes: None, limit_bytes: None, count: None }
    }

    #[test]
    fn the_line_has_all_that_is_used_and_no_cache() {
        let parts = vec![
            part(PartKind::Tmpfs, 600),
            part(PartKind::SystemV, 40),
            part(PartKind::Slab, 30),
            part(PartKind::PageTables, 10),
            part(PartKind::Reserve, 64),
            part(PartKind::HugePagesFree, 4),
            part(PartKind::PageCache, 5000),
        ];
        let mut memory = MachineMemory {
            used_bytes: Some(1000 << 20),
            processes_bytes: Some(252 << 20),
            parts,
            unattributed_bytes: Some(0),
        };
        let text = "used 1000 MiB = processes 252 MiB + tmpfs and shared memory 640 MiB + huge pages 4.0 MiB + kernel 40 MiB + \
                    kept free 64 MiB";
        assert_eq!((sum(&memory), counted_twice(&memory)), (text.to_owned(), None));
        memory.unattributed_bytes = Some(7 << 20);
        assert!(sum(&memory).ends_with("+ not accounted for 7.0 MiB"));
        memory.unattributed_bytes = Some(-(40 << 20));
        assert!(sum(&memory).ends_with("- counted twice 40 MiB"));
        assert_eq!(counted_twice(&memory), Some(40 << 20));
        memory.used_bytes = None;
        assert_eq!(sum(&memory), "");
    }
}
