//! Waiting for a condition, for at most some time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a process may take to start.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `condition` until it holds. Panics with `what` (evaluated then) after `patience`.
pub fn wait_until(patience: Duration, what: impl Fn() -> String, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {}", what());
        thread::sleep(Duration::from_millis(5));
    }
}
