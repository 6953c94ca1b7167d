//! A php-fpm pool: its settings, how full it is, the memory of its workers and how many of them would fit.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PoolEvent, is_zero};

/// How php-fpm starts the workers of a pool (`pm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessManager {
    /// All at the start.
    Static,
    /// As many as are needed, with some to spare.
    Dynamic,
    /// Each when a request comes.
    OnDemand,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

impl ProcessManager {
    /// The word in php-fpm's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
            Self::OnDemand => "ondemand",
            Self::Other => "?",
        }
    }
}

/// What bounds the number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Memory of the machine.
    Memory,
    /// The limit of the cgroup that the workers are in.
    Cgroup,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// Why it is not known how many workers fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FitsUnknown {
    /// The memory of the workers, or the room for more, is not known.
    Memory,
    /// The workers at rest would fit, but too few requests were seen to say what they take.
    FewRequests,
    /// The workers at rest would fit, but PHP's allocator, which says what requests take, is off or replaced.
    OtherAllocator,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

impl FitsUnknown {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Memory => "memory not known",
            Self::FewRequests => "too few requests seen",
            Self::OtherAllocator => "peaks unknown (USE_ZEND_ALLOC=0)",
            Self::Other => "?",
        }
    }
}

/// A route of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRoute {
    /// HTTP method; empty where there is none.
    pub method: Arc<str>,
    /// Folded path, or script where there is none.
    pub route: Arc<str>,
}

/// What php-fpm itself keeps of a pool: its scoreboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scoreboard {
    /// Name of the pool; where no worker runs that has all of it, at most 31 bytes.
    pub name: Arc<str>,
    /// The php-fpm master; two masters may have pools of one name.
    pub master: u32,
    /// How workers are started.
    pub process_manager: ProcessManager,
    /// `pm.max_children`: how many workers there may be.
    pub max_children: u32,
    /// Workers that serve a request: those that are seen to, or where that is not known of all, as the master counts them once a
    /// second.
    pub active: u32,
    /// Workers that wait for one.
    pub idle: u32,
    /// Most that served one at the same time, since php-fpm started.
    pub max_active: u32,
    /// How often the pool was full while more were wanted, since php-fpm started.
    pub max_children_reached: u32,
    /// Requests since php-fpm started.
    pub requests: u64,
    /// Requests longer than `request_slowlog_timeout`, since php-fpm started.
    pub slow_requests: u64,
    /// Connections that wait to be taken, as the kernel says; `None` where it does not.
    pub listen_queue: Option<u32>,
    /// Since when there has been one at each reading; `None` where there is none.
    #[serde(default)]
    pub queue_since: Option<Timestamp>,
    /// The most that ever waited, as php-fpm saw it; it sees none on a unix socket.
    pub listen_queue_max: u32,
}

impl Scoreboard {
    /// Bytes that php-fpm keeps of a name in its scoreboard.
    pub(crate) const NAME_BYTES: usize = 31;
    /// Bytes that a name has left when it was cut: of up to 4 of its last character some may be missing.
    pub(crate) const CUT_FROM: usize = Self::NAME_BYTES - 3;

    /// Whether a name may have been cut.
    pub(crate) fn may_be_cut(name: &str) -> bool {
        let length = name.len();
        (Self::CUT_FROM..=Self::NAME_BYTES).contains(&length) && (length == Self::NAME_BYTES || !name.is_ascii())
    }
}

/// One php-fpm pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// What php-fpm says of it.
    #[serde(flatten)]
    pub board: Scoreboard,
    /// Group of the workers; `None` while there are none.
    pub group: Option<Arc<str>>,
    /// How many workers there are.
    pub workers: u32,
    /// What a worker has for itself (USS and swap): 95 of 100 have less. `None` while that is known of fewer than half.
    pub private_bytes: Option<u64>,
    /// What they share, which is there only once: the most that one of them shares with others.
    pub shared_bytes: Option<u64>,
    /// Of that, what is not PHP's heap, which its allocator keeps for the next request: 95 of 100 have less. `None` while that is not known.
    #[serde(default)]
    pub base_bytes: Option<u64>,
    /// The most memory that a request of this pool has: 95 of 100 have less. `None` while too few were seen.
    #[serde(default)]
    pub request_bytes: Option<u64>,
    /// Requests that were seen with their peak, lately.
    #[serde(default)]
    pub requests_seen: u64,
    /// The route that has most of the biggest requests; `None` while too few were seen.
    #[serde(default)]
    pub route: Option<PoolRoute>,
    /// What each worker is counted with while it serves: `base_bytes` and `request_bytes`, and never less than `private_bytes`.
    /// `None` while that is unknown.
    #[serde(default)]
    pub worker_bytes: Option<u64>,
    /// What all workers may take: what is available to them, and what those that run have for themselves; `None` while it is unknown.
    #[serde(default)]
    pub room_bytes: Option<u64>,
    /// How many workers of that size would fit beside all else that runs; `None` while it is unknown.
    pub fits: Option<u32>,
    /// Why `fits` is not known; `None` where it is.
    #[serde(default)]
    pub fits_unknown: Option<FitsUnknown>,
    /// What bounds `fits`.
    pub bound: Option<Bound>,
    /// Since when events of it are looked for; `None` in recordings of older versions.
    #[serde(default)]
    pub events_since: Option<Timestamp>,
    /// How many there were since then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub event_count: u64,
    /// The last ones of them, the newest first. Bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<PoolEvent>,
}
