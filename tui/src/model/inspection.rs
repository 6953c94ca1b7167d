//! What a close look at one process finds: memory by kind of mapping, limits, open files. It is read on demand and stands
//! beside the snapshot, never in it.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    TooDear(Duration),
    /// The kernel could not; its error number.
    Failed(i32),
    /// It is outside of what can be seen from the namespaces that we are in.
    Elsewhere,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("not permitted: that needs root or CAP_SYS_PTRACE"),
            Self::Absent => f.write_str("the kernel has nothing here"),
            Self::Ended => f.write_str("the process ended first"),
            Self::Malformed => f.write_str("it is not in the form that the kernel documents"),
            Self::TooDear(time) => write!(f, "reading it takes {} ms or more", time.as_millis().max(1)),
            Self::Failed(number) => write!(f, "{}", std::io::Error::from_raw_os_error(*number)),
            Self::Elsewhere => f.write_str("outside of our namespaces"),
        }
    }
}

/// A value, or why it is not known.
pub type Reading<T> = Result<T, Unread>;

/// A close look at one process.
#[derive(Debug, Clone, PartialEq)]
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
    pub mappings_cost: Duration,
    /// How long reading the rest took.
    pub cost: Duration,
    /// Time from this reading to the next.
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
    pub policy: Reading<&'static str>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// What the kernel or a device maps: vdso, GPU buffers, rings.
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

    /// What it is called on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::PhpHeap => "PHP heap",
            Self::Anonymous => "anonymous",
            Self::Stack => "stack",
            Self::File => "code, libraries",
            Self::SharedFile => "shared files",
            Self::Opcache => "opcache",
            Self::Shared => "shared memory",
            Self::Special => "kernel, devices",
        }
    }
}

/// Sums over mappings, in bytes, named as in /proc/PID/smaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mappings {
    /// Kinds that there are, in the order of [`MappingKind::ALL`].
    pub kinds: Vec<(MappingKind, MappingSum)>,
    /// Sum over all kinds.
    pub total: MappingSum,
    /// What has a name and takes most, by PSS; bounded.
    pub biggest: Vec<(Arc<str>, MappingKind, MappingSum)>,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
