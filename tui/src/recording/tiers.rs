//! How close snapshots are at which age, as `record --tiers` takes it: `1s:1h,10s:1d,1m`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{parse_duration, parse_length};

/// Most tiers.
const MAX_TIERS: usize = 8;

/// Steps by age, the finest first. Each step is a multiple of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers(Vec<Tier>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tier {
    step: Duration,
    /// Up to which age snapshots have this step; `None` for all that are older.
    age: Option<Duration>,
}

impl Tiers {
    /// Reads what was typed.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tier = |text: &str| {
            let (step, age) = text.split_once(':').map_or((text, None), |(step, age)| (step, Some(age)));
            Ok(Tier { step: parse_duration(step)?, age: age.map(parse_length).transpose()? })
        };
        let tiers: Vec<Tier> = text.split(',').map(tier).collect::<Result<_, String>>()?;
        if tiers.len() > MAX_TIERS {
            return Err(format!("there are at most {MAX_TIERS} tiers"));
        }
        for pair in tiers.windows(2) {
            let [fine, coarse] = pair else { continue };
            let multiple = coarse.step > fine.step && coarse.step.as_nanos().is_multiple_of(fine.step.as_nanos());
            if !multiple {
                return Err("each step has to be a multiple of the one before, as in 1s:1h,10s:1d,1m".into());
            }
            if fine.age.is_none_or(|age| coarse.age.is_some_and(|older| older <= age) || age < coarse.step) {
                return Err("each tier but the last has to say up to which age, each longer than the one before".into());
            }
        }
        if let [Tier { age: None, .. }] = tiers[..] {
            return Err("one tier alone is --interval; name at least two, as in 1s:1h,1m".into());
        }
        Ok(Self(tiers))
    }

    /// The finest step, that of what is recorded.
    pub fn first_step(&self) -> Duration {
        self.0.first().map_or(Duration::ZERO, |tier| tier.step)
    }

    /// The step of a tier; `None` beyond the last one, where nothing is kept.
    pub(crate) fn step(&self, tier: usize) -> Option<Duration> {
        self.0.get(tier).map(|tier| tier.step)
    }

    /// Where the tiers are at a moment.
    pub(crate) fn at(&self, now: Timestamp) -> Bounds {
        let mut bounds: Vec<Timestamp> = (0..)
            .zip(&self.0)
            .filter_map(|(index, tier)| {
                let bound = now.checked_sub(SignedDuration::try_from(tier.age?).ok()?).ok()?;
                // So that what is rolled up has its whole step.
                Some(self.step(index + 1).map_or(bound, |step| start_of(bound, step)))
            })
            .collect();
        for index in (1..bounds.len()).rev() {
            bounds[index - 1] = bounds[index - 1].max(bounds[index]);
        }
        Bounds(bounds)
    }
}

/// The last moments of all tiers but the first, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bounds(Vec<Timestamp>);

impl Bounds {
    /// The tier of a snapshot of this time.
    pub(crate) fn tier(&self, at: Timestamp) -> usize {
        self.0.iter().take_while(|&&bound| at <= bound).count()
    }
}

/// The number of the step that a snapshot belongs to: those that end at the same multiple of it or before that.
pub(crate) fn number_of(at: Timestamp, step: Duration) -> i128 {
    (at.as_nanosecond() - 1).div_euclid(step.as_nanos().max(1) as i128)
}

fn start_of(at: Timestamp, step: Duration) -> Timestamp {
    let step = step.as_nanos().max(1) as i128;
    Timestamp::from_nanosecond(at.as_nanosecond().div_euclid(step) * step).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_say_how_close_snapshots_are_at_which_age() {
        let tiers = Tiers::parse("1s:1h,10s:1d,1m").unwrap();
        let now: Timestamp = "2026-11-27T14:05:33Z".parse().unwrap();
        let bounds = tiers.at(now);
        let tier = |age: i64| bounds.tier(now - SignedDuration::from_secs(age));
        assert_eq!([0, 3599, 3602, 3613, 86_300, 86_500, 9_999_999].map(tier), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!((tiers.first_step(), tiers.step(2)), (Duration::from_secs(1), Some(Duration::from_secs(60))));
    }

    #[test]
    fn with_an_age_for_the_last_tier_what_is_older_is_not_kept() {
        let tiers = Tiers::parse("1s:10m,1m:2h").unwrap();
        let now: Timestamp = "2026-11-27T14:05:33Z".parse().unwrap();
        let tier = tiers.at(now).tier(now - SignedDuration::from_hours(3));
        assert_eq!((tier, tiers.step(tier)), (2, None));
    }

    #[test]
    fn a_step_ends_at_its_multiple() {
        let number = |second: i64| number_of(Timestamp::from_second(second).unwrap(), Duration::from_secs(10));
        assert_eq!([10, 11, 20, 21].map(number), [0, 1, 1, 2]);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, said) in [
            ("1m", "--interval"),
            ("1s,1m", "up to which age"),
            ("2s:1h,7s:2h,1m", "multiple"),
            ("1s:1h,10s:30m", "longer"),
            ("10s:1h,1s", "multiple"),
            ("1s:10s,1m", "longer"),
            ("x:1h,1m", "duration"),
            ("1s:x,1m", "duration"),
            ("", "duration"),
        ] {
            let error = Tiers::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
