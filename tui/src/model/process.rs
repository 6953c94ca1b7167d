//! Process groups and processes as the snapshot holds them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Memory of a process or the sum over a group, named as in /proc/PID/smaps_rollup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident set size: counts shared pages in every process that maps them.
    pub rss_bytes: Option<u64>,
    /// Proportional set size: a shared page is divided among those that map it.
    pub pss_bytes: Option<u64>,
    /// Unique set size: pages that no other process maps.
    pub uss_bytes: Option<u64>,
    /// Swapped-out pages.
    pub swap_bytes: Option<u64>,
    /// Age of `pss_bytes` and `uss_bytes`.
    pub pss_age_ms: Option<u64>,
}

impl Memory {
    /// Nothing at all: the sum over no process.
    pub const ZERO: Self =
        Self { rss_bytes: Some(0), pss_bytes: Some(0), uss_bytes: Some(0), swap_bytes: Some(0), pss_age_ms: None };

    /// Adds another process's memory. A sum with an unknown part is unknown; the age is that of the oldest part.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        self.rss_bytes = sum(self.rss_bytes, other.rss_bytes);
        self.pss_bytes = sum(self.pss_bytes, other.pss_bytes);
        self.uss_bytes = sum(self.uss_bytes, other.uss_bytes);
        self.swap_bytes = sum(self.swap_bytes, other.swap_bytes);
        self.pss_age_ms = self.pss_age_ms.max(other.pss_age_ms);
    }
}

/// Processes that belong together: a PHP pool, a daemon, a unit, a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name, unique in the snapshot, such as `php-fpm: www`.
    pub name: Arc<str>,
    /// Name of the rule that put the processes here, such as `php pool`.
    pub rule: Arc<str>,
    /// Number of processes.
    pub processes: u32,
    /// Number of threads.
    pub threads: u32,
    /// CPU of the group in cores (1.0 is one core); `None` until two readings exist.
    pub cpu_ratio: Option<f64>,
    /// Memory of the group: sums over its processes.
    pub memory: Memory,
}

impl Group {
    /// A group without processes.
    pub fn empty(name: Arc<str>, rule: Arc<str>) -> Self {
        Self { name, rule, processes: 0, threads: 0, cpu_ratio: None, memory: Memory::ZERO }
    }

    /// Key of the order of groups: biggest memory first, then by name.
    pub fn order(&self) -> (std::cmp::Reverse<u64>, &Arc<str>) {
        let known = |bytes: Option<u64>| bytes.unwrap_or(0);
        (std::cmp::Reverse(known(self.memory.rss_bytes).saturating_add(known(self.memory.swap_bytes))), &self.name)
    }

    /// Adds a process to all sums.
    pub fn add(&mut self, process: &Process) {
        self.processes += 1;
        self.threads = self.threads.saturating_add(process.threads);
        if let Some(ratio) = process.cpu_ratio {
            self.cpu_ratio = Some(self.cpu_ratio.unwrap_or(0.0) + ratio);
        }
        self.memory.add(&process.memory);
    }
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id (thread group id).
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// Start time; `None` when it could not be read.
    pub started_at: Option<Timestamp>,
    /// Kernel's name of the process (15 bytes at most), bytes that are not UTF-8 replaced.
    pub comm: Arc<str>,
    /// Command line, arguments joined by a space, cut at a bound; empty for kernel threads.
    pub cmdline: Arc<str>,
    /// Name of the effective user, or the number where it has no name.
    pub user: Arc<str>,
    /// Index into [`super::Snapshot::groups`].
    pub group: usize,
    /// State letter of /proc/PID/stat.
    pub state: char,
    /// Number of threads.
    pub threads: u32,
    /// CPU in cores (1.0 is one core); `None` until two readings exist.
    pub cpu_ratio: Option<f64>,
    /// Memory of the process.
    pub memory: Memory,
    /// systemd unit, where there is one.
    pub unit: Option<Arc<str>>,
    /// Container id, where there is one.
    pub container: Option<Arc<str>>,
}

/// The php-fpm pool that a worker's title names: php-fpm calls it `php-fpm: pool NAME`.
pub fn pool(cmdline: &str) -> Option<&str> {
    cmdline.strip_prefix("php-fpm: pool ").map(str::trim).filter(|pool| !pool.is_empty())
}
