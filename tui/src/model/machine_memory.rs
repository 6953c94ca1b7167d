//! Where the machine's memory is: in processes, and in what no process holds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The memory of the machine, which adds up: `used_bytes` is the sum of `processes_bytes`, of all `parts` that are in use, and of
/// `unattributed_bytes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineMemory {
    /// Memory that is not available: `MemTotal` less `MemAvailable`. `None` where the kernel does not say.
    pub used_bytes: Option<u64>,
    /// Sum of the footprints of all processes.
    pub processes_bytes: Option<u64>,
    /// What no process holds, biggest first. Those that are given back when memory is needed are not in use, see
    /// [`PartKind::is_given_back`].
    pub parts: Vec<MemoryPart>,
    /// What is used and found nowhere; negative where more was found than is used, because parts were read at different times or
    /// count twice. `None` where it is not known what is used, or what processes take.
    pub unattributed_bytes: Option<i64>,
}

/// Memory that no process holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPart {
    /// What it is.
    pub kind: PartKind,
    /// Where a file system is mounted; `None` for the others.
    #[serde(default)]
    pub mount: Option<Arc<str>>,
    /// What it takes, without what is counted in processes.
    pub bytes: u64,
    /// What its files or segments take in all, in memory or in swap, also where processes map them.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// The most that it may take.
    #[serde(default)]
    pub limit_bytes: Option<u64>,
    /// Number of segments.
    #[serde(default)]
    pub count: Option<u32>,
}

/// What a part of memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Files of a file system in memory.
    Tmpfs,
    /// System V segments.
    SystemV,
    /// Shared memory that no process, no mount that is seen and no segment accounts for.
    SharedMemory,
    /// Pages of hugetlbfs that are in use.
    HugePages,
    /// Pages of hugetlbfs that are set aside and that nothing uses.
    HugePagesFree,
    /// The kernel's own objects that it cannot give back.
    Slab,
    /// Page tables.
    PageTables,
    /// Stacks of the kernel, one for each thread.
    KernelStacks,
    /// Memory of `vmalloc`, without stacks.
    Vmalloc,
    /// Data that exists once for each CPU.
    PerCpu,
    /// Buffers of sockets outside of the slab.
    Sockets,
    /// What zram takes for what is swapped out to it.
    Zram,
    /// What zswap takes.
    Zswap,
    /// Pages that were read back from swap and that no process maps.
    SwapCache,
    /// Files that are locked in memory, and those of ramfs.
    LockedFiles,
    /// What the kernel keeps free or would not give back of caches: watermarks and reserves.
    Reserve,
    /// Free pages that CPUs keep in lists of their own: the kernel counts them neither as free nor as available.
    CpuFree,
    /// All other memory of the kernel: drivers, network, tables of pages.
    OtherKernel,
    /// Page cache that is given back when memory is needed.
    PageCache,
    /// Objects of the kernel that are given back when memory is needed, such as names and inodes of files.
    SlabReclaimable,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

impl PartKind {
    /// Whether it is given back when memory is needed, so that it is not in use.
    pub fn is_given_back(self) -> bool {
        matches!(self, Self::PageCache | Self::SlabReclaimable)
    }

    /// Whether it is shared memory: files and segments that programs made.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Tmpfs | Self::SystemV | Self::SharedMemory)
    }
}

impl MachineMemory {
    /// The parts that are in use.
    pub fn used_parts(&self) -> impl Iterator<Item = &MemoryPart> {
        self.parts.iter().filter(|part| !part.kind.is_given_back())
    }

    /// What is given back when memory is needed.
    pub fn cache_bytes(&self) -> u64 {
        let parts = self.parts.iter().filter(|part| part.kind.is_given_back());
        parts.map(|part| part.bytes).fold(0, u64::saturating_add)
    }
}
