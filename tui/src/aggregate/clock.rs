//! Whether the time of day went on as the intervals did: it does not where the clock is set or the machine is suspended.

use jiff::Timestamp;

use crate::{model::Notice, words::units};

/// Less than this is not told: the uptime is known in whole seconds.
const LEAST_S: f64 = 2.0;

/// The snapshot before: its time of day, and the uptime, which counts the time spent suspended.
#[derive(Debug, Default)]
pub(super) struct Clock {
    before: Option<(Timestamp, u64)>,
}

impl Clock {
    /// Takes the next snapshot, whose interval does not count the time spent suspended.
    pub(super) fn take(&mut self, at: Timestamp, uptime_s: u64, interval_s: Option<f64>) -> Option<Notice> {
        let (before, uptime_before_s) = self.before.replace((at, uptime_s))?;
        let passed = at.duration_since(before).as_secs_f64();
        let more = passed - interval_s?;
        if more.abs() < LEAST_S {
            return None;
        }
        let age = units::age(more.abs().round() as u64);
        let up = uptime_s as f64 - uptime_before_s as f64;
        Some(match uptime_before_s > 0 && (up - passed).abs() <= LEAST_S {
            true => Notice::machine_suspended(&age),
            false => Notice::clock_set(&age, more > 0.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NoticeKind;

    fn taken(passed_s: i64, up_s: u64, interval_s: f64) -> Option<(NoticeKind, String)> {
        let mut clock = Clock::default();
        let second = |second| Timestamp::from_second(1_800_000_000 + second).unwrap();
        assert_eq!(clock.take(second(0), 5_000, None), None);
        clock.take(second(passed_s), 5_000 + up_s, Some(interval_s)).map(|notice| (notice.kind, notice.text))
    }

    #[test]
    fn a_clock_that_is_set_and_a_machine_that_slept_are_told_apart() {
        assert_eq!((taken(1, 1, 1.0), taken(2, 1, 1.0), taken(60, 60, 60.0)), (None, None, None));
        let (kind, text) = taken(7_201, 7_201, 1.0).unwrap();
        assert!(kind == NoticeKind::MachineSuspended && text.contains("2h 00m"), "{text}");
        let (kind, text) = taken(301, 1, 1.0).unwrap();
        assert!(kind == NoticeKind::ClockSet && text.contains("forward by 5m 00s"), "{text}");
        let (kind, text) = taken(-3_599, 1, 1.0).unwrap();
        assert!(kind == NoticeKind::ClockSet && text.contains("back by 1h 00m"), "{text}");
    }
}
