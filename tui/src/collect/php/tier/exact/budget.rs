//! The budget of the exact tier: how much CPU time tracing may take, kept on average by paying in advance. Pure arithmetic.

use std::time::Duration;

/// Time over which unused budget adds up: a slice is that long at most, and a burst costs no more than this.
const SAVED: Duration = Duration::from_secs(1);

/// CPU time that may be spent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Budget {
    /// Seconds of CPU time for each second.
    rate: f64,
    /// What is left; negative after something cost more than was there.
    left_s: f64,
    spent_s: f64,
}

impl Budget {
    /// A share of so many CPUs; nothing is saved yet. An infinite share is no limit.
    pub(crate) fn new(share: f64, cpus: usize) -> Self {
        Self { rate: share.max(0.0) * cpus as f64, left_s: 0.0, spent_s: 0.0 }
    }

    /// Lets time pass.
    pub(crate) fn earn(&mut self, time: Duration) {
        let most = self.rate * SAVED.as_secs_f64();
        self.left_s = (self.left_s + self.rate * time.as_secs_f64()).min(most);
    }

    pub(crate) fn pay(&mut self, cost_s: f64) {
        self.spent_s += cost_s;
        if self.rate.is_finite() {
            self.left_s -= cost_s;
        }
    }

    /// Enough is saved to begin.
    pub(crate) fn is_full(&self) -> bool {
        self.rate.is_infinite() || (self.rate > 0.0 && self.left_s >= self.rate * SAVED.as_secs_f64() * 0.999)
    }

    /// Nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.rate.is_finite() && self.left_s <= 0.0
    }

    /// Time until nothing is left when tracing takes `load` CPUs; `None` when it can go on without end.
    pub(crate) fn lasts(&self, load: f64) -> Option<Duration> {
        let loss = load - self.rate;
        (loss > 0.0).then(|| Duration::from_secs_f64((self.left_s.max(0.0) / loss).min(3600.0)))
    }

    /// Time until enough is saved to begin.
    pub(crate) fn filled_in(&self) -> Duration {
        if self.is_full() || self.rate <= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(((self.rate * SAVED.as_secs_f64() - self.left_s) / self.rate).clamp(0.0, 3600.0))
    }

    /// How many workers can be traced at once without end, each taking `share` of a CPU.
    pub(crate) fn affords(&self, share: f64) -> usize {
        if share <= 0.0 || self.rate.is_infinite() { usize::MAX } else { (self.rate / share) as usize }
    }

    /// All that was paid, in seconds.
    pub(crate) fn spent_s(&self) -> f64 {
        self.spent_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_percent_of_two_cpus_are_40_ms_a_second() {
        let mut budget = Budget::new(0.02, 2);
        assert!(budget.is_spent() && !budget.is_full());
        assert_eq!(budget.filled_in(), SECOND);
        budget.earn(10 * SECOND);
        assert!(budget.is_full());
        assert_eq!(budget.lasts(0.84).unwrap(), Duration::from_millis(50));
        budget.pay(0.04);
        assert!(budget.is_spent());
    }

    #[test]
    fn what_was_overdrawn_is_paid_back_before_the_next_slice() {
        let mut budget = Budget::new(0.02, 2);
        budget.earn(SECOND);
        budget.pay(0.12);
        budget.earn(SECOND);
        assert!(budget.is_spent());
        budget.earn(2 * SECOND);
        assert!(budget.is_full());
        assert!((budget.spent_s() - 0.12).abs() < 1e-9);
    }

    #[test]
    fn cheap_workers_can_be_traced_for_ever() {
        let budget = Budget::new(0.02, 2);
        assert_eq!(budget.affords(0.008), 5);
        assert_eq!(budget.lasts(0.04), None);
        assert_eq!(budget.affords(0.5), 0);
    }

    #[test]
    fn without_a_limit_nothing_ends_it() {
        let mut budget = Budget::new(f64::INFINITY, 2);
        budget.pay(1e6);
        assert!(budget.is_full() && !budget.is_spent() && budget.affords(1.0) == usize::MAX);
        assert_eq!(budget.lasts(16.0), None);
    }
}
