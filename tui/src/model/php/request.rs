//! Single requests, running or finished.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::MemoryUnknown;
use crate::model::{FunctionKey, WorkerKey};

/// What a thread waits in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The function on top of the PHP stack; that of the engine where no PHP code runs.
    pub function: Arc<FunctionKey>,
    /// The function of the application, or the file, that called it; `None` where there is none.
    #[serde(default)]
    pub caller: Option<Arc<FunctionKey>>,
    /// Since when.
    pub since: Timestamp,
    /// Otherwise it began before tusktop looked: `since` is when that was.
    pub since_known: bool,
    /// The kernel's function that it waits in, such as `hrtimer_nanosleep`; `None` for a short wait, or when not known.
    #[serde(default)]
    pub kernel: Option<Arc<str>>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_no(value: &bool) -> bool {
    !*value
}

/// One request, running or finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Process of its worker.
    pub pid: u32,
    /// Its thread, where PHP runs in several threads of the process; `None` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// The URI as the browser sent it, with its secrets masked; empty for a command line script.
    pub uri: Arc<str>,
    /// HTTP method; empty for a command line script.
    pub method: Arc<str>,
    /// HTTP status; `None` while it runs, or where there is none.
    pub status: Option<u16>,
    /// When it started, or when it was found if `start_known` is false.
    pub started_at: Timestamp,
    /// Otherwise it began before tusktop looked, at a time that is not known: it lasts longer than `duration_ms`.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub start_known: bool,
    /// Duration, so far if it still runs.
    pub duration_ms: f64,
    /// CPU time of its thread; `None` when not known.
    pub cpu_ms: Option<f64>,
    /// Time that its thread was blocked, in waits that have ended; `None` when not known, as of one that began before tusktop
    /// looked.
    #[serde(default)]
    pub wait_ms: Option<f64>,
    /// The most memory that it had, as `memory_get_peak_usage(true)` says; so far if it still runs. `None` when not known.
    #[serde(default)]
    pub memory_peak_bytes: Option<u64>,
    /// What it has now, if it still runs; `None` when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Why the memory of PHP's allocator is not known, where something particular is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_unknown: Option<MemoryUnknown>,
    /// `memory_limit`; `None` where there is none, or when it is not known.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    /// How much more it had each minute lately, if it has run for long enough to tell; `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_bytes_per_minute: Option<i64>,
    /// How much bigger its process became each minute lately (RSS), in the same way. What extensions keep is in it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_growth_bytes_per_minute: Option<i64>,
    /// What its thread waits in at the moment; `None` when it does not, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// It has ended.
    pub finished: bool,
    /// Its process ended inside it: the request has failed.
    #[serde(default, skip_serializing_if = "is_no")]
    pub aborted: bool,
    /// Index into [`super::Php::routes`].
    pub route: usize,
}

impl Request {
    /// Its worker.
    pub fn worker(&self) -> WorkerKey {
        WorkerKey { pid: self.pid, tid: self.tid }
    }
}
