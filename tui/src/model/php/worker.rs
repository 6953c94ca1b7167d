//! Processes that serve PHP, and what they do.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Bloat;

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Inside a request.
    Running,
    /// Between requests.
    Idle,
    /// Not known: the requests tier is not on, or what it did before that could not be read.
    #[serde(other)]
    Unknown,
}

/// A process that serves PHP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Process.
    pub pid: u32,
    /// php-fpm pool, or the server API where there is no pool.
    pub pool: Arc<str>,
    /// Name of its process group by the rules; `None` when unknown.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// What it does.
    pub state: WorkerState,
    /// Requests seen since we watch; `None` while none can be seen.
    #[serde(default)]
    pub requests: Option<u64>,
    /// Since when it is in this state; `None` when not seen.
    pub since: Option<Timestamp>,
    /// The request by which it became much bigger than the others of its pool; `None` where it is not, or that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bloated_by: Option<Bloat>,
}
