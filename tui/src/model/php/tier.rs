//! The ways to observe PHP, and the state of each for one image.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// State of a way to observe PHP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierState {
    /// Observing.
    On,
    /// Possible, but not switched on.
    Off,
    /// Not possible here; the reason says why.
    Unavailable,
}

/// The ways to observe a PHP image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tiers {
    /// Requests by their start and end.
    pub requests: RequestsTier,
    /// Stacks by a timer.
    pub sampling: SamplingTier,
    /// Waiting time, by the switches of the scheduler.
    #[serde(default)]
    pub waiting: ProbeTier,
    /// Every function call.
    pub exact: ExactTier,
    /// Exceptions.
    #[serde(default)]
    pub exceptions: ProbeTier,
    /// Errors: warnings, notices, fatal errors and so on.
    #[serde(default)]
    pub errors: ProbeTier,
    /// Compiled files.
    #[serde(default)]
    pub compiles: ProbeTier,
}

/// State of a tier that is seen by probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeTier {
    /// State.
    pub state: TierState,
    /// What it is seen by: `usdt`, `symbol` or, for waiting time, `sched_switch`.
    pub source: Option<Arc<str>>,
    /// Why it is not on, or what it does not show; empty when it shows all.
    #[serde(default)]
    pub reason: String,
}

impl Default for ProbeTier {
    fn default() -> Self {
        Self { state: TierState::Unavailable, source: None, reason: "not collected".to_owned() }
    }
}

/// State of the requests tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestsTier {
    /// State.
    pub state: TierState,
    /// What the start and end are seen by: `usdt` or `symbol`.
    pub source: Option<Arc<str>>,
    /// Why it is not on; empty when it is.
    #[serde(default)]
    pub reason: String,
}

/// State of the sampling tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplingTier {
    /// State.
    pub state: TierState,
    /// Samples per second and CPU.
    pub hz: Option<u32>,
    /// Why it is not on; empty when it is.
    #[serde(default)]
    pub reason: String,
}

/// State of the exact tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactTier {
    /// State.
    pub state: TierState,
    /// Why it is not on; empty when it is.
    #[serde(default)]
    pub reason: String,
    /// What to type, line by line; [`Master::hint`] has what fits each master.
    #[serde(default)]
    pub hint: Vec<String>,
}
