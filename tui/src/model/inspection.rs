//! What the inspection of one process finds: memory by kind of mapping, limits, open files. It is read on demand and kept
//! beside the snapshot, never in it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ProcessKey;

/// Which process is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InspectionOrder {
    /// The process.
    pub process: ProcessKey,
    /// How often its mappings were asked for at any price; each time reads them once.
    pub asked: u32,
}

/// Why something is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// The kernel does not permit it.
    Refused,
    /// There is no such file, or nothing in it: an older kernel, a kernel thread.
    Absent,
    /// The process ended before it was read.
    Ended,
    /// It is not what the kernel documents.
    Malformed,
    /// Reading it would hold the process up for longer than is done unasked; the time that it takes, as far as known.
    #[serde(rename = "too_expensive_ns", with = "nanoseconds")]
    TooExpensive(Duration),
    /// The kernel could not; its error number.
    Failed(i32),
    /// It is outside of what can be seen from the namespaces that we are in.
    Elsewhere,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// A span of time as a number of nanoseconds, which its name says.
mod nanoseconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

/// A value (`Ok` in JSON), or why it is not known (`Err`).
pub type Reading<T> = Result<T, Unread>;

/// A close look at one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// Which process; its start time is as it was read.
    pub process: ProcessKey,
    /// Kernel's name of the process; empty where it could not be read.
    pub comm: Arc<str>,
    /// When it was read.
    pub at: Timestamp,
    /// When its mappings were read.
    pub mappings_at: Timestamp,
    /// How long reading the mappings took, during which the process may have had to wait.
    #[serde(rename = "mappings_cost_ns", with = "nanoseconds")]
    pub mappings_cost: Duration,
    /// How long reading the rest took.
    #[serde(rename = "cost_ns", with = "nanoseconds")]
    pub cost: Duration,
    /// Time from this reading to the next.
    #[serde(rename = "every_ns", with = "nanoseconds")]
    pub every: Duration,
    /// It has ended since: these are the last values.
    pub ended: bool,
    /// Memory by kind of mapping. `Ok` of an earlier reading stays when a later one fails.
    pub mappings: Reading<Mappings>,
    /// Limits that are set for the process.
    pub limits: Reading<Vec<Limit>>,
    /// Open files.
    pub files: Reading<OpenFiles>,
    /// What its control groups allow.
    pub cgroup: Reading<CgroupLimits>,
    /// `oom_score`: who the kernel ends first when memory is gone, 0 to 2000.
    pub oom_score: Reading<i64>,
    /// `oom_score_adj`: -1000 (never) to 1000.
    pub oom_score_adj: Reading<i64>,
    /// Kernel function that it waits in; `None` while it waits in none.
    pub wchan: Reading<Option<Arc<str>>>,
    /// Nice value, -20 to 19.
    pub nice: Reading<i64>,
    /// Scheduling policy by name.
    pub policy: Reading<Arc<str>>,
    /// Switches of the main thread that waited, and of those that it was made to.
    pub switches: Reading<(u64, u64)>,
    /// Program, as the kernel knows it; it says so when the file was deleted.
    pub exe: Reading<Arc<str>>,
    /// Working directory.
    pub cwd: Reading<Arc<str>>,
    /// Arguments, up to a bound, and whether there were more.
    pub arguments: Reading<(Arc<str>, bool)>,
}

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingKind {
    /// The heap of `brk`.
    Heap,
    /// Memory of PHP's own allocator, where PHP gives its mappings a name (newer versions, Linux 5.17).
    PhpHeap,
    /// Other memory without a file that no other process shares by intent.
    Anonymous,
    /// Stacks that the kernel knows as such.
    Stack,
    /// Files that are mapped privately: programs and libraries.
    File,
    /// Files that are mapped to be shared.
    SharedFile,
    /// The segment of compiled PHP, shared by all workers of a master.
    Opcache,
    /// Memory without a file that is shared: /dev/shm, memfd, System V, inherited.
    Shared,
    /// What the kernel or a device maps: vdso, GPU buffers, rings; and what this version does not know.
    #[serde(other)]
    Special,
}

impl MappingKind {
    /// All kinds, in the order they are shown.
    pub const ALL: [Self; 9] = [
        Self::Heap,
        Self::PhpHeap,
        Self::Anonymous,
        Self::Stack,
        Self::File,
        Self::SharedFile,
        Self::Opcache,
        Self::Shared,
        Self::Special,
    ];
}

/// Sums over mappings, in bytes, named as in /proc/PID/smaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingSum {
    /// Number of mappings.
    pub count: u64,
    /// Address space.
    pub size: u64,
    /// Resident set size.
    pub rss: u64,
    /// Proportional set size.
    pub pss: u64,
    /// Unique set size: private clean and dirty.
    pub uss: u64,
    /// Swapped out.
    pub swap: u64,
}

impl MappingSum {
    /// Adds other mappings.
    pub fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.size = self.size.saturating_add(other.size);
        self.rss = self.rss.saturating_add(other.rss);
        self.pss = self.pss.saturating_add(other.pss);
        self.uss = self.uss.saturating_add(other.uss);
        self.swap = self.swap.saturating_add(other.swap);
    }
}

/// Memory by kind of mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mappings {
    /// Kinds that there are, in the order of [`MappingKind::ALL`].
    pub kinds: Vec<(MappingKind, MappingSum)>,
    /// Sum over all kinds.
    pub total: MappingSum,
    /// What has a name and takes most, by PSS; bounded.
    pub biggest: Vec<(Arc<str>, MappingKind, MappingSum)>,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Microseconds.
    Microseconds,
    /// Things.
    Count,
}

/// A limit of setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// As the kernel names it, without `Max`: `open files`.
    pub name: Arc<str>,
    /// The soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// The hard limit; `None` is unlimited.
    pub hard: Option<u64>,
    /// What it counts.
    pub unit: Unit,
}

/// Open files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenFiles {
    /// How many; at least so many when not `complete`.
    pub count: u64,
    /// Files and folders.
    pub files: u64,
    /// Sockets.
    pub sockets: u64,
    /// Pipes.
    pub pipes: u64,
    /// Others: event queues, timers, memory.
    pub other: u64,
    /// All were looked at; else the kinds are those of the first ones.
    pub complete: bool,
    /// `count` is exact also where not all were looked at.
    pub exact: bool,
    /// The soft limit; `None` when unlimited or not known.
    pub limit: Option<u64>,
}

/// A limit of a control group, and how much of it is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimit {
    /// The limit.
    pub limit: u64,
    /// What counts against it, where that can be read.
    pub used: Option<u64>,
    /// Path of the control group that sets it.
    pub at: Arc<str>,
}

/// What the control groups of a process allow. A limit is the one with the least room left, of the group itself or of one
/// above it; `None` where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// Path in the hierarchy that accounts memory.
    pub path: Arc<str>,
    /// 1 or 2.
    pub version: u8,
    /// Memory of the group.
    pub memory: Option<u64>,
    /// Swap of the group.
    pub swap: Option<u64>,
    /// Processes and threads in the group.
    pub tasks: Option<u64>,
    /// Beyond it the kernel ends processes.
    pub memory_max: Option<CgroupLimit>,
    /// Beyond it processes are slowed down.
    pub memory_high: Option<CgroupLimit>,
    /// Swap; with version 1 memory and swap together.
    pub swap_max: Option<CgroupLimit>,
    /// Processes and threads.
    pub tasks_max: Option<CgroupLimit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_any_kind_is_read_back_the_same() {
        let unread = [
            Unread::Refused,
            Unread::Absent,
            Unread::Ended,
            Unread::Malformed,
            Unread::TooExpensive(Duration::from_nanos(1_500_000)),
            Unread::Failed(5),
            Unread::Elsewhere,
        ];
        for why in unread {
            let reading: Reading<Arc<str>> = Err(why);
            let json = serde_json::to_string(&reading).unwrap();
            assert_eq!(serde_json::from_str::<Reading<Arc<str>>>(&json).unwrap(), reading, "{json}");
        }
        assert_eq!(serde_json::to_string(&unread[4]).unwrap(), r#"{"too_expensive_ns":1500000}"#);
        for kind in MappingKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<MappingKind>(&json).unwrap(), kind);
        }
        assert_eq!(serde_json::from_str::<MappingKind>(r#""from_the_future""#).unwrap(), MappingKind::Special);
    }
}
