//! The one value that flows: [`Snapshot`], its parts and its JSON (schema 1).
//! It owns names, units and shapes; it collects nothing, computes no rate and imports no other module.

mod cgroup;
mod contents;
mod forecast;
#[cfg(test)]
mod fuzz;
mod grouping;
mod inspection;
mod keys;
mod machine_memory;
mod notice;
mod oom;
mod order;
mod php;
mod process;
mod read;
mod signal;
mod span;

pub use cgroup::{Cgroup, CgroupEvents, CgroupMost, CgroupParts};
pub use contents::{Contents, ContentsItem, ContentsOrder};
pub use forecast::{Forecast, ForecastLimit};
pub use grouping::Grouping;
pub use inspection::{
    CgroupLimit, CgroupLimits, Inspection, InspectionOrder, Limit, MappingKind, MappingSum, Mappings, OpenFiles,
    Reading, Unit, Unread,
};
pub use keys::{FunctionKey, ProblemKey, ProblemKind, ProcessKey, RouteKey, WorkerKey};
pub(crate) use keys::{NumberMap, Numbers};
pub use machine_memory::{MachineMemory, MemoryPart, PartKind};
pub use notice::{Level, Notice, NoticeKind};
pub use oom::OomKill;
pub use order::{TraceLimits, TraceOrder, TraceRequest};
pub use php::{
    Bloat, Bound, Buckets, CompiledFile, DurationSummary, EndedBy, Exact, ExactKind, ExactState, ExceptionCount,
    Exhausted, FitsUnknown, Function, FunctionKind, Histogram, HotLine, HotLines, LineCalls, METHODS, Master,
    MemoryUnknown, Php, PhpError, PhpState, Pool, PoolEvent, PoolEventKind, PoolRoute, ProblemMessage, ProblemRoute,
    ProblemRoutes, ProcessManager, Request, RequestStack, Route, RouteMemory, SYMBOLS, Scoreboard, SeenBy,
    SizeHistogram, Stack, Target, Tier, TierState, TierStatus, Tiers, Waiting, Worker, WorkerState,
};
pub(crate) use process::MORE_GROUPS;
pub use process::{DiskRates, Group, Memory, MemoryRange, Process, PssUnknown, pool_of_title};
pub use read::SnapshotError;
pub use signal::{Chosen, Outcome, Signal, SignalOrder, SignalReport, SignalTarget, TargetProcess};
pub use span::{HotTime, Window};

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The number in [`Snapshot::schema`] that this version writes.
pub const SCHEMA: u32 = 1;

/// All that is known about the server at the end of one interval.
///
/// It is what the screen draws, what `snap --format json` prints and what a recording holds.
/// A value that could not be measured is `None` (JSON `null`), never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of the JSON layout, see [`SCHEMA`].
    pub schema: u32,
    /// When the interval ended.
    pub at: Timestamp,
    /// Length of the interval that rates and counts refer to.
    pub interval_ms: u64,
    /// The machine.
    pub host: Host,
    /// The machine's load during the interval.
    pub system: System,
    /// Where the machine's memory is; `None` in snapshots that do not have it.
    #[serde(default)]
    pub memory: Option<MachineMemory>,
    /// Process groups, biggest memory first.
    pub groups: Vec<Group>,
    /// All processes, in order of pid. [`Process::group`] is an index into `groups`.
    pub processes: Vec<Process>,
    /// Control groups of the processes, with their memory, in no order. [`Process::cgroup`] is an index into them.
    #[serde(default)]
    pub cgroups: Vec<Cgroup>,
    /// What is known about PHP on this machine.
    pub php: Arc<Php>,
    /// What happened to pools in the interval, the oldest first; bounded.
    #[serde(default)]
    pub pool_events: Vec<PoolEvent>,
    /// What was lost during the interval.
    pub drops: Drops,
    /// What watching costs.
    pub cost: Cost,
    /// What the user should know: missing rights, programs that cannot be observed, values that are unknown.
    pub notices: Vec<Notice>,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Number of online CPUs.
    pub cpus: u32,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Time since boot.
    #[serde(default)]
    pub uptime_s: u64,
}

/// The machine's load during the interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct System {
    /// Busy share of all CPUs together, 0 to 1; `None` until two readings exist.
    pub cpu_ratio: Option<f64>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// `MemAvailable` of /proc/meminfo.
    pub memory_available_bytes: Option<u64>,
    /// The least and the most of it in a snapshot that was made of several; absent in others, and where one of them did not know
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available_range: Option<MemoryRange>,
    /// Share of the time in which CPUs had nothing to do because tasks waited for disks, of all CPUs together, 0 to 1.
    #[serde(default)]
    pub io_wait_ratio: Option<f64>,
    /// Share of the time that the hypervisor gave to other guests, 0 to 1.
    #[serde(default)]
    pub steal_ratio: Option<f64>,
    /// Swap in use.
    pub swap_used_bytes: Option<u64>,
    /// Processes that the kernel killed since boot because memory was gone, of the machine or of a control group (`oom_kill` of
    /// /proc/vmstat); `None` where it does not count them.
    #[serde(default)]
    pub oom_kills: Option<u64>,
    /// Those of the interval, in the order in which they were killed; empty also where the kernel does not tell of them.
    #[serde(default)]
    pub killed: Vec<OomKill>,
    /// Pressure stall information; each is `None` where the kernel has no PSI.
    pub pressure: Pressure,
}

/// Share of the last 10 s in which some task waited, in percent (0 to 100), from /proc/pressure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Waiting for a CPU.
    pub cpu_some: Option<f64>,
    /// Waiting for io.
    pub io_some: Option<f64>,
    /// Waiting for memory.
    pub memory_some: Option<f64>,
}

/// What was lost during the interval because a channel, ring or map had no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Events that did not fit into the ring buffer or a channel.
    pub events: u64,
    /// Samples whose stack could not be kept.
    pub stacks: u64,
    /// Functions whose names could not be kept.
    pub names: u64,
    /// Processes that no reading has seen, and that ended when there was no room to note them.
    #[serde(default)]
    pub processes: u64,
}

impl Drops {
    /// All of them.
    pub fn sum(&self) -> u64 {
        [self.events, self.stacks, self.names, self.processes].into_iter().fold(0, u64::saturating_add)
    }
}

/// What watching costs during the interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU of this program in cores (1.0 is one core); `None` until two readings exist.
    pub cpu_ratio: Option<f64>,
    /// Time spent inside our BPF programs in cores.
    pub bpf_ratio: Option<f64>,
    /// Hits of uprobes per second.
    pub probe_hits_per_s: Option<f64>,
    /// Resident memory of this program.
    pub rss_bytes: Option<u64>,
}
