//! Exact tracing: which part of PHP's calls is traced, what it costs, and what was found.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What is traced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExactKind {
    /// Every call of a function that is written in PHP.
    #[default]
    Functions,
    /// Every call of a built-in function, by the line of the call, and every included file.
    Lines,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// How far exact tracing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExactState {
    /// Calls are being counted, to find out what tracing would cost.
    Counting,
    /// The price is known; tracing was not started.
    Priced,
    /// Calls are being traced.
    Tracing,
    /// It has ended; `reason` says why.
    Ended,
    /// It cannot be done; `reason` says why.
    Unavailable,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// Exact tracing as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exact {
    /// State.
    pub state: ExactState,
    /// What is traced.
    pub kind: ExactKind,
    /// Why it ended or cannot be done; empty otherwise.
    pub reason: String,
    /// The pool that it is limited to; `None` for all PHP.
    pub pool: Option<Arc<str>>,
    /// Processes that could be traced.
    pub candidates: u32,
    /// Processes that are traced at this moment.
    pub pids: Vec<u32>,
    /// Share of all CPUs that it may take; `None` for no limit.
    pub budget_ratio: Option<f64>,
    /// Share of all CPUs that it has taken since it began; an estimate from the price of a call.
    pub spent_ratio: Option<f64>,
    /// Calls in a second of CPU time of PHP; `None` until counted.
    pub calls_per_cpu_s: Option<f64>,
    /// What tracing one call costs.
    pub call_ns: Option<f64>,
    /// How many times longer a process takes while all its calls are traced.
    pub slowdown: Option<f64>,
    /// Share of what the candidates did that was traced since it began: of their requests, or of their CPU time where there are no
    /// requests. `None` while that cannot be told.
    pub traced_ratio: Option<f64>,
    /// Calls traced since it began.
    pub calls: u64,
    /// Time until it ends by itself; `None` when it does not.
    pub left_ms: Option<u64>,
}

/// The name of what stands for lines that are not listed.
const MORE_LINES: &str = "(more lines)";

/// A built-in function called on one line, or a file that was included, as traced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCalls {
    /// Function; `{main}` for an included file as a whole, `{compile}` for its compilation.
    pub name: Arc<str>,
    /// Its class; empty for plain functions.
    pub class: Arc<str>,
    /// File of the call, or the included file.
    pub file: Arc<str>,
    /// Line of the call; that of its first line for an included file.
    pub line: u32,
    /// It is an included file.
    pub included: bool,
    /// Calls.
    pub calls: u64,
    /// Their time without built-in functions and files below.
    pub self_ns: u64,
    /// Their time.
    pub total_ns: u64,
}

impl LineCalls {
    /// The same counts for lines that are not listed.
    pub(crate) fn as_rest(&self) -> Self {
        let nothing: Arc<str> = "".into();
        let (class, file) = (Arc::clone(&nothing), nothing);
        Self { name: MORE_LINES.into(), class, file, line: 0, included: false, ..self.clone() }
    }

    /// Whether it stands for lines that are not listed.
    pub(crate) fn is_rest(&self) -> bool {
        &*self.name == MORE_LINES && self.file.is_empty()
    }

    /// Adds other calls.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.self_ns = self.self_ns.saturating_add(other.self_ns);
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
    }
}
