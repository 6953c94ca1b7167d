//! Keeps what is always on cheap. The programs tell when a CPU spends more than its share on hits of probes
//! (`tusktop_shared::governor`); [`Governor`] finds out which tier of which image it is, and [`Storms`] remembers for how long that
//! tier rests, and how much of the time it was counted. Attaching and detaching is left to the tiers.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tusktop_shared::governor;

use crate::{collect::php::kernel::Kernel, model::Tier};

/// How long a tier rests. What is spent until the next storm is told is at most the burst, so the mean stays within the share.
const REST: Duration = Duration::from_secs(2);

/// So long after the last storm a tier is said to count all again.
const CALM: Duration = Duration::from_secs(60);

/// The tier that a program belongs to; `None` for the one that only adds to exceptions where they are caught.
pub(super) fn tier_of(program: &str) -> Option<Tier> {
    match program {
        "request" => Some(Tier::Requests),
        "exception" => Some(Tier::Exceptions),
        "error" => Some(Tier::Errors),
        "compile" => Some(Tier::Compiles),
        "heap" => Some(Tier::Peaks),
        _ => None,
    }
}

/// Finds out what a storm goes through.
#[derive(Debug, Default)]
pub(crate) struct Governor {
    /// Hits so far at the last look, by image and program.
    before: HashMap<(u32, &'static str), u64>,
}

impl Governor {
    /// Starts counting from here.
    pub(crate) fn look(&mut self, kernel: &Kernel) {
        self.before = kernel.hits();
    }

    /// A storm was told: the image and the program that took most since the last look. `None` when nothing took much, as when
    /// several CPUs have told of one storm.
    pub(crate) fn blamed(&mut self, kernel: &Kernel) -> Option<(u32, &'static str)> {
        let now = kernel.hits();
        let cost = |of: &(u32, &'static str), hits: u64| {
            let (price, account) = match of.1 {
                "request" => (governor::REQUEST_HIT_NS, governor::OF_REQUESTS),
                "heap" => (governor::HIT_NS, governor::OF_REQUESTS),
                _ => (governor::HIT_NS, governor::OF_PROBLEMS),
            };
            let since = hits.saturating_sub(self.before.get(of).copied().unwrap_or(0));
            // Compared by what may be spent at once, which is not the same for all.
            (since.saturating_mul(price) as f64) / governor::BURST_NS[account as usize] as f64
        };
        let costs = now.iter().map(|(of, hits)| (*of, cost(of, *hits)));
        let most = costs.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, cost)| *cost > 0.25);
        self.before = now;
        most.map(|(of, _)| of)
    }
}

/// The storms of one tier of an image, until it has been calm for a while.
#[derive(Debug)]
struct Storm {
    tier: Tier,
    began: Instant,
    /// When it rests no more; `None` while it counts.
    until: Option<Instant>,
    /// When it began or ended to rest.
    turned: Instant,
    rested: Duration,
}

/// The storms of an image.
#[derive(Debug, Default)]
pub(super) struct Storms(Vec<Storm>);

impl Storms {
    /// A tier begins to rest.
    pub(super) fn rest(&mut self, tier: Tier, now: Instant) {
        let until = Some(now + REST);
        match self.0.iter_mut().find(|storm| storm.tier == tier) {
            Some(storm) => (storm.until, storm.turned) = (until, now),
            None => self.0.push(Storm { tier, began: now, until, turned: now, rested: Duration::ZERO }),
        }
    }

    /// The tiers that have rested, and count again from now on.
    pub(super) fn rested(&mut self, now: Instant) -> Vec<Tier> {
        let mut rested = Vec::new();
        for storm in &mut self.0 {
            if storm.until.take_if(|until| *until <= now).is_some() {
                storm.rested += now - storm.turned;
                storm.turned = now;
                rested.push(storm.tier);
            }
        }
        self.0.retain(|storm| storm.until.is_some() || now - storm.turned < CALM);
        rested
    }

    /// Whether a tier rests.
    pub(super) fn rests(&self, tier: Tier) -> bool {
        self.0.iter().any(|storm| storm.tier == tier && storm.until.is_some())
    }

    /// For how much of the time since its first storm a tier was counted, in percent; `None` where there was none.
    pub(super) fn counted_percent(&self, tier: Tier, now: Instant) -> Option<u8> {
        let storm = self.0.iter().find(|storm| storm.tier == tier)?;
        let resting = if storm.until.is_some() { now - storm.turned } else { Duration::ZERO };
        let rested = (storm.rested + resting).as_secs_f64();
        let all = (now - storm.began).as_secs_f64().max(rested);
        Some(if all > 0.0 { (100.0 * (1.0 - rested / all)) as u8 } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_rests_and_counts_again_and_is_calm_after_a_while() {
        let (mut storms, start) = (Storms::default(), Instant::now());
        storms.rest(Tier::Errors, start);
        assert!(storms.rests(Tier::Errors) && !storms.rests(Tier::Requests));
        assert_eq!(storms.counted_percent(Tier::Errors, start + REST / 2), Some(0));
        assert_eq!(storms.rested(start + REST / 2), []);
        assert_eq!(storms.rested(start + REST), [Tier::Errors]);
        assert!(!storms.rests(Tier::Errors));
        assert_eq!(storms.counted_percent(Tier::Errors, start + 4 * REST), Some(75));
        assert_eq!(storms.rested(start + REST + CALM), []);
        assert_eq!(storms.counted_percent(Tier::Errors, start + REST + CALM), None);
    }
}
