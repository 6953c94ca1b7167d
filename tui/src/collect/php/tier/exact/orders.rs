//! An order for exact tracing with the limits that it is under: the screen says what, the settings say how far.

use crate::model::{TraceLimits, TraceOrder};

/// What the exact tier is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// What to do.
    pub what: TraceOrder,
    /// How far it may go.
    pub limits: TraceLimits,
}
