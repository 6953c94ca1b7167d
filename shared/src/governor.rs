//! What may be spent on what happens all the time: the limits by which the programs tell a storm, and what a hit is taken to cost.

/// A CPU may spend one part in so many of its time, by account: 1 percent, and 3 on requests. Each of those is of interest, and
/// PHP needs much more for one than two hits: only a CPU that serves more than some 5 000 a second spends as much.
pub const SHARES: [u64; ACCOUNTS] = [100, 33, 100];

/// A hit of a probe: the way into the kernel and back, and a program that finds its key in a map. A script that raised a million
/// warnings needed 1.7 us more for each while they were counted.
pub const HIT_NS: u64 = 2_000;
/// A hit at the start or end of a request: `docs/benchmarks.md` has what its program takes.
pub const REQUEST_HIT_NS: u64 = 3_500;
/// A program that is started: it is looked at in /proc.
pub const EXEC_NS: u64 = 40_000;

/// What may be spent at once beyond the share, by account: a page that raises thousands of warnings is no storm yet.
pub const BURST_NS: [u64; ACCOUNTS] = [10_000_000, 100_000_000, 20_000_000];

/// Number of accounts that each CPU has.
pub const ACCOUNTS: usize = 3;
/// Account of exceptions, errors and compiled files.
pub const OF_PROBLEMS: u32 = 0;
/// Account of requests.
pub const OF_REQUESTS: u32 = 1;
/// Account of programs that are started.
pub const OF_EXECS: u32 = 2;

/// Waits of one CPU in a period of 100 ms from which on only one in several is noted, for all of them.
pub const WAITS: u64 = 400;

/// What a CPU has spent.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Account {
    /// When it was written last.
    pub at_ns: u64,
    /// What was spent beyond the share until then.
    pub debt_ns: u64,
}

impl Account {
    /// Spends if that is not more than may be spent at once; `false` when it is, and then nothing is spent.
    #[inline(always)]
    pub fn afford(&mut self, account: usize, cost_ns: u64, now_ns: u64) -> bool {
        self.earn(account, now_ns);
        let can = self.debt_ns + cost_ns <= BURST_NS[account];
        if can {
            self.debt_ns += cost_ns;
        }
        can
    }

    #[inline(always)]
    fn earn(&mut self, account: usize, now_ns: u64) {
        self.debt_ns = self.debt_ns.saturating_sub(now_ns.saturating_sub(self.at_ns) / SHARES[account]);
        self.at_ns = now_ns;
    }

    /// Spends; `true` when that is more than may be spent at once. Then half of it is forgotten: a storm that goes on is told
    /// again after as much.
    #[inline(always)]
    pub fn spend(&mut self, account: usize, cost_ns: u64, now_ns: u64) -> bool {
        self.earn(account, now_ns);
        self.debt_ns += cost_ns;
        let is_too_much = self.debt_ns > BURST_NS[account];
        if is_too_much {
            self.debt_ns = BURST_NS[account] / 2;
        }
        is_too_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storms(hits: u64, every_ns: u64) -> usize {
        let mut account = Account::default();
        (1..=hits).filter(|hit| account.spend(0, HIT_NS, hit * every_ns)).count()
    }

    #[test]
    fn what_stays_within_the_share_is_no_storm() {
        assert_eq!(storms(1_000_000, HIT_NS * SHARES[0]), 0);
    }

    #[test]
    fn what_cannot_be_afforded_costs_nothing() {
        let mut account = Account::default();
        let afforded = (0..1_000).filter(|_| account.afford(2, EXEC_NS, 1)).count();
        assert_eq!(afforded as u64, BURST_NS[2] / EXEC_NS);
        assert!(account.afford(2, EXEC_NS, 1 + EXEC_NS * SHARES[2]));
    }

    #[test]
    fn a_burst_is_no_storm_and_a_longer_one_is() {
        assert_eq!(storms(4_900, 100), 0);
        assert!(storms(6_000, 100) > 0);
        assert!(storms(1_000_000, HIT_NS * SHARES[0] / 2) > 0);
    }
}
