//! Single requests, running or finished.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One request, running or finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Worker.
    pub pid: u32,
    /// The URI as the browser sent it, with its secrets masked; empty for a command line script.
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
    /// Index into [`super::Php::routes`].
    pub route: usize,
}
