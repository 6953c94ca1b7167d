//! Routes: requests of one script, method and folded path, with their durations.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Histogram, RouteMemory, is_zero};
use crate::model::RouteKey;

/// Methods that make routes of their own: those of HTTP (RFC 9110, RFC 5789) and of WebDAV (RFC 4918, RFC 3253, RFC 5323).
pub const METHODS: [&str; 18] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

/// Durations of a set of requests in milliseconds; `None` where there was no request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DurationSummary {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Longest.
    pub max: Option<f64>,
}

/// Requests that share a group, a script, a method and a folded path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Which route it is; its fields are in the JSON of the route itself.
    #[serde(flatten)]
    pub key: Arc<RouteKey>,
    /// Requests that finished.
    pub requests: u64,
    /// At most so many more, which are counted in `(other)`: where there are too many routes, those with the fewest requests
    /// give way, and one that comes back begins again. 0, and absent in JSON, where the count is exact.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count_error: u64,
    /// Those of them with a status of 500 or above.
    pub errors: u64,
    /// Summary of `histogram`.
    pub duration_ms: DurationSummary,
    /// Durations of the requests.
    pub histogram: Histogram,
    /// CPU time of the requests; `None` when not collected.
    pub cpu_ns: Option<u64>,
    /// Time that the requests were blocked; `None` when not collected.
    #[serde(default)]
    pub wait_ns: Option<u64>,
    /// Bytes of their own by which processes grew in these requests (anonymous pages); `None` when not collected.
    pub rss_growth_bytes: Option<i64>,
    /// The most memory that the requests had; `None` when not known of any.
    #[serde(default)]
    pub memory: Option<RouteMemory>,
}

impl Route {
    /// A route that was seen, with no request counted yet.
    pub fn seen(key: Arc<RouteKey>) -> Self {
        Self {
            key,
            requests: 0,
            count_error: 0,
            errors: 0,
            duration_ms: DurationSummary::default(),
            histogram: Histogram::default(),
            cpu_ns: None,
            wait_ns: None,
            rss_growth_bytes: None,
            memory: None,
        }
    }
}
