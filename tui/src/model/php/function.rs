//! Functions of PHP, and the stacks that they were seen in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{HotLines, is_zero};
use crate::model::FunctionKey;

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
    #[serde(other)]
    Unknown,
}

/// One PHP function, or the top-level code of a file (`{main}`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Which function it is; its fields are in the JSON of the function itself.
    #[serde(flatten)]
    pub key: Arc<FunctionKey>,
    /// Samples with this function on top.
    pub self_samples: u64,
    /// Samples with this function anywhere on the stack, each counted once.
    pub total_samples: u64,
    /// At most so many more of its samples and calls are counted in `(more functions)`, as [`super::Route::count_error`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count_error: u64,
    /// Time spent waiting with this function on top; `None` when not collected.
    pub self_wait_ns: Option<u64>,
    /// Time spent waiting with this function on the stack; `None` when not collected.
    pub total_wait_ns: Option<u64>,
    /// Bytes of their own by which processes grew with this function on top; `None` when not collected.
    #[serde(default)]
    pub self_growth_bytes: Option<u64>,
    /// The same with this function on the stack; `None` when not collected.
    #[serde(default)]
    pub total_growth_bytes: Option<u64>,
    /// Calls; `None` when not collected.
    pub calls: Option<u64>,
    /// Exact self time; `None` when not collected.
    pub self_ns: Option<u64>,
    /// Exact total time; `None` when not collected.
    pub total_ns: Option<u64>,
    /// Exact calls by the binary logarithm of their duration in nanoseconds, without the empty end; `None` when not collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations_log2: Option<Vec<u64>>,
    /// At which of its lines it was in some of its samples.
    #[serde(default, skip_serializing_if = "HotLines::is_empty")]
    pub hot_lines: HotLines,
}

impl Function {
    /// A function that was seen in a stack, with nothing counted yet.
    pub fn seen(key: Arc<FunctionKey>) -> Self {
        Self {
            key,
            self_samples: 0,
            total_samples: 0,
            count_error: 0,
            self_wait_ns: Some(0),
            total_wait_ns: Some(0),
            self_growth_bytes: None,
            total_growth_bytes: None,
            calls: None,
            self_ns: None,
            total_ns: None,
            durations_log2: None,
            hot_lines: HotLines::default(),
        }
    }
}

/// One sampled stack of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Index into [`super::Php::routes`].
    pub route: usize,
    /// Indexes into [`super::Php::functions`], leaf first.
    pub frames: Vec<usize>,
    /// Samples taken on the CPU.
    pub samples: u64,
    /// Time spent waiting; `None` when not collected.
    pub wait_ns: Option<u64>,
    /// Bytes of their own by which processes grew; `None` when not collected.
    #[serde(default)]
    pub growth_bytes: Option<u64>,
    /// The stack was deeper than what is kept.
    pub truncated: bool,
}
