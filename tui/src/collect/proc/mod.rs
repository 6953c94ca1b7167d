//! The procfs sampler: every process, and the machine, at each tick. It owns reading; rates and groups are `aggregate`'s work.
//!
//! A pass costs one `pread` per process; everything that rarely changes is read at first sight and in rotation.

pub(in crate::collect) mod cgroup;
pub(in crate::collect) mod cgroup_mounts;
mod details;
mod files;
#[cfg(test)]
mod fuzz;
mod machine;
mod memory_cgroup;
mod pss;
mod sampler;
pub(in crate::collect) mod stat;
mod watchdog;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use self::watchdog::Watched;
pub use self::{
    details::{CMDLINE_BYTES, Details},
    machine::{CpuTicks, Machine, MemoryInfo, MemoryMount, Segments},
    memory_cgroup::{MAX_CGROUPS, MemoryCgroup},
    pss::{Pss, PssOptions, Rollup},
    sampler::Sampler,
};
pub(in crate::collect) use self::{machine::bounded, pss::kibibytes};
use super::{Sample, Tick};
use crate::{model::Cgroup, words::secrets::Secrets};

/// The sampler cannot read the proc root at all. A single unreadable process is no error.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// The root cannot be opened.
    #[error("cannot open {path}: {source}; is procfs mounted there?")]
    Root {
        /// The proc root.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The root cannot be listed.
    #[error("cannot list the processes: {source}")]
    List {
        /// Why.
        source: std::io::Error,
    },
    /// No thread could be started.
    #[error("cannot start the thread that reads processes: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

/// One pass over /proc.
#[derive(Debug, Default)]
pub struct ProcessSample {
    /// The tick that this answers.
    pub at: Option<Instant>,
    /// All processes that could be read, in order of pid.
    pub processes: Vec<ProcessReading>,
    /// Memory cgroups of the processes.
    pub cgroups: Vec<Cgroup>,
    /// Processes whose cgroup did not fit among [`MAX_CGROUPS`].
    pub cgroups_without_room: u32,
    /// The machine.
    pub machine: Machine,
    /// Unit of all `_ticks`.
    pub ticks_per_second: u64,
    /// This process, as the proc root numbers it.
    pub own_pid: Option<u32>,
    /// CPU time of this process.
    pub own_cpu: Duration,
    /// Processes that ended since the previous pass, in the order in which they were gone; `None` where they are not seen,
    /// see `ended_unknown`.
    pub ended: Option<Vec<EndedReading>>,
    /// Processes that ended and found no room in the ring of events.
    pub ended_lost: u64,
    /// Why processes that end between two passes are not seen; `None` while they are, or until that is known.
    pub ended_unknown: Option<Arc<str>>,
    /// Processes that the kernel killed since the previous pass because memory was gone; `None` where it does not tell.
    pub oom_kills: Option<Vec<OomKillReading>>,
    /// Processes that ended while the pass ran.
    pub vanished: u32,
    /// Processes that the kernel did not let us read.
    pub refused: u32,
    /// Processes that do not answer, whose command line and memory are therefore not read; the first is named.
    pub unanswered: u32,
    /// Pid and name of one of them.
    pub unanswered_first: Option<(u32, Arc<str>)>,
    /// Processes whose `stat` is not what proc_pid_stat(5) says.
    pub malformed: u32,
    /// The listing lacks process 1, which every proc root has: it hides the processes of other users (`hidepid`).
    pub hidden: bool,
    /// The listing failed; what was listed before that is here.
    pub error: Option<ProcError>,
}

/// What one process uses.
#[derive(Debug, Clone)]
pub struct ProcessReading {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub ppid: u32,
    /// Start time after boot; with the pid it identifies the process.
    pub start_ticks: u64,
    /// State letter.
    pub state: char,
    /// Number of threads.
    pub threads: u32,
    /// CPU time, user and system, of all its threads since its start.
    pub cpu: Duration,
    /// What the next reading's `cpu` is to be compared with. It differs from `cpu` only where the source of the readings
    /// changes: one counts in clock ticks, the other in nanoseconds.
    pub cpu_base: Duration,
    /// Resident set size.
    pub rss_bytes: u64,
    /// Pages of files and of shared memory in `rss_bytes`; `None` where only their sum was read.
    pub rss_parts: Option<RssParts>,
    /// Bytes read from and written to disks since its start; `None` where the kernel does not say.
    pub disk: Option<DiskBytes>,
    /// Swapped-out bytes; `None` when not read.
    pub swap_bytes: Option<u64>,
    /// PSS, USS and shared memory, read on a budget.
    pub pss: Pss,
    /// Its memory cgroup, in [`ProcessSample::cgroups`].
    pub cgroup: Option<usize>,
    /// What rarely changes.
    pub details: Arc<Details>,
}

/// What the resident set of a process is made of, in bytes, beside anonymous memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RssParts {
    /// Pages of files.
    pub file_bytes: u64,
    /// Shared memory.
    pub shmem_bytes: u64,
}

/// What a process read from and wrote to disks, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskBytes {
    /// Read from disks.
    pub read: u64,
    /// Written, less what was deleted before it reached a disk.
    pub written: u64,
}

impl ProcessReading {
    /// Kernel threads and zombies: nothing has to be read to know that they take none.
    fn is_without_memory(&self) -> bool {
        self.details.kernel_thread || matches!(self.state, 'Z' | 'X')
    }

    /// Memory of no file, and not shared on purpose; `None` where RSS is not known by its parts.
    fn anonymous_bytes(&self) -> Option<u64> {
        let RssParts { file_bytes, shmem_bytes } = self.rss_parts?;
        Some(self.rss_bytes.saturating_sub(file_bytes).saturating_sub(shmem_bytes))
    }
}

/// What is told of a process that ended.
#[derive(Debug, Clone)]
pub struct EndedReading {
    /// Process id.
    pub pid: u32,
    /// Start time after boot; with the pid it identifies the process.
    pub start_ticks: u64,
    /// CPU time of all its threads, as far as it is known by then.
    pub cpu: Duration,
    /// What was noted when its last thread ended; `None` for the last word on its CPU time, which follows where the kernel
    /// gives it.
    pub last: Option<LastSight>,
}

/// A process that the kernel killed because memory was gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomKillReading {
    /// When; `None` where it is not known when the machine was booted.
    pub at: Option<Timestamp>,
    /// Process id.
    pub pid: u32,
    /// Name; `None` where the kernel told no more than its id.
    pub comm: Option<Arc<str>>,
    /// What it had in memory.
    pub rss_bytes: Option<u64>,
    /// What of it was swapped out.
    pub swap_bytes: Option<u64>,
    /// The limit of the cgroup that had reached it; `None` where none had: the machine had no memory left.
    pub limit_bytes: Option<u64>,
}

/// What was noted of a process when its last thread ended.
#[derive(Debug, Clone)]
pub struct LastSight {
    /// Parent's process id.
    pub ppid: u32,
    /// The signal that killed it; `None` where none did.
    pub signal: Option<u32>,
    /// Names. Unit, container and cgroups were not noted.
    pub details: Details,
}

/// What the sampler is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where procfs is mounted.
    pub root: PathBuf,
    /// The file with the names of users.
    pub passwd: PathBuf,
    /// Whether the kernel's task iterator is asked where it can be.
    pub kernel: bool,
    /// The first pass waits for the iterator, some seconds at most: those that look only once need what it alone says.
    pub kernel_first: bool,
    /// What reading PSS may cost.
    pub pss: PssOptions,
    /// Users whose titles are believed, besides root's, see `collect/pool`.
    pub owners: Vec<u32>,
    /// Whether secrets in command lines are masked.
    pub secrets: Secrets,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: "/proc".into(),
            passwd: "/etc/passwd".into(),
            pss: PssOptions::default(),
            kernel: true,
            kernel_first: false,
            owners: Vec::new(),
            secrets: Secrets::default(),
        }
    }
}

/// Starts the sampler on threads of its own: a pass blocks for milliseconds, and longer where a process does not answer.
/// It answers every tick with one [`Sample::Processes`] and ends when the returned sender is dropped.
///
/// # Errors
/// [`ProcError`] when the root cannot be opened or no thread can be started.
pub(crate) fn spawn(options: &Options, samples: mpsc::Sender<Sample>) -> Result<mpsc::Sender<Tick>, ProcError> {
    let mut watched = Watched::start(options)?;
    let (ticks, mut asked) = mpsc::channel::<Tick>(1);
    let run = move || {
        while let Some(tick) = asked.blocking_recv() {
            let Some(sample) = watched.pass(tick) else { return };
            if samples.blocking_send(Sample::Processes(Box::new(sample))).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("proc".into()).spawn(run).map_err(|source| ProcError::Thread { source })?;
    Ok(ticks)
}

/// Reads all processes once.
///
/// # Errors
/// The root cannot be opened or listed, or no thread can be started.
pub(crate) fn once(options: &Options) -> Result<ProcessSample, ProcError> {
    let sample = Watched::start(options)?.pass(Tick { at: Instant::now() });
    let mut sample = sample.ok_or_else(|| ProcError::Thread { source: std::io::Error::other("it has ended") })?;
    match sample.error.take() {
        Some(error) => Err(error),
        None => Ok(sample),
    }
}
