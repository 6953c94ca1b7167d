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
    /// The most memory that it had, as `memory_get_peak_usage(true)` says; so far if it still runs. `None` when not known.
    #[serde(default)]
    pub memory_peak_bytes: Option<u64>,
    /// What it has now, if it still runs; `None` when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// `memory_limit`; `None` where there is none, or when it is not known.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    /// How much more it had each minute lately, if it has run for long enough to tell; `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_bytes_per_minute: Option<i64>,
    /// It has ended.
    pub finished: bool,
    /// Index into [`super::Php::routes`].
    pub route: usize,
}

impl Request {
    /// Seconds until it reaches `memory_limit` if it goes on growing as it did; `None` where it does not grow, there is no limit, or
    /// that is not known.
    pub fn seconds_to_limit(&self) -> Option<u64> {
        let growth =
            self.growth_bytes_per_minute.and_then(|growth| u64::try_from(growth).ok()).filter(|growth| *growth > 0)?;
        let room = self.memory_limit_bytes?.checked_sub(self.memory_bytes?)?;
        Some((u128::from(room) * 60 / u128::from(growth)) as u64)
    }
}
