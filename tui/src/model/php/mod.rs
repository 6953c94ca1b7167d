//! What is known about PHP: who runs it, what is hot, which requests were served.
//! Indexes inside one [`Php`] refer to lists of the same [`Php`].

mod exact;
mod function;
mod histogram;
mod hot_lines;
mod memory;
mod pool;
mod pool_event;
mod problem;
mod problem_message;
mod problem_route;
mod request;
mod request_stack;
mod route;
mod target;
mod tier;
mod worker;

pub use exact::{Exact, ExactKind, ExactState, LineCalls};
pub use function::{Function, FunctionKind, Stack};
pub use histogram::{Buckets, Histogram, SizeHistogram};
pub use hot_lines::{HotLine, HotLines};
pub use memory::{Bloat, Exhausted, MemoryUnknown, RouteMemory};
pub use pool::{Bound, FitsUnknown, Pool, PoolRoute, ProcessManager, Scoreboard};
pub use pool_event::{EndedBy, PoolEvent, PoolEventKind};
pub use problem::{CompiledFile, ExceptionCount, PhpError};
pub use problem_message::ProblemMessage;
pub use problem_route::{ProblemRoute, ProblemRoutes};
pub use request::{Request, Waiting};
pub use request_stack::RequestStack;
pub use route::{DurationSummary, METHODS, Route};
pub use target::{Master, SYMBOLS, Target};
pub use tier::{SeenBy, Tier, TierState, TierStatus, Tiers};
pub use worker::{Worker, WorkerState};

use serde::{Deserialize, Serialize};

/// Everything about PHP in one interval (or, merged, in one window).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Php {
    /// Length of the interval that the counts refer to, which may be another one than that of the processes; 0 where nothing
    /// was counted.
    #[serde(default)]
    pub interval_ms: u64,
    /// Whether there is a reading in this snapshot.
    #[serde(default)]
    pub state: PhpState,
    /// PHP images found on this machine.
    pub targets: Vec<Target>,
    /// Functions seen in stacks.
    pub functions: Vec<Function>,
    /// Sampled stacks.
    pub stacks: Vec<Stack>,
    /// What the longest requests had of them: of those that have run for a second the main stacks. Bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_stacks: Vec<RequestStack>,
    /// The same of all other requests. Too much for JSON and recordings: `None` in what comes from them.
    #[serde(skip)]
    pub short_request_stacks: Option<Vec<RequestStack>>,
    /// Samples and waits that are in neither, because there are too many.
    #[serde(skip)]
    pub left_out_request_stacks: u64,
    /// Samples that no stack here has, because the stacks of a long time are too many and the rare ones are left out; 0 in
    /// one interval.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out_samples: u64,
    /// Routes seen, each with the requests that finished in the interval. Those with the fewest requests are in `(other)` of
    /// their group where there are too many.
    pub routes: Vec<Route>,
    /// The most requests that one of those in `(other)` had in an interval; 0 where all are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_route_requests: u64,
    /// Requests: those that run now, and the slowest and newest that finished; bounded.
    pub requests: Vec<Request>,
    /// Exceptions thrown; `None` when not collected.
    pub exceptions: Option<Vec<ExceptionCount>>,
    /// Errors raised; `None` when not collected.
    pub errors: Option<Vec<PhpError>>,
    /// Files compiled; `None` when not collected.
    pub compiles: Option<Vec<CompiledFile>>,
    /// Requests that exceeded `memory_limit`, the oldest first; `None` when not collected. Bounded: the last ones.
    #[serde(default)]
    pub exhausted: Option<Vec<Exhausted>>,
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

/// Whether there is a reading of PHP in a snapshot. Without one its lists are empty, which does not mean that nothing happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhpState {
    /// There is one.
    #[default]
    Read,
    /// PHP is not observed.
    Off,
    /// It is being looked for.
    Starting,
    /// It was not read in time: what was counted comes with a later snapshot. Programs, workers, pools and the state of exact
    /// tracing are those of the reading before.
    Late,
    /// The collector has stopped.
    Ended,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{FunctionKey, RouteKey};

    #[test]
    fn the_key_of_a_function_and_a_route_is_part_of_their_json() {
        let key = FunctionKey {
            name: "f".into(),
            class: "".into(),
            file: "/a.php".into(),
            line: 3,
            kind: FunctionKind::User,
        };
        let function = Function::seen(Arc::new(key));
        let json = serde_json::to_string(&function).unwrap();
        assert!(
            json.starts_with(r#"{"name":"f","class":"","file":"/a.php","line":3,"kind":"user","self_samples":0"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Function>(&json).unwrap(), function);
        let key = RouteKey { route: "/".into(), script: "/i.php".into(), method: "GET".into(), group: "g".into() };
        let route = Route::seen(Arc::new(key));
        let json = serde_json::to_string(&route).unwrap();
        assert!(
            json.starts_with(r#"{"route":"/","script":"/i.php","method":"GET","group":"g","requests":0"#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Route>(&json).unwrap(), route);
    }
}
