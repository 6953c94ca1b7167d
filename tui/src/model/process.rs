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
    /// Resident pages that other processes map, too: RSS without USS.
    #[serde(default)]
    pub shared_bytes: Option<u64>,
    /// Pages of files in `pss_bytes`, or in `rss_bytes` where PSS is unknown. They are page cache, which is given back when memory
    /// is needed. `None` where the kernel does not tell them apart.
    #[serde(default)]
    pub file_bytes: Option<u64>,
    /// Shared memory in `pss_bytes`, or in `rss_bytes` where PSS is unknown: opcache, tmpfs, System V.
    #[serde(default)]
    pub shmem_bytes: Option<u64>,
    /// Swapped-out pages.
    pub swap_bytes: Option<u64>,
    /// Swapped-out pages, where one that several processes have is divided among them. A sum counts each page once, as far as this is
    /// known of the processes.
    #[serde(default)]
    pub swap_pss_bytes: Option<u64>,
    /// Age of `pss_bytes`, `uss_bytes` and `shared_bytes`.
    pub pss_age_ms: Option<u64>,
}

impl Memory {
    /// Nothing at all: the sum over no process.
    pub const ZERO: Self = Self {
        rss_bytes: Some(0),
        pss_bytes: Some(0),
        uss_bytes: Some(0),
        shared_bytes: Some(0),
        file_bytes: Some(0),
        shmem_bytes: Some(0),
        swap_bytes: Some(0),
        swap_pss_bytes: Some(0),
        pss_age_ms: None,
    };

    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        rss_bytes: None,
        pss_bytes: None,
        uss_bytes: None,
        shared_bytes: None,
        file_bytes: None,
        shmem_bytes: None,
        swap_bytes: None,
        swap_pss_bytes: None,
        pss_age_ms: None,
    };

    /// What a process takes of the memory that is in use, as well as it is known: PSS, else RSS, without pages of files, which
    /// are page cache.
    pub fn footprint_bytes(&self) -> Option<u64> {
        let bytes = self.pss_bytes.or(self.rss_bytes)?;
        Some(bytes.saturating_sub(self.file_bytes.unwrap_or(0)))
    }

    /// What is swapped out, each page counted once where that is known.
    pub fn swapped_bytes(&self) -> Option<u64> {
        self.swap_pss_bytes.or(self.swap_bytes)
    }

    /// Adds another process's memory. A sum with an unknown part is unknown; the age is that of the oldest part.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        self.rss_bytes = sum(self.rss_bytes, other.rss_bytes);
        self.pss_bytes = sum(self.pss_bytes, other.pss_bytes);
        self.uss_bytes = sum(self.uss_bytes, other.uss_bytes);
        self.shared_bytes = sum(self.shared_bytes, other.shared_bytes);
        self.file_bytes = sum(self.file_bytes, other.file_bytes);
        self.shmem_bytes = sum(self.shmem_bytes, other.shmem_bytes);
        self.swap_bytes = sum(self.swap_bytes, other.swap_bytes);
        // Where it is not known what of it is shared, all of it counts.
        self.swap_pss_bytes = sum(self.swap_pss_bytes, other.swapped_bytes());
        self.pss_age_ms = self.pss_age_ms.max(other.pss_age_ms);
    }
}

/// What is read from and written to disks, in bytes per second. Page cache that is hit counts as neither; what is written counts
/// when it is put into the page cache. `None` where the kernel does not say, and until two readings exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskRates {
    /// Read from disks.
    pub read_bytes_per_s: Option<f64>,
    /// Written, counted when it is put into the page cache.
    pub written_bytes_per_s: Option<f64>,
}

impl DiskRates {
    /// Both together; `None` where neither is known.
    pub fn sum(&self) -> Option<f64> {
        match (self.read_bytes_per_s, self.written_bytes_per_s) {
            (None, None) => None,
            (read, written) => Some(read.unwrap_or(0.0) + written.unwrap_or(0.0)),
        }
    }

    /// Adds what is known of another.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.read_bytes_per_s, other.read_bytes_per_s),
            (&mut self.written_bytes_per_s, other.written_bytes_per_s),
        ] {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0.0) + more);
            }
        }
    }
}

/// The least and the most of some memory over an interval that was made of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryRange {
    /// The least.
    pub min_bytes: u64,
    /// The most.
    pub max_bytes: u64,
}

impl MemoryRange {
    /// Of one reading.
    pub fn of(bytes: u64) -> Self {
        Self { min_bytes: bytes, max_bytes: bytes }
    }

    /// With what another one has.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { min_bytes: self.min_bytes.min(other.min_bytes), max_bytes: self.max_bytes.max(other.max_bytes) }
    }
}

/// Name and rule of the group of processes that find no room in a group of their own.
pub(crate) const MORE_GROUPS: (&str, &str) = ("more groups", "limit");

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
    /// What its processes read from and write to disks: sums of what is known.
    #[serde(default)]
    pub disk: DiskRates,
    /// What the group takes of the memory that is in use, as well as it is known: the sum of PSS, and of RSS for processes
    /// whose PSS is unknown, without pages of files. It is the area of its tile.
    #[serde(default)]
    pub footprint_bytes: Option<u64>,
    /// The least and the most of `footprint_bytes` in a snapshot that was made of several; absent in others, and where one of
    /// them did not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint_range: Option<MemoryRange>,
    /// How many of its processes have a known PSS.
    #[serde(default)]
    pub pss_processes: u32,
    /// Processes that started in the interval, with those that ended in it again; `None` where that is not known.
    #[serde(default)]
    pub started: Option<u32>,
    /// Processes that ended in the interval. They are not among `processes`, but in `cpu_ratio`. `None` where they are not
    /// seen.
    #[serde(default)]
    pub ended: Option<u32>,
    /// Index into [`super::Snapshot::cgroups`] of the one that all of its processes are in; `None` when there is none.
    #[serde(default)]
    pub cgroup: Option<usize>,
}

impl Group {
    /// A group without processes.
    pub fn empty(name: Arc<str>, rule: Arc<str>) -> Self {
        Self {
            name,
            rule,
            processes: 0,
            threads: 0,
            cpu_ratio: None,
            memory: Memory::ZERO,
            disk: DiskRates::default(),
            footprint_bytes: Some(0),
            footprint_range: None,
            pss_processes: 0,
            started: None,
            ended: None,
            cgroup: None,
        }
    }

    /// Key of the order of groups: biggest memory first, then by name.
    pub fn order(&self) -> (std::cmp::Reverse<u64>, &Arc<str>) {
        let known = |bytes: Option<u64>| bytes.unwrap_or(0);
        (std::cmp::Reverse(known(self.footprint_bytes).saturating_add(known(self.memory.swapped_bytes()))), &self.name)
    }

    /// Adds a process to all sums.
    pub fn add(&mut self, process: &Process) {
        self.cgroup = process.cgroup.filter(|_| self.processes == 0 || self.cgroup == process.cgroup);
        self.processes += 1;
        self.threads = self.threads.saturating_add(process.threads);
        if let Some(ratio) = process.cpu_ratio {
            self.cpu_ratio = Some(self.cpu_ratio.unwrap_or(0.0) + ratio);
        }
        self.memory.add(&process.memory);
        self.disk.add(&process.disk);
        let footprint = self.footprint_bytes.zip(process.memory.footprint_bytes());
        self.footprint_bytes = footprint.map(|(sum, bytes)| sum.saturating_add(bytes));
        self.pss_processes += u32::from(process.memory.pss_bytes.is_some());
    }

    /// Adds the sums of another group.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.processes > 0 {
            self.cgroup = other.cgroup.filter(|_| self.processes == 0 || self.cgroup == other.cgroup);
        }
        self.processes = self.processes.saturating_add(other.processes);
        self.threads = self.threads.saturating_add(other.threads);
        if let Some(ratio) = other.cpu_ratio {
            self.cpu_ratio = Some(self.cpu_ratio.unwrap_or(0.0) + ratio);
        }
        self.memory.add(&other.memory);
        self.disk.add(&other.disk);
        let footprint = self.footprint_bytes.zip(other.footprint_bytes);
        self.footprint_bytes = footprint.map(|(sum, bytes)| sum.saturating_add(bytes));
        self.pss_processes = self.pss_processes.saturating_add(other.pss_processes);
        let sum = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        self.started = sum(self.started, other.started);
        self.ended = sum(self.ended, other.ended);
    }
}

/// Why the PSS of a process is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PssUnknown {
    /// Its turn has not come: reading it has a budget.
    Waiting,
    /// Reading it would hold up the process for longer than is allowed.
    #[serde(alias = "too_dear")]
    TooExpensive,
    /// The kernel does not permit it: another user's process, and no CAP_SYS_PTRACE.
    Refused,
    /// The kernel has no `smaps_rollup`, or none for this process.
    Unsupported,
    /// The process did not answer in time when it was read, so it is left alone.
    NotAnswering,
    /// PSS is not read at all.
    Off,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
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
    /// Start time in clock ticks after boot, field 22 of /proc/PID/stat: with the pid it identifies the process, also when
    /// the clock is set. `None` in snapshots that do not have it.
    #[serde(default)]
    pub start_ticks: Option<u64>,
    /// Kernel's name of the process (15 bytes at most), bytes that are not UTF-8 replaced.
    pub comm: Arc<str>,
    /// Command line, arguments joined by a space, cut at a bound; empty for kernel threads.
    pub cmdline: Arc<str>,
    /// Name of the effective user, or the number where it has no name.
    pub user: Arc<str>,
    /// Index into [`super::Snapshot::groups`].
    pub group: usize,
    /// php-fpm pool of a worker; `None` elsewhere, and in snapshots that do not have it.
    #[serde(default)]
    pub pool: Option<Arc<str>>,
    /// State letter of /proc/PID/stat.
    pub state: char,
    /// Number of threads.
    pub threads: u32,
    /// CPU in cores (1.0 is one core); `None` until two readings exist.
    pub cpu_ratio: Option<f64>,
    /// Memory of the process.
    pub memory: Memory,
    /// What it reads from and writes to disks.
    #[serde(default)]
    pub disk: DiskRates,
    /// Why `memory.pss_bytes` is unknown; `None` where it is known.
    #[serde(default)]
    pub pss_unknown: Option<PssUnknown>,
    /// systemd unit, where there is one.
    pub unit: Option<Arc<str>>,
    /// Container id, where there is one.
    pub container: Option<Arc<str>>,
    /// Index into [`super::Snapshot::cgroups`]; `None` in the root and where it is not known.
    #[serde(default)]
    pub cgroup: Option<usize>,
}

#[cfg(test)]
impl Process {
    /// One of which nothing else is known.
    pub(crate) fn named(pid: u32, comm: &str) -> Self {
        Self {
            pid,
            ppid: 1,
            started_at: None,
            start_ticks: None,
            comm: comm.into(),
            cmdline: comm.into(),
            user: "root".into(),
            group: 0,
            pool: None,
            state: 'S',
            threads: 1,
            cpu_ratio: None,
            memory: Memory::UNKNOWN,
            disk: DiskRates::default(),
            pss_unknown: None,
            unit: None,
            container: None,
            cgroup: None,
        }
    }
}

/// The php-fpm pool that a worker's title names: php-fpm calls it `php-fpm: pool NAME`, filled up with NULs or spaces. It is
/// for the collectors that read a title; everything else has the pool as a field.
pub fn pool_of_title(title: &str) -> Option<&str> {
    let name = title.strip_prefix("php-fpm: pool ")?.trim_matches(['\0', ' ']);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_from_the_title_of_a_worker_only() {
        assert_eq!(pool_of_title("php-fpm: pool www\0\0\0"), Some("www"));
        assert_eq!(pool_of_title("php-fpm: pool www  "), Some("www"));
        assert_eq!(pool_of_title("php-fpm: master process (/etc/php/fpm.conf)"), None);
        assert_eq!(pool_of_title("php-fpm: pool "), None);
    }
}
