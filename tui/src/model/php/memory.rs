//! What requests take of PHP's allocator, and what workers keep of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SizeHistogram;

/// The most memory that the requests of a route had, as `memory_get_peak_usage(true)` says at their end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMemory {
    /// Requests whose peak is known.
    pub requests: u64,
    /// Median.
    pub p50_bytes: u64,
    /// 95th percentile.
    pub p95_bytes: u64,
    /// Biggest.
    pub max_bytes: u64,
    /// `memory_limit` as PHP was configured, of the last of them; `None` where there is none.
    pub limit_bytes: Option<u64>,
    /// All of them.
    pub histogram: SizeHistogram,
}

impl RouteMemory {
    /// Counts a request. The percentiles are those of before until they are [summarised](Self::summarise).
    pub fn record(&mut self, peak_bytes: u64, limit_bytes: Option<u64>) {
        self.requests += 1;
        self.max_bytes = self.max_bytes.max(peak_bytes);
        self.limit_bytes = limit_bytes;
        self.histogram.record_bytes(peak_bytes);
    }

    /// Adds those of a later time.
    pub fn merge(&mut self, later: &Self) {
        self.requests = self.requests.saturating_add(later.requests);
        self.max_bytes = self.max_bytes.max(later.max_bytes);
        self.limit_bytes = later.limit_bytes;
        self.histogram.merge(&later.histogram);
    }

    /// Makes the percentiles.
    pub fn summarise(&mut self) {
        // The middle of a bucket may lie above the biggest that fell into it.
        let quantile = |q| self.histogram.quantile_bytes(q).unwrap_or(0).min(self.max_bytes);
        (self.p50_bytes, self.p95_bytes) = (quantile(0.5), quantile(0.95));
    }
}

/// Why it is not known what a request has, or had, of PHP's allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryUnknown {
    /// Another allocator is in its place.
    OtherAllocator,
    /// Its process was killed, and gave its memory back before it could be read.
    Killed,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

impl MemoryUnknown {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::OtherAllocator => "PHP's allocator is off (USE_ZEND_ALLOC=0) or replaced",
            Self::Killed => "its process ended in it, and its memory was gone before it could be read",
            Self::Other => "?",
        }
    }
}

/// A request that exceeded `memory_limit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// When the request ended.
    pub at: Timestamp,
    /// Worker.
    pub pid: u32,
    /// Index into [`super::Php::routes`].
    pub route: usize,
    /// File in which memory was asked for.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// The most memory that the request had; `None` when not known.
    pub peak_bytes: Option<u64>,
    /// `memory_limit`; `None` when not known.
    pub limit_bytes: Option<u64>,
}

/// Why a worker is big: the request by which it became so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bloat {
    /// What the worker has for itself now.
    pub private_bytes: u64,
    /// HTTP method of the request.
    pub method: Arc<str>,
    /// Its folded path, or its script where it has none.
    pub route: Arc<str>,
    /// The most memory that it had.
    pub peak_bytes: u64,
    /// When it ended.
    pub at: Timestamp,
}
