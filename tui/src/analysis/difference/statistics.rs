//! Whether a difference is more than noise. It owns the sums over readings and the tests; what is counted is the caller's matter.
//!
//! A difference counts when it is more than three standard errors (of a count without any trend, 1 of 370 differences is that
//! large). The error of a count is that of independent events (Poisson). Where the readings vary by more than such events would,
//! because they come in bursts, the count stands for as many fewer events (quasi-Poisson). The readings of CPU time are alike from one to the next; they
//! count for as many independent ones as their autocorrelation says, `n (1 - r) / (1 + r)`. Memory and the number of processes wander,
//! so that any number of readings in a row counts for one: what varies within the spans is their error. A percentile has the bounds of its rank, `n q` with the
//! error `sqrt(n q (1 - q))`: two percentiles differ when their bounds do not meet.

use serde::Serialize;

use crate::model::Histogram;

/// Standard errors beyond which a difference counts.
const ERRORS: f64 = 3.0;
/// The chance that corresponds to [`ERRORS`], on one side.
const CHANCE: f64 = 0.001_35;
/// Standard errors of a rank on either side of a percentile: the bounds of two percentiles that are three errors of their
/// difference apart just meet, for three errors are `3 / sqrt(2)` of each.
const ERRORS_OF_RANK: f64 = ERRORS / std::f64::consts::SQRT_2;
/// Events up to which the chance is summed up exactly.
const FEW: f64 = 100.0;
/// Events below which nothing is said about spans of about the same length.
const TOO_FEW: f64 = 12.0;

/// What a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is more than noise.
    Changed,
    /// It is within what varies anyway.
    Noise,
    /// Too little was counted to say.
    Unsure,
}

/// A value in two spans.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// In the span that is compared with; `None` when it is not known.
    pub before: Option<f64>,
    /// In the span that is compared; `None` when it is not known.
    pub after: Option<f64>,
    /// `after` less `before`.
    pub difference: Option<f64>,
    /// What the difference is.
    pub verdict: Verdict,
}

impl Change {
    fn new(before: Option<f64>, after: Option<f64>, verdict: Verdict) -> Self {
        let difference = before.zip(after).map(|(before, after)| after - before);
        let verdict = if difference.is_some() { verdict } else { Verdict::Unsure };
        Self { before, after, difference, verdict }
    }

    /// The difference as a share of the value before; `None` where that is 0 or not known.
    pub fn ratio(&self) -> Option<f64> {
        let before = self.before.filter(|&before| before > 0.0)?;
        Some(self.difference? / before)
    }

    /// Key of the order of rows: what changed before what did not, then by the size of the difference.
    pub(super) fn weight(&self) -> (bool, f64) {
        (self.verdict == Verdict::Changed, self.difference.unwrap_or_default().abs())
    }
}

/// What is counted, over the readings of a span. A reading without it counts as 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    sum: f64,
    squares: f64,
    /// Of each reading and the one before it.
    products: f64,
    /// The last reading that has it: its number, what was counted in it, and in the one before it.
    last: Option<(u64, f64, f64)>,
}

impl Counted {
    /// Adds to the reading of a number; numbers go up, and a reading may get several parts.
    pub(super) fn add(&mut self, reading: u64, value: f64) {
        let (so_far, before) = match self.last {
            Some((number, counted, before)) if number == reading => (counted, before),
            Some((number, counted, _)) if number + 1 == reading => (0.0, counted),
            _ => (0.0, 0.0),
        };
        self.sum += value;
        self.squares += value * (value + 2.0 * so_far);
        self.products += before * value;
        self.last = Some((reading, so_far + value, before));
    }

    /// The sum.
    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// The variance of one of `n` readings, and how many readings one independent one stands for. `None` below two.
    fn spread(&self, n: f64) -> Option<(f64, f64)> {
        if n < 2.0 {
            return None;
        }
        let mean = self.sum / n;
        let variance = (self.squares / n - mean * mean).max(0.0);
        if variance <= mean * mean * 1e-12 {
            return Some((0.0, 1.0));
        }
        let alike = (self.products / (n - 1.0) - mean * mean) / variance;
        // What is estimated from few readings is too low, by this much (Kendall 1954).
        let alike = alike + (1.0 + 3.0 * alike) / n;
        // All of them together are one reading at least.
        let alike = alike.clamp(0.0, (n - 1.0) / (n + 1.0));
        Some((variance * n / (n - 1.0), (1.0 + alike) / (1.0 - alike)))
    }

    /// The variance of the sum over `n` readings, as they show it.
    fn variance_of_sum(&self, n: f64) -> f64 {
        self.spread(n).map_or(0.0, |(variance, alike)| n * variance * alike)
    }
}

/// A level such as memory, over the readings of a span. A reading without it counts as 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Level {
    readings: Counted,
    weighted: f64,
    unknown: u64,
    unknown_s: f64,
}

impl Level {
    /// Adds a reading that stands for so many seconds; `None` where it is not known.
    pub(super) fn add(&mut self, reading: u64, value: Option<f64>, seconds: f64) {
        match value {
            Some(value) => {
                self.readings.add(reading, value);
                self.weighted += value * seconds;
            }
            None => {
                self.unknown += 1;
                self.unknown_s += seconds;
            }
        }
    }

    fn mean(&self, of: Readings) -> Option<f64> {
        let seconds = of.seconds - self.unknown_s;
        (seconds > 0.0).then(|| self.weighted / seconds)
    }
}

/// Readings of a span, and the time that they stand for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Readings {
    pub count: u64,
    pub seconds: f64,
}

/// Compares what was counted. `per` is what it is counted in: seconds, or requests. `unit` is what one event counts for, on average.
pub(super) fn rate(
    (before, before_readings, before_per): (&Counted, u64, f64),
    (after, after_readings, after_per): (&Counted, u64, f64),
    unit: f64,
) -> Change {
    let known = |counted: &Counted, per: f64| (per > 0.0).then(|| counted.sum / per);
    let values = (known(before, before_per), known(after, after_per));
    let (Some(from), Some(to)) = values else { return Change::new(values.0, values.1, Verdict::Unsure) };
    let all = before.sum + after.sum;
    if all <= 0.0 || unit <= 0.0 {
        return Change::new(Some(from), Some(to), Verdict::Noise);
    }
    // Events that come together are one.
    let seen = before.variance_of_sum(before_readings as f64) + after.variance_of_sum(after_readings as f64);
    let unit = unit * (seen / (all * unit)).max(1.0);
    let events = all / unit;
    let changed = if events <= FEW {
        tail(events.round(), (after.sum / unit).round(), after_per / (before_per + after_per)) < CHANCE
    } else {
        let inverse = 1.0 / before_per + 1.0 / after_per;
        let error = (all * unit / (before_per + after_per) * inverse).sqrt();
        (to - from).abs() - unit * inverse / 2.0 > ERRORS * error
    };
    let verdict = match changed {
        true => Verdict::Changed,
        false if events < TOO_FEW => Verdict::Unsure,
        false => Verdict::Noise,
    };
    Change::new(Some(from), Some(to), verdict)
}

/// How the readings of a level go on from one to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// They wander: all readings of a span are one.
    Wandering,
    /// They come back to a mean, as fast as their autocorrelation says.
    Returning,
}

/// Compares levels. A difference below `least`, or below 1 % of the larger, is noise in any case.
pub(super) fn level(
    (before, of_before): (&Level, Readings),
    (after, of_after): (&Level, Readings),
    course: Course,
    least: f64,
) -> Change {
    let values = (before.mean(of_before), after.mean(of_after));
    let (Some(from), Some(to)) = values else { return Change::new(values.0, values.1, Verdict::Unsure) };
    let difference = (to - from).abs();
    if difference < least.max(from.max(to) / 100.0) {
        return Change::new(Some(from), Some(to), Verdict::Noise);
    }
    let square_of_error = |level: &Level, of: Readings| {
        let n = of.count.saturating_sub(level.unknown) as f64;
        level.readings.spread(n).map(|(variance, alike)| match course {
            Course::Wandering => variance,
            Course::Returning => variance * alike / n,
        })
    };
    let verdict = match square_of_error(before, of_before).zip(square_of_error(after, of_after)) {
        Some((a, b)) if difference > ERRORS * (a + b).sqrt() => Verdict::Changed,
        Some(_) => Verdict::Noise,
        None => Verdict::Unsure,
    };
    Change::new(Some(from), Some(to), verdict)
}

/// Compares a percentile in milliseconds.
pub(super) fn percentile(before: &Histogram, after: &Histogram, quantile: f64) -> Change {
    let (from, to) = (before.quantile_ms(quantile), after.quantile_ms(quantile));
    let (Some((from_least, from_most)), Some((to_least, to_most))) =
        (bounds(before, quantile), bounds(after, quantile))
    else {
        return Change::new(from, to, Verdict::Unsure);
    };
    let above = |least: Option<f64>, most: Option<f64>| least.zip(most).map(|(least, most)| least > most * BUCKET);
    let verdict = match (above(to_least, from_most), above(from_least, to_most)) {
        (Some(true), _) | (_, Some(true)) => Verdict::Changed,
        (Some(false), Some(false)) => Verdict::Noise,
        _ => Verdict::Unsure,
    };
    Change::new(from, to, verdict)
}

/// Two durations in neighbouring buckets of a histogram may be the same.
const BUCKET: f64 = 1.05;

/// Between which durations a percentile lies; the outer `None` for an empty histogram, an inner one where that is beyond the shortest
/// or the longest.
fn bounds(histogram: &Histogram, quantile: f64) -> Option<(Option<f64>, Option<f64>)> {
    let n = histogram.count() as f64;
    if n == 0.0 {
        return None;
    }
    let error = ERRORS_OF_RANK * (quantile * (1.0 - quantile) / n).sqrt();
    let (least, most) = (quantile - error, quantile + error);
    Some((
        (least > 0.0).then(|| histogram.quantile_ms(least)).flatten(),
        (most < 1.0).then(|| histogram.quantile_ms(most)).flatten(),
    ))
}

/// The chance that of `n` events as many as `k` or more extreme fall into the part whose share is `share`, on the side of `k`.
fn tail(n: f64, k: f64, share: f64) -> f64 {
    let (n, k, share) = if k < n * share { (n, n - k, 1.0 - share) } else { (n, k, share) };
    // The chance of all n, and from there down to k.
    let mut chance = share.powf(n);
    let (mut sum, mut at) = (chance, n);
    while at > k && sum < CHANCE {
        chance *= at / (n - at + 1.0) * (1.0 - share) / share;
        sum += chance;
        at -= 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(values: &[f64]) -> Counted {
        let mut counted = Counted::default();
        values.iter().enumerate().filter(|(_, v)| **v > 0.0).for_each(|(i, &v)| counted.add(i as u64, v));
        counted
    }

    fn compare(before: &[f64], after: &[f64]) -> Verdict {
        let side = |values: &[f64]| (counted(values), values.len() as u64, values.len() as f64);
        let (a, b) = (side(before), side(after));
        rate((&a.0, a.1, a.2), (&b.0, b.1, b.2), 1.0).verdict
    }

    /// Numbers that look like chance, the same in every run.
    fn numbers(mut seed: u64) -> impl Iterator<Item = f64> {
        std::iter::from_fn(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some((seed >> 33) as f64 / (1_u64 << 31) as f64)
        })
    }

    #[test]
    fn counts_that_differ_by_chance_are_noise_and_others_are_not() {
        let mut found = 0;
        for seed in 0..500 {
            let of = |seed, chance: f64| -> Vec<f64> {
                numbers(seed).skip(5).take(300).map(|number| f64::from(u8::from(number < chance))).collect()
            };
            found += u32::from(compare(&of(seed * 2, 0.3), &of(seed * 2 + 1, 0.3)) == Verdict::Changed);
            assert_eq!(compare(&of(seed * 2, 0.2), &of(seed * 2 + 1, 0.5)), Verdict::Changed);
        }
        assert!(found <= 5, "{found} of 500");
    }

    #[test]
    fn a_burst_is_one_event_and_a_steady_stream_is_many() {
        let mut burst = vec![0.0; 60];
        burst[20] = 60.0;
        assert_eq!(compare(&[0.0; 60], &burst), Verdict::Unsure);
        assert_eq!(compare(&[0.0; 60], &[1.0; 60]), Verdict::Changed);
    }

    #[test]
    fn few_events_say_nothing_unless_the_spans_differ_in_length() {
        let events =
            |n: usize, of: usize| (0..of).map(|i| f64::from(u8::from(i < n * 10 && i % 10 == 0))).collect::<Vec<_>>();
        assert_eq!(compare(&events(0, 200), &events(5, 200)), Verdict::Unsure);
        assert_eq!(compare(&events(0, 200), &events(15, 200)), Verdict::Changed);
        let (none, some) = (counted(&[0.0; 3600]), counted(&events(5, 60)));
        assert_eq!(rate((&none, 3600, 3600.0), (&some, 60, 60.0), 1.0).verdict, Verdict::Changed);
        assert_eq!(compare(&[0.0; 60], &[0.0; 60]), Verdict::Noise);
    }

    #[test]
    fn a_rate_that_nobody_measured_is_unknown_and_not_0() {
        let some = counted(&[1.0; 60]);
        let change = rate((&Counted::default(), 0, 0.0), (&some, 60, 60.0), 1.0);
        assert_eq!((change.before, change.after, change.verdict), (None, Some(1.0), Verdict::Unsure));
        assert_eq!((change.difference, change.ratio()), (None, None));
    }

    #[test]
    fn parts_of_a_reading_are_one_reading() {
        let (mut parts, mut whole) = (Counted::default(), Counted::default());
        for reading in 0..10 {
            parts.add(reading, 2.0);
            parts.add(reading, 3.0);
            whole.add(reading, 5.0);
        }
        assert_eq!((parts.sum, parts.squares, parts.products), (whole.sum, whole.squares, whole.products));
    }

    fn levels(values: impl IntoIterator<Item = Option<f64>>) -> (Level, Readings) {
        let (mut level, mut readings) = (Level::default(), Readings::default());
        for value in values {
            level.add(readings.count, value, 1.0);
            readings = Readings { count: readings.count + 1, seconds: readings.seconds + 1.0 };
        }
        (level, readings)
    }

    fn compared(before: &(Level, Readings), after: &(Level, Readings)) -> Change {
        level((&before.0, before.1), (&after.0, after.1), Course::Wandering, 0.1)
    }

    #[test]
    fn a_level_that_wanders_is_noise_and_one_that_stepped_is_not() {
        let wandering = |seed| {
            let mut at = 100.0;
            levels(numbers(seed).take(300).map(move |number| {
                at += (number - 0.5) * 4.0 - (at - 100.0) * 0.01;
                Some(at)
            }))
        };
        let found = (0..200)
            .filter(|seed| compared(&wandering(seed * 2), &wandering(seed * 2 + 1)).verdict == Verdict::Changed);
        let found = found.count();
        assert!(found <= 4, "{found} of 200");
        let (before, after) = (levels([Some(100.0); 60]), levels([Some(120.0); 60]));
        let change = compared(&before, &after);
        assert_eq!((change.verdict, change.ratio()), (Verdict::Changed, Some(0.2)));
        assert_eq!(compared(&before, &levels([Some(100.5); 60])).verdict, Verdict::Noise, "below 1 %");
        assert_eq!(compared(&before, &levels([Some(120.0)])).verdict, Verdict::Unsure, "one reading");
        assert_eq!(compared(&before, &levels([None; 60])).after, None);
        let half = levels((0..60).map(|i| (i % 2 == 0).then_some(120.0)));
        assert_eq!(compared(&before, &half).after, Some(120.0), "what is not known is not 0");
    }

    fn histogram(durations_ms: impl IntoIterator<Item = f64>) -> Histogram {
        let mut histogram = Histogram::default();
        durations_ms.into_iter().for_each(|ms| histogram.record((ms * 1e6) as u64));
        histogram
    }

    #[test]
    fn percentiles_differ_when_their_bounds_do_not_meet() {
        let of = |seed: u64, n: usize, times: f64| {
            histogram(numbers(seed).skip(9).take(n).map(|x| times * 10.0 / (1.01 - x)))
        };
        let mut found = 0;
        for seed in 0..200 {
            let (a, b) = (of(seed * 2, 400, 1.0), of(seed * 2 + 1, 400, 1.0));
            found += u32::from(percentile(&a, &b, 0.95).verdict == Verdict::Changed);
            assert_eq!(percentile(&a, &of(seed * 2 + 1, 400, 5.0), 0.95).verdict, Verdict::Changed);
        }
        assert!(found <= 4, "{found} of 200");
        let few = percentile(&of(1, 20, 1.0), &of(2, 20, 1.0), 0.95);
        assert!(few.verdict == Verdict::Unsure && few.difference.is_some());
        assert_eq!(percentile(&Histogram::default(), &of(1, 20, 1.0), 0.5).before, None);
        let (alike, next) = (histogram([100.0; 1000]), histogram([103.0; 1000]));
        assert_eq!(percentile(&alike, &next, 0.5).verdict, Verdict::Noise, "the buckets are that wide");
    }

    #[test]
    fn the_tail_of_a_binomial_is_what_tables_say() {
        assert!((tail(10.0, 10.0, 0.5) - 0.000_976_6).abs() < 1e-6);
        assert!((tail(10.0, 0.0, 0.5) - 0.000_976_6).abs() < 1e-6);
        assert!((tail(1.0, 1.0, 0.016) - 0.016).abs() < 1e-9);
        assert!(tail(20.0, 12.0, 0.5) > CHANCE);
    }
}
