//! The PHP collector: finds PHP, attaches the BPF programs and reads their maps at each tick.
//! It hands over raw counts by pid; groups and rates are `aggregate`'s work.
//!
//! ```text
//!  find/    /proc, memory: which processes run PHP, and what they were started with ─┐
//!  image/   ELF: versions, layouts, probes and functions of a file ──────────────────┤
//!  before/  memory: what a process was doing when it was found ───────────────────────┤
//!  kernel/  the BPF programs, their maps and their ring ─────────────────────────────┼── collector ── PhpSample
//!  tier/    a folder a tier: where it is attached, what it reads, whether it works ──┘
//! ```

mod before;
mod collector;
pub(crate) mod find;
mod image;
mod kernel;
mod threads;
mod tier;

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

pub(crate) use find::installed::{installed, is_command_line};
pub(crate) use find::runtime::VARIABLE;
pub use image::sapi::Sapi;
pub(crate) use kernel::{KernelError, Verified, verify};
pub use tier::exact::{CallSums, Order};
pub use tier::problems::{
    CatchPlace, CompileCount, CompiledText, FailureCount, FailureKind, FailureText, RequestFailures,
};
pub use tier::requests::{FinishedRequest, RequestMemory, RequestText, Start};
pub use tier::sampling::NamedStack;
pub use tier::waiting::CurrentWait;

use super::{Sample, Tick};
use crate::{
    model::{Drops, Exact, FunctionKey, HotLines, Notice, Scoreboard, Target},
    words::secrets::Secrets,
};

/// What the collector is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Stack samples per second and CPU; 0 switches sampling off.
    pub hz: u32,
    /// Programs that are attached at the start if they are PHP, so that nothing of a process that starts later is missed.
    pub programs: Vec<PathBuf>,
    /// Only this process and its descendants count; what other PHP does is left out.
    pub root: Option<u32>,
    /// Users whose programs are observed, besides root, see `find/trust`.
    pub owners: Vec<u32>,
    /// The command that is observed moves its code, see `find/moves`: nothing may be attached to it.
    pub moves_code: bool,
    /// Exact tracing that begins at the start.
    pub exact: Option<Order>,
    /// Whether secrets in URIs and messages are masked.
    pub secrets: Secrets,
    /// Where tusktop is, which reads the memory of others in a process of its own; `None` where this program is tusktop.
    pub tusktop: Option<PathBuf>,
}

/// What the BPF programs saw since the last reading.
#[derive(Debug, Clone, Default)]
pub struct PhpSample {
    /// Only this process and its descendants are in it; `None` for all.
    pub root: Option<u32>,
    /// Images and what can be observed of them.
    pub targets: Vec<Target>,
    /// Processes that run PHP, and those that ended in the interval.
    pub processes: Vec<PhpProcess>,
    /// Samples and waits by process, request and stack.
    pub stacks: Vec<StackCount>,
    /// Requests that ended.
    pub finished: Vec<FinishedRequest>,
    /// Requests that run.
    pub running: Vec<Arc<RequestText>>,
    /// Requests that exceeded `memory_limit`, each with the error.
    pub exhausted: Vec<(Arc<RequestText>, Arc<FailureText>)>,
    /// What they wait in.
    pub waits: Vec<CurrentWait>,
    /// Exceptions and errors.
    pub failures: Vec<FailureCount>,
    /// Compiled files.
    pub compiles: Vec<CompileCount>,
    /// Pools of php-fpm.
    pub pools: Vec<Scoreboard>,
    /// When the reading was made, on both clocks.
    pub now: Now,
    /// Exact tracing; `None` when it was never asked for.
    pub exact: Option<Exact>,
    /// What it found since the last reading.
    pub calls: Vec<(Arc<FunctionKey>, CallSums)>,
    /// At which lines functions were, in some of the samples.
    pub lines: Vec<(Arc<FunctionKey>, HotLines)>,
    /// What was lost.
    pub drops: Drops,
    /// Work of the BPF programs.
    pub work: Work,
    /// What cannot be observed, and why.
    pub notices: Vec<Notice>,
}

impl PhpSample {
    /// The image with this number.
    pub(crate) fn target(&self, image: usize) -> Option<&Target> {
        self.targets.iter().find(|target| target.image == Some(image))
    }
}

/// One moment on the wall clock and on `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Now {
    /// Wall clock.
    pub at: Timestamp,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
}

impl Now {
    /// The wall clock at a moment of `CLOCK_MONOTONIC` before it; `None` for one that cannot be told.
    pub(crate) fn moment(self, monotonic_ns: u64) -> Option<Timestamp> {
        let age = i64::try_from(self.monotonic_ns.checked_sub(monotonic_ns)?).ok()?;
        self.at.checked_sub(SignedDuration::from_nanos(age)).ok()
    }
}

/// A process that runs PHP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhpProcess {
    /// Process.
    pub pid: u32,
    /// Its parent; 0 when not known.
    pub parent: u32,
    /// Number of its image, as in `Target.image`.
    pub image: usize,
    /// Server API.
    pub sapi: Sapi,
    /// php-fpm pool, where there is one.
    pub pool: Option<Arc<str>>,
    /// Script of a command line PHP.
    pub script: Option<Arc<str>>,
    /// The last part of its path, with the command of a console behind it: `artisan queue:work`.
    pub script_name: Option<Arc<str>>,
    /// It still lives.
    pub alive: bool,
    /// What it does has been known since some moment: it was looked at, or started afterwards. Before that, not to see a request is
    /// not to know.
    pub known: bool,
    /// Its threads that were seen in a request and still live, where these are others than its first one alone; else empty.
    pub threads: Vec<u32>,
}

/// Samples and waits of one stack of one process in one request.
#[derive(Debug, Clone)]
pub struct StackCount {
    /// Process.
    pub pid: u32,
    /// Request that it ran in; `None` outside of any known request.
    pub request: Option<Arc<RequestText>>,
    /// Functions.
    pub stack: Arc<NamedStack>,
    /// Samples on the CPU.
    pub samples: u64,
    /// Time blocked.
    pub wait_ns: u64,
    /// Bytes by which its process grew.
    pub growth_bytes: u64,
}

/// Work of the BPF programs during the interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Samples that found PHP code running.
    pub samples: u64,
    /// Runs of the sampling program for PHP processes.
    pub sample_runs: u64,
    /// Nanoseconds in those runs.
    pub sample_ns: u64,
    /// Frames walked in them.
    pub frames: u64,
    /// Walks at threads that block.
    pub wait_runs: u64,
    /// Nanoseconds in them.
    pub wait_ns: u64,
    /// Runs of the program that counts growth, for PHP processes.
    pub growth_runs: u64,
    /// Nanoseconds in them.
    pub growth_ns: u64,
    /// What tracing calls took, in nanoseconds: an estimate from the price of a call.
    pub trace_ns: u64,
    /// Traced calls whose time is their caller's: too deep, or on too many stacks.
    pub calls_deep: u64,
    /// Hits of request probes.
    pub probe_hits: u64,
    /// Nanoseconds in their program.
    pub probe_ns: u64,
}

/// How a running collector is reached.
#[derive(Debug)]
pub struct Handle {
    /// Asks for readings.
    pub ticks: mpsc::Sender<Tick>,
    /// Asks for exact tracing.
    pub orders: mpsc::Sender<Order>,
}

/// Orders that may wait.
const ORDERS: usize = 8;

/// Starts the collector on a thread of its own. It answers every tick with one [`Sample::Php`]
/// and ends, with everything detached, when the sender of ticks is dropped. Where no thread can be started it ends at once.
pub fn spawn(options: Options, samples: mpsc::Sender<Sample>) -> Handle {
    let (ticks, asked) = mpsc::channel::<Tick>(1);
    let (orders, ordered) = mpsc::channel(ORDERS);
    let run = move || {
        // Without a runtime the ticks are dropped, which says that it has ended.
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(collector::run(options, asked, ordered, samples));
    };
    // Dropped with the closure, the ticks say that it has ended.
    let _ = std::thread::Builder::new().name("php".into()).spawn(run);
    Handle { ticks, orders }
}

/// Whether a command switches on that PHP moves its code, in its own arguments or in those of a PHP that a shell in it starts.
pub(crate) fn moves_code(command: &[OsString]) -> bool {
    command.iter().any(|argument| find::moves::is_on(&argument.to_string_lossy()))
}
