//! What exact tracing is asked for.

use std::{sync::Arc, time::Duration};

use crate::model::ExactKind;

/// What to trace, and how far.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactRequest {
    /// What.
    pub kind: ExactKind,
    /// Only this php-fpm pool.
    pub pool: Option<Arc<str>>,
    /// Only this process, which may not run PHP yet; it is not counted first.
    pub pid: Option<u32>,
    /// Share of all CPUs that tracing may take; infinite for no limit.
    pub budget: f64,
    /// When it ends by itself.
    pub limit: Duration,
}

/// What the exact tier is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Count calls and say what tracing would cost.
    Price(ExactRequest),
    /// Trace; where the price is not known, count first.
    Start(ExactRequest),
    /// End it.
    Stop,
}
