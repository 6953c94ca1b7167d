//! How fast something grows that stays for long: the memory of a queue's worker, of a control group. It knows sizes at points of time,
//! and leaves to others what has them.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// Things that are followed.
const MOST: usize = 1_000;
/// Nanoseconds between two points, and how many there are: the last ten minutes.
const EVERY_NS: u64 = 10_000_000_000;
const POINTS: usize = 61;
/// No growth is told before a minute was seen.
const LEAST_NS: u64 = 60_000_000_000;

/// What is told is a multiple of this.
const PAGE: i128 = 4096;

/// Sizes over time, by what has them.
#[derive(Debug)]
pub(super) struct Growths<K> {
    known: HashMap<K, VecDeque<(u64, u64)>>,
}

impl<K> Default for Growths<K> {
    fn default() -> Self {
        Self { known: HashMap::new() }
    }
}

impl<K: Hash + Eq> Growths<K> {
    /// Notes the bytes that something has now, and says how many more it had each minute lately; `None` before a minute was seen.
    pub(super) fn of(&mut self, key: K, bytes: u64, now_ns: u64) -> Option<i64> {
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            return None;
        }
        let points = self.known.entry(key).or_default();
        if points.back().is_none_or(|(at, _)| now_ns.saturating_sub(*at) >= EVERY_NS) {
            points.push_back((now_ns, bytes));
            if points.len() > POINTS {
                points.pop_front();
            }
        }
        let (since_ns, before) = *points.front()?;
        let passed_ns = now_ns.saturating_sub(since_ns);
        let more = i128::from(bytes) - i128::from(before);
        // Whole pages: more digits tell nothing.
        let in_pages = |more: i128| (more / PAGE * PAGE) as i64;
        (passed_ns >= LEAST_NS).then(|| in_pages(more * i128::from(LEAST_NS) / i128::from(passed_ns)))
    }

    /// Forgets what is no longer there.
    pub(super) fn keep(&mut self, is_there: impl Fn(&K) -> bool) {
        self.known.retain(|key, _| is_there(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MIB: u64 = 1 << 20;

    #[test]
    fn growth_is_told_after_a_minute_and_over_the_last_ten() {
        let mut growths = Growths::default();
        let mut told = Vec::new();
        for second in 0..=1_200 {
            // 4 MiB a minute, and nothing in the second ten minutes.
            let bytes = 10 * MIB + 4 * MIB * second.min(600) / 60;
            told.push(growths.of(7, bytes, second * SECOND));
        }
        assert!(told[..60].iter().all(Option::is_none));
        let close = |at: usize, mib: f64| (told[at].unwrap() as f64 / MIB as f64 - mib).abs() < 0.1;
        assert!(close(60, 4.0) && close(600, 4.0) && close(900, 2.0) && close(1_200, 0.0), "{:?}", told[900]);
        growths.keep(|_| false);
        assert!(growths.known.is_empty());
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut growths = Growths::default();
        for pid in 0..2 * MOST {
            growths.of(pid, MIB, SECOND);
        }
        assert_eq!(growths.known.len(), MOST);
    }
}
