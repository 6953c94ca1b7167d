//! Processes that the kernel killed because memory was gone.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A process that the kernel killed because memory was gone, of the machine or of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKill {
    /// When; the end of the interval where the kernel's time is not known.
    pub at: Timestamp,
    /// Process id.
    pub pid: u32,
    /// Name; empty where it was in no snapshot and the kernel did not say.
    pub comm: Arc<str>,
    /// Name of its group in the snapshot before; `None` where it was in none.
    #[serde(default)]
    pub group: Option<Arc<str>>,
    /// Path of its memory cgroup in the snapshot before.
    #[serde(default)]
    pub cgroup: Option<Arc<str>>,
    /// The limit of the cgroup that was full, its own or one above; `None` when the machine had no memory left.
    #[serde(default)]
    pub limit_bytes: Option<u64>,
    /// What it had in memory; where the kernel did not say, in the snapshot before.
    #[serde(default)]
    pub rss_bytes: Option<u64>,
    /// What of it was swapped out.
    #[serde(default)]
    pub swap_bytes: Option<u64>,
    /// The snapshot before, which shows where memory was.
    #[serde(default)]
    pub before: Option<Timestamp>,
}
