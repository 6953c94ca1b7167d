//! How long this thread was blocked: neither ran nor waited for a CPU. On a busy machine this tells what waited for something else
//! from what only had no turn.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Measures from its start.
#[derive(Debug)]
pub(crate) struct Blocked {
    begun: Instant,
    busy: Duration,
}

impl Blocked {
    /// From now on.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), busy: busy() }
    }

    /// Time that this thread, which must be the one that began, was blocked for since then.
    pub(crate) fn so_far(&self) -> Duration {
        self.begun.elapsed().saturating_sub(busy().saturating_sub(self.busy))
    }
}

/// Time for which this thread ran or waited for a CPU: the first two numbers of its schedstat, in nanoseconds
/// (Documentation/scheduler/sched-stats.rst). 0 where the kernel does not count it.
fn busy() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_ascii_whitespace().take(2).filter_map(|number| number.parse().ok());
    nanoseconds.map(Duration::from_nanos).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_does_not_count_and_sleep_does() {
        let blocked = Blocked::begin();
        let (begun, sleep) = (Instant::now(), Duration::from_millis(50));
        while busy().saturating_sub(blocked.busy) < sleep {
            assert!(begun.elapsed() < Duration::from_secs(60), "it works");
        }
        let (working, all) = (blocked.so_far(), begun.elapsed());
        assert!(working + sleep / 2 < all, "{working:?} of {all:?}");
        std::thread::sleep(sleep);
        assert!(blocked.so_far() >= working + sleep / 2);
    }
}
