//! Snapshots for the tests of this folder.

use jiff::{SignedDuration, Timestamp};

use crate::model::{Cost, Drops, Host, Php, SCHEMA, Snapshot, System};

/// A snapshot with nothing but PHP, so many seconds after some time.
pub(super) fn snapshot(second: i64, php: Php) -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000_020 + second),
        interval_ms: 1000,
        host: Host::default(),
        system: System::default(),
        memory: None,
        groups: Vec::new(),
        processes: Vec::new(),
        cgroups: Vec::new(),
        php: Php { interval_ms: 1000, ..php }.into(),
        pool_events: Vec::new(),
        drops: Drops::default(),
        cost: Cost::default(),
        notices: Vec::new(),
    }
}
