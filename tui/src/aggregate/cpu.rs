//! The CPU time that the next reading of a process is compared with. Threads of a process are not read at one moment, so a
//! thread that ends meanwhile may be missing from the sum, or be in it twice.

use std::time::Duration;

/// What is known of a process's CPU time.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuBase {
    /// `None` after a reading that could not be believed.
    cpu: Option<Duration>,
    /// The previous reading was lower than the one before.
    lower: bool,
}

impl CpuBase {
    /// The base after a first reading.
    pub(crate) fn new(cpu: Duration) -> Self {
        Self { cpu: Some(cpu), lower: false }
    }

    /// What was used between the readings, and the base for the next. `base` is what that is compared with, and `most` what
    /// all CPUs could do in between.
    pub(crate) fn advance(self, cpu: Duration, base: Duration, most: Option<Duration>) -> (Option<Duration>, Self) {
        let Some(before) = self.cpu else { return (None, Self::new(base)) };
        if cpu < before && !self.lower {
            // It comes back with the next reading, and must not count once more then.
            return (Some(Duration::ZERO), Self { cpu: Some(before), lower: true });
        }
        let used = cpu.saturating_sub(before);
        match most {
            Some(most) if used > most => (None, Self { cpu: None, lower: false }),
            _ => (Some(used), Self::new(base)),
        }
    }

    /// What a process used since the last reading until it ended.
    pub(crate) fn until_end(self, cpu: Duration) -> Option<Duration> {
        Some(cpu.saturating_sub(self.cpu?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Option<Duration> = Some(Duration::from_secs(2));

    /// What is used between readings of these seconds.
    fn used(seconds: &[u64]) -> Vec<Option<u64>> {
        let mut base = CpuBase::new(Duration::from_secs(seconds[0]));
        let step = |&seconds: &u64| {
            let cpu = Duration::from_secs(seconds);
            let (used, next) = base.advance(cpu, cpu, MOST);
            base = next;
            used.map(|used| used.as_secs())
        };
        seconds[1..].iter().map(step).collect()
    }

    #[test]
    fn a_thread_that_is_missing_once_is_not_counted_again() {
        assert_eq!(used(&[100, 101, 40, 102, 103]), [Some(1), Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn a_sum_that_stays_lower_is_the_new_base() {
        assert_eq!(used(&[100, 40, 41, 42]), [Some(0), Some(0), Some(1)]);
    }

    #[test]
    fn a_thread_that_is_read_twice_makes_the_interval_unknown_and_no_more() {
        assert_eq!(used(&[100, 160, 102, 103]), [None, None, Some(1)]);
    }

    #[test]
    fn the_base_may_be_finer_than_the_reading() {
        let millis = Duration::from_millis;
        let (used, base) = CpuBase::new(millis(100)).advance(millis(110), millis(118), None);
        assert_eq!(used, Some(millis(10)));
        assert_eq!(base.advance(millis(120), millis(120), None).0, Some(millis(2)));
        assert_eq!(base.until_end(millis(125)), Some(millis(7)));
    }
}
