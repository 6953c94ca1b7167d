//! What is known about PHP: who runs it, what is hot, which requests were served.
//! Indexes inside one [`Php`] refer to lists of the same [`Php`].

mod exact;
mod function;
mod histogram;
mod pool;
mod problem;
mod request;
mod route;
mod target;
mod tier;
mod worker;

pub use exact::{Exact, ExactKind, ExactState, LineCalls};
pub use function::{Function, FunctionKind, Stack};
pub use histogram::Histogram;
pub use pool::{Bound, Pool, ProcessManager, Scoreboard};
pub use problem::{CompiledFile, ExceptionCount, PhpError};
pub use request::Request;
pub use route::{DurationSummary, Route};
pub use target::{Master, Target};
pub use tier::{SeenBy, Tier, TierState, TierStatus, Tiers};
pub use worker::{Worker, WorkerState};

use serde::{Deserialize, Serialize};

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
