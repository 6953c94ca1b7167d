//! What single requests had of the stacks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::is_zero;
use crate::model::WorkerKey;

/// What one request had of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestStack {
    /// Which worker ran it.
    #[serde(flatten)]
    pub worker: WorkerKey,
    /// Its start; `None` in the sum of several requests of one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Index into [`super::Php::stacks`].
    pub stack: usize,
    /// Samples taken on the CPU.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub samples: u64,
    /// Time spent waiting.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_ns: u64,
    /// Bytes of their own by which the process grew; 0 when not collected.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub growth_bytes: u64,
}
