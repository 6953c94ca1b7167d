//! Processes that serve PHP, and what they do.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Bloat;
use crate::model::WorkerKey;

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
    /// Thread, where PHP runs in several threads of the process, each of which is a worker; `None` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
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
    /// CPU time of its PHP code in the interval, by samples; `None` when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<f64>,
    /// Time that it was blocked in waits that ended in the interval; `None` when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<f64>,
    /// Resident memory; `None` when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// The PHP stack that was seen last in the request that runs, most of the interval: indexes into [`super::Php::functions`] of the
    /// same snapshot, leaf first. Empty when none was seen, and in sums over several snapshots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<usize>,
    /// How long before the snapshot's time the interval ended in which that stack was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_age_ms: Option<u64>,
}

impl Worker {
    /// Which one it is.
    pub fn key(&self) -> WorkerKey {
        WorkerKey { pid: self.pid, tid: self.tid }
    }

    /// A worker of which nothing is known but what it is.
    pub fn seen(pid: u32, pool: Arc<str>, group: Option<Arc<str>>) -> Self {
        let (state, requests, since) = (WorkerState::Unknown, None, None);
        let (cpu_ms, wait_ms, rss_bytes, stack_age_ms) = (None, None, None, None);
        Self {
            pid,
            tid: None,
            pool,
            group,
            state,
            requests,
            since,
            cpu_ms,
            wait_ms,
            rss_bytes,
            stack: Vec::new(),
            stack_age_ms,
            bloated_by: None,
        }
    }
}
