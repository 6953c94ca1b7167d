//! What happened to a pool: a worker was killed, or there were not enough of them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PoolRoute;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolEventKind {
    /// The process of a worker ended inside a request, or a signal killed it.
    WorkerDied,
    /// All workers were busy and the pool may have no more (`pm.max_children`).
    MaxChildrenReached,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// What had php-fpm end a worker by SIGTERM in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// `request_terminate_timeout`: other workers of its master went on. Somebody who sends SIGTERM to one worker looks the same.
    RequestTerminateTimeout,
    /// php-fpm stopped or reloaded: its master is gone, or all workers that it had.
    StopOrReload,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// Something that happened to a pool, or to another server that serves PHP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolEvent {
    /// When; where only the interval is known, its end.
    pub at: Timestamp,
    /// What.
    pub kind: PoolEventKind,
    /// Group of the workers; the name of the pool while it has none.
    pub group: Arc<str>,
    /// The worker; `None` where the event is not of one.
    pub pid: Option<u32>,
    /// The signal that killed it; `None` where there was none, or it is not known.
    pub signal: Option<u32>,
    /// What had it ended, if php-fpm ended it; `None` where that is not so, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// The request that it was in; `None` where there was none.
    pub request: Option<PoolRoute>,
    /// How long that had lasted; `None` as for `request`.
    pub duration_ms: Option<f64>,
    /// `pm.max_children`; `None` where the event is not about it.
    pub max_children: Option<u32>,
}
