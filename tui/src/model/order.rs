//! Orders for exact tracing, sent from the screen or the command line to the collector.

use std::{sync::Arc, time::Duration};

use super::ExactKind;

/// What to trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceRequest {
    /// Functions or lines.
    pub kind: ExactKind,
    /// Only this php-fpm pool.
    pub pool: Option<Arc<str>>,
    /// Only this process, which may not run PHP yet; it is not counted first.
    pub pid: Option<u32>,
}

/// What exact tracing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceOrder {
    /// Count calls and say what tracing would cost.
    Price(TraceRequest),
    /// Trace; where the price is not known, count first.
    Start(TraceRequest),
    /// End it.
    Stop,
}

/// How far tracing may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceLimits {
    /// Share of all CPUs that tracing may take; infinite for no limit.
    pub budget: f64,
    /// When it ends by itself.
    pub limit: Duration,
}
