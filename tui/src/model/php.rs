//! What is known about PHP: who runs it, what is hot, which requests were served.
//! Indexes inside one [`Php`] refer to lists of the same [`Php`].

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Exact, Histogram, LineCalls, Pool};

/// Everything about PHP in one interval (or, merged, in one window).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Php {
    /// PHP images found on this machine.
    pub targets: Vec<Target>,
    /// Functions seen in stacks.
    pub functions: Vec<Function>,
    /// Sampled stacks.
    pub stacks: Vec<Stack>,
    /// Routes seen, each with the requests that finished in the interval.
    pub routes: Vec<Route>,
    /// Requests: those that run now, and the slowest and newest that finished; bounded.
    pub requests: Vec<Request>,
    /// Exceptions thrown; `None` when not collected.
    pub exceptions: Option<Vec<ExceptionCount>>,
    /// Errors raised; `None` when not collected.
    pub errors: Option<Vec<PhpError>>,
    /// Files compiled; `None` when not collected.
    pub compiles: Option<Vec<CompiledFile>>,
    /// Processes that serve PHP.
    pub workers: Vec<Worker>,
    /// Pools of php-fpm, in the order of their masters.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Exact tracing; `None` when it was not asked for.
    #[serde(default)]
    pub exact: Option<Exact>,
    /// Calls of built-in functions by line, and included files; `None` when not traced.
    #[serde(default)]
    pub lines: Option<Vec<LineCalls>>,
}

/// One PHP image (a binary or a libphp) and what can be observed of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Path of the image as its process sees it.
    pub exe: Arc<str>,
    /// PHP version, such as `8.2.36`; `None` when it was not found in the image.
    pub version: Option<Arc<str>>,
    /// Server API: `cli`, `fpm`, `cgi`, `apache`, `embed`.
    pub sapi: Arc<str>,
    /// Built for threads (ZTS).
    pub zts: bool,
    /// Names of its USDT probes, such as `request__startup`; empty for a build without them.
    #[serde(default)]
    pub probes: Vec<Arc<str>>,
    /// Exported functions that can be attached to instead.
    #[serde(default)]
    pub functions: Vec<Arc<str>>,
    /// Processes that run it.
    pub pids: Vec<u32>,
    /// Those of them that were not forked from another one, in order of pid; bounded, see `masters_left_out`.
    #[serde(default)]
    pub masters: Vec<Master>,
    /// How many masters are not in the list.
    #[serde(default)]
    pub masters_left_out: u32,
    /// What works, and why the rest does not.
    pub tiers: Tiers,
}

/// A process that started PHP itself, such as the master of php-fpm, Apache's parent process or a script on the command
/// line. What it was started with holds for all that it forks, and two masters of one image may differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Master {
    /// Process.
    pub pid: u32,
    /// Its probes for functions, files and compiles are live (`zend_dtrace_enabled`); `None` when that is not known.
    pub dtrace: Option<bool>,
    /// `USE_ZEND_DTRACE` is in its environment; `None` when that is not known, because it was overwritten by a title.
    pub variable: Option<bool>,
    /// opcache shares compiled code in memory; `None` when not known.
    pub opcache: Option<bool>,
    /// opcache has room for the JIT's machine code; `None` when not known.
    pub jit: Option<bool>,
    /// systemd unit, where there is one.
    pub unit: Option<Arc<str>>,
    /// Container, where there is one.
    pub container: Option<Arc<str>>,
    /// Why it cannot be traced exactly; empty when it can.
    pub reason: String,
    /// What to type so that it can, line by line, with the side effects.
    pub hint: Vec<String>,
}

/// State of a way to observe PHP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierState {
    /// Observing.
    On,
    /// Possible, but not switched on.
    Off,
    /// Not possible here; the reason says why.
    Unavailable,
}

/// The ways to observe a PHP image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tiers {
    /// Requests by their start and end.
    pub requests: RequestsTier,
    /// Stacks by a timer.
    pub sampling: SamplingTier,
    /// Waiting time, by the switches of the scheduler.
    #[serde(default)]
    pub waiting: ProbeTier,
    /// Every function call.
    pub exact: ExactTier,
    /// Exceptions.
    #[serde(default)]
    pub exceptions: ProbeTier,
    /// Errors: warnings, notices, fatal errors and so on.
    #[serde(default)]
    pub errors: ProbeTier,
    /// Compiled files.
    #[serde(default)]
    pub compiles: ProbeTier,
}

/// State of a tier that is seen by probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTier {
    /// State.
    pub state: TierState,
    /// What it is seen by: `usdt`, `symbol` or, for waiting time, `sched_switch`.
    pub source: Option<Arc<str>>,
    /// Why it is not on, or what it does not show; empty when it shows all.
    #[serde(default)]
    pub reason: String,
}

impl Default for ProbeTier {
    fn default() -> Self {
        Self { state: TierState::Unavailable, source: None, reason: "not collected".to_owned() }
    }
}

/// State of the requests tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsTier {
    /// State.
    pub state: TierState,
    /// What the start and end are seen by: `usdt` or `symbol`.
    pub source: Option<Arc<str>>,
    /// Why it is not on; empty when it is.
    #[serde(default)]
    pub reason: String,
}

/// State of the sampling tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplingTier {
    /// State.
    pub state: TierState,
    /// Samples per second and CPU.
    pub hz: Option<u32>,
    /// Why it is not on; empty when it is.
    #[serde(default)]
    pub reason: String,
}

/// State of the exact tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactTier {
    /// State.
    pub state: TierState,
    /// Why it is not on; empty when it is.
    #[serde(default)]
    pub reason: String,
    /// What to type, line by line; [`Master::hint`] has what fits each master.
    #[serde(default)]
    pub hint: Vec<String>,
}

/// Where a function's code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    /// Written in PHP.
    User,
    /// Built into PHP or an extension; it has no file.
    Internal,
    /// Code of an `eval`.
    Eval,
    /// The name could not be read.
    Unknown,
}

/// One PHP function, or the top-level code of a file (`{main}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Name without the class.
    pub name: Arc<str>,
    /// Declaring class; empty for plain functions.
    pub class: Arc<str>,
    /// File; empty for internal functions.
    pub file: Arc<str>,
    /// Line where the function starts; 0 where there is none.
    pub line: u32,
    /// Where its code is.
    pub kind: FunctionKind,
    /// Samples with this function on top.
    pub self_samples: u64,
    /// Samples with this function anywhere on the stack, each counted once.
    pub total_samples: u64,
    /// Time spent waiting with this function on top; `None` when not collected.
    pub self_wait_ns: Option<u64>,
    /// Time spent waiting with this function on the stack; `None` when not collected.
    pub total_wait_ns: Option<u64>,
    /// Calls; `None` when not collected.
    pub calls: Option<u64>,
    /// Exact self time; `None` when not collected.
    pub self_ns: Option<u64>,
    /// Exact total time; `None` when not collected.
    pub total_ns: Option<u64>,
    /// Exact calls by the binary logarithm of their duration in nanoseconds, without the empty end; `None` when not collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations_log2: Option<Vec<u64>>,
}

/// One sampled stack of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Index into [`Php::routes`].
    pub route: usize,
    /// Indexes into [`Php::functions`], leaf first.
    pub frames: Vec<usize>,
    /// Samples taken on the CPU.
    pub samples: u64,
    /// Time spent waiting; `None` when not collected.
    pub wait_ns: Option<u64>,
    /// The stack was deeper than what is kept.
    pub truncated: bool,
}

/// Durations of a set of requests in milliseconds; `None` where there was no request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DurationSummary {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
}

/// Requests that share a group, a script, a method and a folded path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Folded path, such as `/post/:n`; empty for a command line script.
    pub route: Arc<str>,
    /// Script that PHP was started with; empty when unknown.
    pub script: Arc<str>,
    /// HTTP method; empty for a command line script.
    pub method: Arc<str>,
    /// Name of the process group that served it; empty when unknown.
    pub group: Arc<str>,
    /// Requests that finished.
    pub requests: u64,
    /// Those of them with a status of 500 or above.
    pub errors: u64,
    /// Summary of `histogram`.
    pub duration_ms: DurationSummary,
    /// Durations of the requests.
    pub histogram: Histogram,
    /// CPU time of the requests; `None` when not collected.
    pub cpu_ns: Option<u64>,
    /// Time that the requests were blocked; `None` when not collected.
    #[serde(default)]
    pub wait_ns: Option<u64>,
    /// Memory that the workers gained over these requests; `None` when not collected.
    pub rss_growth_bytes: Option<i64>,
}

/// One request, running or finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Worker.
    pub pid: u32,
    /// The URI as the browser sent it; empty for a command line script.
    pub uri: Arc<str>,
    /// HTTP method; empty for a command line script.
    pub method: Arc<str>,
    /// HTTP status; `None` while it runs, or where there is none.
    pub status: Option<u16>,
    /// When it started.
    pub started_at: Timestamp,
    /// Duration, so far if it still runs.
    pub duration_ms: f64,
    /// CPU time of its thread; `None` when not known.
    pub cpu_ms: Option<f64>,
    /// Time that its thread was blocked, in waits that have ended; `None` when not known.
    #[serde(default)]
    pub wait_ms: Option<f64>,
    /// It has ended.
    pub finished: bool,
    /// Index into [`Php::routes`].
    pub route: usize,
}

/// An exception class thrown at one place: the line where the exception was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionCount {
    /// Class.
    pub class: Arc<str>,
    /// Message of the first one; empty when unknown.
    pub message: Arc<str>,
    /// File.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// Times thrown. Throwing a caught exception once more counts again.
    pub count: u64,
    /// Those of them that reached PHP itself, because nothing caught them; `None` when not known.
    #[serde(default)]
    pub uncaught: Option<u64>,
    /// The `catch` that looked at it last, as `file:line`; empty when unknown.
    #[serde(default = "empty")]
    pub caught_at: Arc<str>,
    /// Script of the first request that it happened in; empty when unknown.
    #[serde(default = "empty")]
    pub script: Arc<str>,
}

/// A PHP error (warning, notice, fatal …) raised at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhpError {
    /// Level, such as `warning`.
    pub level: Arc<str>,
    /// Message of the first one.
    pub message: Arc<str>,
    /// File.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// Times raised.
    pub count: u64,
    /// Those of them that were silenced by `@` or `error_reporting`; `None` when not known.
    #[serde(default)]
    pub silenced: Option<u64>,
    /// Script of the first request that it happened in; empty when unknown.
    #[serde(default = "empty")]
    pub script: Arc<str>,
}

/// A file that PHP compiled because opcache did not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledFile {
    /// File; as it was written in the code where its path is not known.
    pub file: Arc<str>,
    /// Server API that compiled it, as in [`Target::sapi`].
    #[serde(default = "empty")]
    pub sapi: Arc<str>,
    /// Times compiled.
    pub count: u64,
}

fn empty() -> Arc<str> {
    "".into()
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Inside a request.
    Running,
    /// Between requests.
    Idle,
    /// Not known, for example because the requests tier is not on.
    Unknown,
}

/// A process that serves PHP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Process.
    pub pid: u32,
    /// php-fpm pool, or the server API where there is no pool.
    pub pool: Arc<str>,
    /// What it does.
    pub state: WorkerState,
    /// Requests seen since we watch.
    pub requests: u64,
    /// Since when it is in this state; `None` when not seen.
    pub since: Option<Timestamp>,
}
