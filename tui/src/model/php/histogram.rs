//! Histograms of durations and sizes that can be merged and recorded: log-linear buckets.
//! It owns bucket arithmetic and percentiles; what is counted is the caller's matter.

use serde::{Deserialize, Serialize};

/// Highest octave: 2^40 us is twelve days, 2^40 KiB a PiB.
const OCTAVES: u16 = 40;

/// Counts of durations, in buckets 4.4 % apart, so a percentile is off by at most 2.2 %. Bucket `i` holds durations near
/// `2^(i/16)` microseconds.
pub type Histogram = Buckets<16>;

/// Counts of sizes, in buckets 1.1 % apart, so a percentile is off by at most 0.6 %. Bucket `i` holds sizes near `2^(i/64)` KiB.
pub type SizeHistogram = Buckets<64>;

/// Counts in buckets, so many to an octave.
///
/// In JSON it is a list of `[bucket, count]` pairs, ascending, without empty buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Buckets<const PER_OCTAVE: u16> {
    buckets: Vec<(u16, u64)>,
}

impl Histogram {
    /// Counts one duration in nanoseconds.
    pub fn record(&mut self, duration_ns: u64) {
        self.count_one(duration_ns as f64 / 1000.0);
    }

    /// The sum of the durations in milliseconds, as the buckets have it.
    pub fn sum_ms(&self) -> f64 {
        self.buckets.iter().map(|&(bucket, count)| count as f64 * Self::middle(bucket) / 1000.0).sum()
    }

    /// The duration in milliseconds below which `quantile` (0 to 1) of all lie, by nearest rank; `None` when empty.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        Some(self.quantile(quantile)?.round() / 1000.0)
    }
}

impl SizeHistogram {
    /// Counts one size.
    pub fn record_bytes(&mut self, bytes: u64) {
        self.count_one(bytes as f64 / 1024.0);
    }

    /// The size below which `quantile` (0 to 1) of all lie, by nearest rank; `None` when empty.
    pub fn quantile_bytes(&self, quantile: f64) -> Option<u64> {
        Some((self.quantile(quantile)? * 1024.0).round() as u64)
    }

    /// How many of the sizes are as big, or nearly.
    pub fn count_from(&self, bytes: u64) -> u64 {
        let least = Self::bucket(bytes as f64 / 1024.0);
        self.buckets.iter().filter(|(bucket, _)| *bucket >= least).map(|(_, count)| count).sum()
    }

    /// Halves all counts; what was counted once is forgotten.
    pub fn fade(&mut self) {
        self.buckets.iter_mut().for_each(|(_, count)| *count /= 2);
        self.buckets.retain(|(_, count)| *count > 0);
    }
}

impl<const PER_OCTAVE: u16> Buckets<PER_OCTAVE> {
    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.add(bucket, count);
        }
    }

    /// What the buckets take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<(u16, u64)>()
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = ((quantile.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        self.buckets
            .iter()
            .find(|&&(_, count)| {
                seen = u64::saturating_add(seen, count);
                seen >= rank
            })
            .map(|&(bucket, _)| Self::middle(bucket))
    }

    fn count_one(&mut self, value: f64) {
        self.add(Self::bucket(value), 1);
    }

    fn bucket(value: f64) -> u16 {
        (value.max(1.0).log2() * f64::from(PER_OCTAVE)).round() as u16
    }

    fn add(&mut self, bucket: u16, count: u64) {
        let bucket = bucket.min(OCTAVES * PER_OCTAVE);
        match self.buckets.binary_search_by_key(&bucket, |&(b, _)| b) {
            Ok(i) => self.buckets[i].1 = self.buckets[i].1.saturating_add(count),
            Err(i) => self.buckets.insert(i, (bucket, count)),
        }
    }

    fn middle(bucket: u16) -> f64 {
        (f64::from(bucket) / f64::from(PER_OCTAVE)).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_bucket_error() {
        let mut histogram = Histogram::default();
        for ms in 1..=1000_u64 {
            histogram.record(ms * 1_000_000);
        }
        for (quantile, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = histogram.quantile_ms(quantile).unwrap();
            assert!((got / expected - 1.0).abs() < 0.03, "{quantile}: {got}");
        }
        assert!((histogram.sum_ms() / 500_500.0 - 1.0).abs() < 0.01, "{}", histogram.sum_ms());
    }

    #[test]
    fn a_percentile_of_sizes_is_within_a_hundredth() {
        for bytes in [2 << 20, 62_914_560, 1_153_433_600, 3 << 30] {
            let mut sizes = SizeHistogram::default();
            sizes.record_bytes(bytes);
            let found = sizes.quantile_bytes(0.95).unwrap();
            assert!((found as f64 / bytes as f64 - 1.0).abs() < 0.01, "{bytes}: {found}");
            sizes.fade();
            assert_eq!(sizes, SizeHistogram::default());
        }
    }

    #[test]
    fn merging_equals_recording_everything_in_one() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for ns in [1_u64, 900, 1_000, 5_000_000, u64::MAX] {
            a.record(ns);
            both.record(ns);
        }
        for ns in [7_000_000_u64, 5_000_000] {
            b.record(ns);
            both.record(ns);
        }
        a.merge(&b);
        assert_eq!(a, both);
        assert_eq!(a.count(), 7);
    }

    #[test]
    fn counts_of_a_file_that_nobody_can_have_counted_do_not_overflow() {
        let histogram: Histogram = serde_json::from_str(&format!("[[1,{0}],[65535,{0}]]", u64::MAX)).unwrap();
        assert_eq!(histogram.count(), u64::MAX);
        assert!(histogram.quantile_ms(1.0).is_some() && histogram.sum_ms() > 0.0);
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile_ms(0.99), None);
    }
}
