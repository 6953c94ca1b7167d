//! Control groups and the memory that the kernel charges them for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A control group that processes are in, and its memory. The root is none: it has no usage and no limit of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Path in its hierarchy, as in /proc/PID/cgroup.
    pub path: Arc<str>,
    /// 2, or 1 where the memory controller is on a hierarchy of its own.
    pub version: u8,
    /// Memory charged to it and to those below it, page cache and kernel memory included: `memory.current`, in version 1
    /// `memory.usage_in_bytes`. `None` when it could not be read.
    pub memory_current_bytes: Option<u64>,
    /// The lowest limit of it and of those above it: `memory.max` or `memory.high`, in version 1 `memory.limit_in_bytes`. `None`
    /// when there is no limit, or when it is not known.
    pub memory_max_bytes: Option<u64>,
    /// What may still be charged before the limit is reached, wherever above that is set: the limit less what is used there,
    /// page cache that was not used lately not counted (`inactive_file`), since that is given back first. `None` when there is
    /// no limit, or when it is not known.
    #[serde(default)]
    pub memory_available_bytes: Option<u64>,
    /// How much more of what counts against the limit was used each minute lately; `None` without a limit, before a minute was seen, or
    /// when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_bytes_per_minute: Option<i64>,
    /// It is known that there is no limit.
    #[serde(default)]
    pub unlimited: bool,
    /// The limit is `memory.high`: what is above it is slowed down and its memory reclaimed, and nothing is killed.
    #[serde(default)]
    pub limit_is_high: bool,
    /// What its memory is; `None` when it could not be read.
    #[serde(default)]
    pub parts: Option<CgroupParts>,
    /// How often something happened at its limits since it was made; `None` when it could not be read.
    #[serde(default)]
    pub events: Option<CgroupEvents>,
}

/// What the memory of a control group is, from `memory.stat`, with that of the groups below it. Each is `None` where the kernel does
/// not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupParts {
    /// Memory of processes that has no file: `anon`, in version 1 `total_rss`.
    pub anon_bytes: Option<u64>,
    /// Page cache: `file` less `shmem`, in version 1 `total_cache` less `total_shmem`. It is given back when memory is needed.
    pub file_bytes: Option<u64>,
    /// tmpfs and other shared memory: `shmem`, in version 1 `total_shmem`.
    pub shmem_bytes: Option<u64>,
    /// Objects of the kernel that cannot be given back: `slab_unreclaimable`. In version 1 all objects of the group itself, by
    /// `memory.kmem.slabinfo`, which is empty since Linux 5.9.
    pub slab_bytes: Option<u64>,
    /// Buffers of sockets: `sock`, in version 1 `memory.kmem.tcp.usage_in_bytes`.
    pub sock_bytes: Option<u64>,
    /// All of the kernel's memory for it: `kernel` (since Linux 5.18), in version 1 `memory.kmem.usage_in_bytes`.
    pub kernel_bytes: Option<u64>,
    /// What is swapped out: in version 1 `total_swap`, in version 2 `memory.swap.current`.
    pub swap_bytes: Option<u64>,
}

/// Events of `memory.events`; in version 1 `memory.failcnt` and `memory.oom_control`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupEvents {
    /// Times that it was above `memory.high` and slowed down.
    pub high: Option<u64>,
    /// Times that it reached its limit.
    pub max: Option<u64>,
    /// Times that nothing could be reclaimed at the limit.
    pub oom: Option<u64>,
    /// Processes of it that the kernel killed.
    pub oom_kill: Option<u64>,
}

/// What most of the memory of a control group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMost {
    /// Memory of its processes, which only they can give back.
    Processes,
    /// Page cache, which is given back when memory is needed.
    Cache,
    /// tmpfs and shared memory, which stay until they are deleted.
    Shared,
    /// Memory of the kernel for it.
    Kernel,
}

impl Cgroup {
    /// Share of the limit that cannot be charged any more; `None` without a limit or when that is unknown.
    pub fn used_ratio(&self) -> Option<f64> {
        let limit = self.memory_max_bytes.filter(|&limit| limit > 0)?;
        Some(1.0 - self.memory_available_bytes? as f64 / limit as f64)
    }

    /// What most of its memory is; `None` where its parts are not known.
    pub fn most(&self) -> Option<CgroupMost> {
        let parts = self.parts?;
        let known = [
            (parts.anon_bytes, CgroupMost::Processes),
            (parts.file_bytes, CgroupMost::Cache),
            (parts.shmem_bytes, CgroupMost::Shared),
            (parts.kernel_bytes, CgroupMost::Kernel),
        ];
        let most = known.into_iter().filter_map(|(bytes, what)| Some((bytes?, what))).max_by_key(|(bytes, _)| *bytes);
        most.filter(|(bytes, _)| *bytes > 0).map(|(_, what)| what)
    }
}
