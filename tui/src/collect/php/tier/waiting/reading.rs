//! Counts waits while they last. The programs add a wait to its stack only when it ends, which is too late for the screen if
//! the wait is long.

use tusktop_shared::{Count, CountKey, LONG_WAIT_NS, NOT_WALKED, SKIPPED, Wait, sizes};

use crate::model::NumberMap;

/// Threads whose wait was credited in part: what the kernel's map holds, and as many that come and go while it is read.
const LIMIT: usize = 2 * sizes::WAITING as usize;

/// A wait that was credited in part.
#[derive(Debug, Clone, Copy)]
struct Credit {
    wait: Wait,
    until_ns: u64,
}

/// What was credited in advance, and is taken off what the programs add later.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    lasting: NumberMap<u64, Credit>,
    advanced: NumberMap<CountKey, u64>,
    /// Waits that began before they were found, by thread, with the moment that is taken for their start.
    before: NumberMap<u64, u64>,
}

impl Waits {
    /// A thread (pid << 32 | tid) was found to wait, for longer than since this moment.
    pub(crate) fn began_before(&mut self, thread: u64, since_ns: u64) {
        self.before.insert(thread, since_ns);
    }

    /// The waits that last, each by its thread (pid << 32 | tid), and whether it began before that.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = (u64, Wait, bool)> {
        self.lasting.iter().map(|(&thread, credit)| {
            let began_before = self.before.get(&thread) == Some(&credit.wait.since_ns);
            (thread, credit.wait, began_before)
        })
    }

    /// Takes off `counts` what was credited before, and adds what the waits of `waiting` have lasted until `now_ns`.
    ///
    /// A wait that ends between the reading of both lists is in one of them now and in the other later: what it is
    /// credited stays on the books until the programs have added the whole of it, so it never counts twice.
    pub(crate) fn settle(
        &mut self,
        counts: &mut Vec<(CountKey, Count)>,
        waiting: impl IntoIterator<Item = (u64, Wait)>,
        now_ns: u64,
    ) {
        for (key, count) in counts.iter_mut() {
            if let Some(advanced) = self.advanced.get_mut(key) {
                let paid = count.wait_ns.min(*advanced);
                count.wait_ns -= paid;
                *advanced -= paid;
            }
        }
        self.advanced.retain(|_, advanced| *advanced > 0);
        let mut lasting = NumberMap::with_capacity_and_hasher(self.lasting.len(), Default::default());
        for (thread, mut wait) in waiting {
            if wait.stack == SKIPPED {
                // A short one is credited when it ends.
                if now_ns.saturating_sub(wait.since_ns) < LONG_WAIT_NS {
                    continue;
                }
                wait.stack = NOT_WALKED;
            }
            let same = self.lasting.get(&thread).filter(|credit| credit.wait == wait);
            let from = same.map_or(wait.since_ns, |credit| credit.until_ns);
            let more = now_ns.saturating_sub(from);
            if lasting.len() >= LIMIT || lasting.contains_key(&thread) {
                continue;
            }
            lasting.insert(thread, Credit { wait, until_ns: now_ns.max(from) });
            if more > 0 {
                let pid = (thread >> 32) as u32;
                let key = CountKey { request: wait.request, stack: wait.stack, pid, user: wait.user };
                *self.advanced.entry(key).or_default() += more;
                counts.push((key, Count { wait_ns: more, ..Count::default() }));
            }
        }
        // The process of a wait that is neither there nor paid has ended inside it; nothing will pay for it.
        let waits_on = |key: &CountKey| {
            let of = |thread: &u64, credit: &Credit| {
                (thread >> 32) as u32 == key.pid && credit.wait.request == key.request && credit.wait.stack == key.stack
            };
            lasting.iter().chain(&self.lasting).any(|(thread, credit)| of(thread, credit))
        };
        self.advanced.retain(|key, _| waits_on(key));
        self.lasting = lasting;
        if !self.before.is_empty() {
            let lasting = &self.lasting;
            self.before
                .retain(|thread, since_ns| lasting.get(thread).is_some_and(|credit| credit.wait.since_ns == *since_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CountKey = CountKey { request: 7, stack: 9, pid: 1, user: 0 };
    const THREAD: u64 = 1 << 32 | 1;

    fn waiting(since_ns: u64, stack: u64) -> Wait {
        Wait { since_ns, request: 7, stack, user: 0, skipped: 0, skipped_ns: 0, skipped_request: 0, ended_ns: 0 }
    }

    fn wait(since_ns: u64) -> (u64, Wait) {
        (THREAD, waiting(since_ns, 9))
    }

    fn ended(wait_ns: u64) -> (CountKey, Count) {
        (KEY, Count { waits: 1, wait_ns, ..Count::default() })
    }

    fn credited(
        waits: &mut Waits,
        mut counts: Vec<(CountKey, Count)>,
        waiting: impl IntoIterator<Item = (u64, Wait)>,
        now_ns: u64,
    ) -> u64 {
        waits.settle(&mut counts, waiting, now_ns);
        counts.iter().map(|(_, count)| count.wait_ns).sum()
    }

    #[test]
    fn a_long_wait_is_credited_as_it_lasts_and_only_once() {
        let mut waits = Waits::default();
        assert_eq!(credited(&mut waits, vec![], [wait(100)], 150), 50);
        assert_eq!(credited(&mut waits, vec![], [wait(100)], 250), 100);
        assert_eq!(credited(&mut waits, vec![ended(200)], [], 350), 50);
        assert_eq!(credited(&mut waits, vec![ended(10)], [], 450), 10);
    }

    #[test]
    fn a_wait_that_ends_between_the_two_lists_is_not_counted_twice() {
        let mut waits = Waits::default();
        assert_eq!(credited(&mut waits, vec![], [wait(100)], 150), 50);
        assert_eq!(credited(&mut waits, vec![], [], 250), 0, "it has ended after its map was read");
        assert_eq!(credited(&mut waits, vec![ended(80)], [], 350), 30);
    }

    #[test]
    fn a_process_that_is_killed_while_it_waits_leaves_nothing_on_the_books() {
        let mut waits = Waits::default();
        credited(&mut waits, vec![], [wait(100)], 150);
        credited(&mut waits, vec![], [], 250);
        credited(&mut waits, vec![], [], 350);
        assert!(waits.advanced.is_empty() && waits.lasting.is_empty());
    }

    #[test]
    fn a_skipped_wait_is_credited_from_when_it_is_long() {
        let mut waits = Waits::default();
        let skipped = [(THREAD, waiting(100, SKIPPED))];
        assert_eq!(credited(&mut waits, vec![], skipped, 100 + LONG_WAIT_NS - 1), 0);
        let mut counts = Vec::new();
        waits.settle(&mut counts, skipped, 100 + LONG_WAIT_NS);
        let key = CountKey { stack: NOT_WALKED, ..KEY };
        assert_eq!(counts, [(key, Count { wait_ns: LONG_WAIT_NS, ..Count::default() })]);
        let end = Count { waits: 1, wait_ns: LONG_WAIT_NS + 5, ..Count::default() };
        assert_eq!(credited(&mut waits, vec![(key, end)], [], 101 + LONG_WAIT_NS), 5, "the rest of it");
    }

    #[test]
    fn two_waits_of_one_stack_add_up() {
        let mut waits = Waits::default();
        assert_eq!(credited(&mut waits, vec![], [wait(100)], 150), 50);
        assert_eq!(credited(&mut waits, vec![ended(60)], [wait(170)], 200), 10 + 30);
        assert_eq!(credited(&mut waits, vec![ended(40)], [], 300), 10);
    }
}
