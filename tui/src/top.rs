//! A bounded table of what counts most, with a stated error: whoever comes first has no right to stay. What gives way is added to
//! a rest, so that all entries and the rest together are always exact.
//!
//! The table holds twice as many keys as it keeps. When it is full, the smaller half gives way at once, which costs constant time
//! for each update on average and allocates nothing (Anderson et al., "A High-Performance Algorithm for Identifying Frequent
//! Items in Data Streams", IMC 2017; with one entry at a time it is Space-Saving: Metwally et al., "Efficient Computation of
//! Frequent and Top-k Elements in Data Streams", ICDT 2005). A key that comes later may be one that gave way before, so it may have
//! as much more as the biggest that ever did. It has no more than what gave way in its cell, which is chosen by a hash: so keys that
//! come once are told from those that come again (Homem and Carvalho, "Finding top-k elements in data streams", Information Sciences
//! 180, 2010). The lesser of both is its error. For a table that keeps `k` keys and was given `n` in all:
//!
//! - a key has at least what its entry says, and at most its error more;
//! - every key with more than `n / k` has an entry;
//! - no error is above `n / k`.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
};

/// What can be added up, and be told more from less.
pub trait Amount: Clone {
    /// Adds what was counted elsewhere.
    fn add(&mut self, other: &Self);
    /// What decides who stays. That of a sum is the sum of the sizes.
    fn size(&self) -> u64;
    /// What the error is stated of; adds up as sizes do.
    fn count(&self) -> u64 {
        self.size()
    }
}

impl Amount for u64 {
    fn add(&mut self, other: &Self) {
        *self = self.saturating_add(*other);
    }

    fn size(&self) -> u64 {
        *self
    }
}

/// Amounts by key.
#[derive(Debug, Clone)]
pub struct Top<K, V, S = RandomState> {
    /// Keys kept when others give way.
    kept: usize,
    entries: HashMap<K, Entry<V>, S>,
    rest: Option<V>,
    /// The most that a key without an entry may have.
    gone: Bound,
    /// What gave way, by a hash of the key; empty while nothing did.
    cells: Vec<Bound>,
    /// The sum of all [`Top::miss`].
    missed: u64,
    /// For finding out which half is the smaller.
    sizes: Vec<u64>,
}

/// Cells for each key that is kept.
const CELLS: usize = 8;

/// What may be missing from an entry, or be known of a key without one.
#[derive(Debug, Clone, Copy, Default)]
struct Bound {
    size: u64,
    count: u64,
}

#[derive(Debug, Clone)]
struct Entry<V> {
    amount: V,
    /// When it was made.
    error: Bound,
    /// Which part of [`Top::missed`] was not missed by this key, or is in `error`.
    not_missed: u64,
}

impl<V: Amount> Entry<V> {
    fn size(&self) -> u64 {
        self.amount.size().saturating_add(self.error.size)
    }

    fn error(&self, missed: u64) -> u64 {
        self.error.count.saturating_add(missed.saturating_sub(self.not_missed))
    }
}

impl<K: Eq + Hash + Clone, V: Amount, S: BuildHasher + Default + Clone> Top<K, V, S> {
    /// A table that keeps `kept` keys, one at least, and never has more than twice as many.
    pub fn new(kept: usize) -> Self {
        Self {
            kept: kept.max(1),
            entries: HashMap::default(),
            rest: None,
            gone: Bound::default(),
            cells: Vec::new(),
            missed: 0,
            sizes: Vec::new(),
        }
    }

    /// A table for what is bounded by where it comes from.
    pub fn unbounded() -> Self {
        Self::new(usize::MAX)
    }

    /// Adds to a key. What gives way goes to the rest.
    pub fn add(&mut self, key: &K, amount: &V) {
        let hasher = self.hasher();
        self.add_hashed(key, amount, |key| hasher.hash_one(key));
    }

    /// Adds to a key. `hash` is that of a key for as long as the table lives, also where keys are renamed.
    pub fn add_hashed(&mut self, key: &K, amount: &V, hash: impl Fn(&K) -> u64) {
        let mut rest = self.rest.take();
        self.add_giving(key, amount, hash, |_, gone| add_to(&mut rest, gone));
        self.rest = rest;
    }

    /// Adds to a key, as [`Top::add_hashed`]. What gives way is given to `gives`, and the rest stays as it is.
    pub fn add_giving(&mut self, key: &K, amount: &V, hash: impl Fn(&K) -> u64, gives: impl FnMut(K, &V)) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.amount.add(amount);
            return;
        }
        if self.entries.len() >= self.kept.saturating_mul(2) {
            self.make_room(&hash, gives);
        }
        let mut error = self.gone;
        if let Some(cell) = cell(&mut self.cells, || hash(key)) {
            error.size = error.size.min(cell.size);
            error.count = error.count.min(cell.count.saturating_add(self.missed));
        }
        let entry = Entry { amount: amount.clone(), error, not_missed: self.missed };
        self.entries.insert(key.clone(), entry);
    }

    /// Adds to the rest what was counted without its key.
    pub fn add_to_rest(&mut self, amount: &V) {
        add_to(&mut self.rest, amount);
    }

    /// Any key may have `most` more, which was counted elsewhere. Those for which this is not so are told from it by
    /// [`Top::is_whole`].
    pub fn miss(&mut self, most: u64) {
        self.missed = self.missed.saturating_add(most);
        self.gone.count = self.gone.count.saturating_add(most);
    }

    /// The last [`Top::miss`], of `most`, does not concern this key.
    pub fn is_whole(&mut self, key: &K, most: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.not_missed = entry.not_missed.saturating_add(most);
        }
    }

    /// The smaller half gives way. What all that gave way are bounded by grows only where all that stay are above it, and each of
    /// them stays with that much less above it: so it is never more than what was added, divided by their number.
    fn make_room(&mut self, hash: impl Fn(&K) -> u64, mut gives: impl FnMut(K, &V)) {
        if self.cells.is_empty() {
            self.cells.resize(self.kept.saturating_mul(CELLS).next_power_of_two(), Bound::default());
        }
        let leave = self.entries.len() - self.kept;
        self.sizes.clear();
        self.sizes.extend(self.entries.values().map(Entry::size));
        let (smaller, &mut limit, _) = self.sizes.select_nth_unstable(leave - 1);
        // Of those of equal size, some stay.
        let mut at_limit = leave - smaller.iter().filter(|&&size| size < limit).count();
        let (missed, gone, cells) = (self.missed, &mut self.gone, &mut self.cells);
        let leaves = |_: &K, entry: &mut Entry<V>| {
            let size = entry.size();
            let leaves = size < limit || (size == limit && at_limit > 0);
            at_limit -= usize::from(leaves && size == limit);
            leaves
        };
        for (key, entry) in self.entries.extract_if(leaves) {
            gone.size = gone.size.max(entry.size());
            gone.count = gone.count.max(entry.amount.count().saturating_add(entry.error(missed)));
            if let Some(cell) = cell(cells, || hash(&key)) {
                cell.size = cell.size.saturating_add(entry.amount.size());
                cell.count = cell.count.saturating_add(entry.amount.count());
            }
            gives(key, &entry.amount);
        }
    }

    /// Halves all amounts and errors by `halve`, so that what is no longer seen leaves; what has no size left does.
    pub fn fade(&mut self, halve: impl Fn(&mut V)) {
        let half = |bound: &mut Bound| (bound.size, bound.count) = (bound.size / 2, bound.count / 2);
        half(&mut self.gone);
        self.cells.iter_mut().for_each(half);
        let missed = std::mem::take(&mut self.missed);
        self.entries.retain(|_, entry| {
            entry.error.count = entry.error(missed);
            entry.not_missed = 0;
            half(&mut entry.error);
            halve(&mut entry.amount);
            entry.amount.size() > 0
        });
        if let Some(rest) = &mut self.rest {
            halve(rest);
        }
    }

    /// What finds the keys; it hashes them the same as long as the table lives.
    pub fn hasher(&self) -> S {
        self.entries.hasher().clone()
    }

    /// All keys with what they have, and how much more of [`Amount::count`] they may have, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V, u64)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.amount, entry.error(self.missed)))
    }

    /// What all keys have, to be changed in a way that leaves its size as it is.
    pub fn amounts_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|entry| &mut entry.amount)
    }

    /// What a key has that has an entry.
    pub fn of(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.amount)
    }

    /// The key of an entry, as it was added.
    pub fn key(&self, key: &K) -> Option<&K> {
        self.entries.get_key_value(key).map(|(key, _)| key)
    }

    /// The sum of all that gave way; `None` while nothing did.
    pub fn rest(&self) -> Option<&V> {
        self.rest.as_ref()
    }

    /// How many keys have entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key has an entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives all keys other names, which differ as the old ones do.
    pub fn rename(&mut self, name: impl Fn(&K) -> K) {
        let mut renamed = HashMap::with_capacity_and_hasher(self.entries.len(), self.hasher());
        renamed.extend(self.entries.drain().map(|(key, entry)| (name(&key), entry)));
        self.entries = renamed;
    }
}

/// The cell of a key; `None` while there are none.
fn cell(cells: &mut [Bound], hash: impl FnOnce() -> u64) -> Option<&mut Bound> {
    // The upper bits are the good ones of a product.
    (!cells.is_empty()).then(|| &mut cells[(hash() >> (u64::BITS - cells.len().ilog2())) as usize])
}

fn add_to<V: Amount>(rest: &mut Option<V>, amount: &V) {
    match rest {
        Some(rest) => rest.add(amount),
        None => *rest = Some(amount.clone()),
    }
}

/// Tables by numbers that tusktop itself gives out in a row, so that nobody can choose them to collide.
pub type TopByNumber<V> = Top<u32, V, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers over all bits, by the golden ratio (Knuth, The Art of Computer Programming, volume 3, 6.4).
#[derive(Debug, Default, Clone, Copy)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(u32::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(32) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A size and a count that differ.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Both(u64, u64);

    impl Amount for Both {
        fn add(&mut self, other: &Self) {
            (self.0, self.1) = (self.0 + other.0, self.1 + other.1);
        }

        fn size(&self) -> u64 {
            self.0
        }

        fn count(&self) -> u64 {
            self.1
        }
    }

    /// Few keys that come often, and many that come rarely.
    fn updates() -> impl Strategy<Value = Vec<(u32, Both)>> {
        let key = prop_oneof![0..8_u32, 0..200_u32, 0..10_000_u32];
        prop::collection::vec((key, (1..6_u64, 0..6_u64).prop_map(|(size, count)| Both(size, count))), 0..600)
    }

    fn truth(updates: &[(u32, Both)]) -> HashMap<u32, Both> {
        let mut truth = HashMap::new();
        for (key, amount) in updates {
            truth.entry(*key).or_insert(Both(0, 0)).add(amount);
        }
        truth
    }

    #[test]
    fn it_is_exact_while_all_keys_fit() {
        let mut top = Top::<u32, u64>::new(10);
        for round in 0..3 {
            (0..20).for_each(|key| top.add(&key, &(1 + u64::from(key) * round)));
        }
        assert_eq!((top.len(), top.rest()), (20, None));
        assert!(top.iter().all(|(&key, &amount, error)| (amount, error) == (3 + 3 * u64::from(key), 0)));
    }

    #[test]
    fn a_key_that_comes_late_displaces_those_that_came_first_and_rarely() {
        let mut top = Top::<u32, u64>::new(10);
        (0..1_000).for_each(|key| top.add(&key, &1));
        (0..500).for_each(|round| {
            top.add(&7_777, &1);
            top.add(&(10_000 + round), &1);
        });
        let (_, &amount, error) = top.iter().find(|(key, ..)| **key == 7_777).unwrap();
        assert!(amount == 500 && error <= 1_000 / 10, "{amount} {error}");
        assert_eq!(top.cells.len(), 128);
        let rest = top.rest().copied().unwrap();
        assert_eq!(rest + top.iter().map(|(_, amount, _)| amount).sum::<u64>(), 2_000);
    }

    #[test]
    fn what_was_counted_elsewhere_is_an_error_of_all_but_those_that_are_whole() {
        let mut top = Top::<&str, u64>::new(1);
        top.add(&"a", &5);
        top.add(&"b", &3);
        top.miss(10);
        top.is_whole(&"a", 10);
        let error = |top: &Top<&str, u64>, of| top.iter().find(|(key, ..)| **key == of).map(|(.., error)| error);
        assert_eq!((error(&top, "a"), error(&top, "b")), (Some(0), Some(10)));
        top.add(&"c", &1);
        assert!(error(&top, "b").is_none() && error(&top, "c") >= Some(10));
        top.add(&"b", &1);
        // And what c had, where it is in the same cell.
        let error = error(&top, "b");
        assert!([Some(13), Some(14)].contains(&error), "what gave way and what was missed: {error:?}");
    }

    #[test]
    fn what_is_no_longer_seen_fades_away() {
        let mut top = Top::<u32, u64>::new(4);
        (0..100).for_each(|key| top.add(&key, &1));
        (0..50).for_each(|_| top.add(&1, &1));
        for _ in 0..3 {
            top.fade(|amount| *amount /= 2);
            top.add(&1, &10);
        }
        assert_eq!(top.len(), 1);
        (0..8).for_each(|_| top.fade(|amount| *amount /= 2));
        assert!(top.is_empty());
        top.add(&2, &1);
        assert_eq!(top.iter().next(), Some((&2, &1, 0)), "errors fade, too");
    }

    proptest! {
        #[test]
        fn bounds_hold_and_sums_are_exact(updates in updates(), kept in 1..60_usize) {
            let (truth, mut top) = (truth(&updates), TopByNumber::<Both>::new(kept));
            for (key, amount) in &updates {
                top.add(key, amount);
                prop_assert!(top.len() <= 2 * kept);
            }
            let all = truth.values().copied().reduce(|mut sum, one| { sum.add(&one); sum });
            let mut sum = top.rest().copied();
            top.iter().for_each(|(_, amount, _)| add_to(&mut sum, amount));
            prop_assert_eq!(sum, all);
            let n = all.map_or(0, |all| all.size());
            for (key, amount, error) in top.iter() {
                let truth = truth[key];
                prop_assert!(amount.count() <= truth.count() && truth.count() <= amount.count() + error);
                prop_assert!(amount.size() <= truth.size() && truth.size() <= top.entries[key].size());
            }
            for (key, truth) in &truth {
                if truth.size() > n / kept as u64 {
                    prop_assert!(top.of(key).is_some(), "{key} has {truth:?} of {n}");
                }
                prop_assert!(truth.size() <= top.entries.get(key).map_or(top.gone.size, Entry::size));
            }
            prop_assert!(top.gone.size <= n / kept as u64);
            prop_assert!(top.gone.size > 0 || top.rest().is_none(), "it is exact as long as nothing gave way");
        }

        #[test]
        fn bounds_hold_where_only_the_biggest_of_each_interval_are_told(intervals in prop::collection::vec(prop::collection::vec(0..60_u32, 0..60), 1..30)) {
            let (mut truth, mut top) = (HashMap::<u32, u64>::new(), TopByNumber::<u64>::new(8));
            for interval in &intervals {
                let mut counts = HashMap::<u32, u64>::new();
                interval.iter().for_each(|key| *counts.entry(*key).or_default() += 1);
                counts.iter().for_each(|(key, count)| *truth.entry(*key).or_default() += count);
                let mut counts: Vec<_> = counts.into_iter().collect();
                counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
                let told = counts.len().min(10);
                let most = counts[told..].iter().map(|(_, count)| *count).max().unwrap_or(0);
                for (key, count) in &counts[..told] {
                    top.add(key, count);
                }
                counts[told..].iter().for_each(|(_, count)| top.add_to_rest(count));
                top.miss(most);
                counts[..told].iter().for_each(|(key, _)| top.is_whole(key, most));
            }
            for (key, &amount, error) in top.iter() {
                prop_assert!(amount <= truth[key] && truth[key] <= amount + error);
            }
            let all = top.iter().map(|(_, amount, _)| *amount).sum::<u64>() + top.rest().copied().unwrap_or(0);
            prop_assert_eq!(all, truth.values().sum::<u64>());
        }
    }
}
