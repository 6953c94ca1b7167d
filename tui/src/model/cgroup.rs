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
    /// The lowest limit of it and of those above it: `memory.max`, in version 1 `memory.limit_in_bytes`. `None` when there
    /// is no limit, or when it is not known.
    pub memory_max_bytes: Option<u64>,
    /// What may still be charged before the limit is reached, wherever above that is set: the limit less what is used there,
    /// page cache that was not used lately not counted (`inactive_file`), since that is given back first. `None` when there is
    /// no limit, or when it is not known.
    #[serde(default)]
    pub memory_available_bytes: Option<u64>,
    /// It is known that there is no limit.
    #[serde(default)]
    pub unlimited: bool,
}

impl Cgroup {
    /// Share of the limit that cannot be charged any more; `None` without a limit or when that is unknown.
    pub fn used_ratio(&self) -> Option<f64> {
        let limit = self.memory_max_bytes.filter(|&limit| limit > 0)?;
        Some(1.0 - self.memory_available_bytes? as f64 / limit as f64)
    }
}
