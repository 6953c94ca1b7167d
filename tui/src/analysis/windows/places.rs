//! Exceptions, errors and compiled files added up by place.

use std::collections::HashMap;

use crate::model::{CompiledFile, ExceptionCount, PhpError, ProblemKey};

/// Different places kept of each kind; what comes beyond is added up in one.
const MAX_PLACES: usize = 2_000;
/// Stands for the file of all places beyond.
const BEYOND: &str = "(more places)";

/// A count that belongs to a place.
pub(super) trait Place: Clone {
    /// What makes it the same place.
    fn key(&self) -> ProblemKey;
    /// Adds the counts of another one.
    fn add(&mut self, other: &Self);
    /// The same counts at no place in particular.
    fn beyond(&self) -> Self;
    fn count(&self) -> u64;
}

/// Sums by place; `None` until the first that were collected.
#[derive(Debug, Clone)]
pub(super) struct Places<T>(Option<HashMap<ProblemKey, T>>);

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Place> Places<T> {
    /// Adds the counts of one interval.
    pub(super) fn add(&mut self, new: Option<&Vec<T>>) {
        let Some(new) = new else { return };
        let sums = self.0.get_or_insert_default();
        for place in new {
            if let Some(sum) = sums.get_mut(&place.key()) {
                sum.add(place);
            } else if sums.len() < MAX_PLACES {
                sums.insert(place.key(), place.clone());
            } else {
                let place = place.beyond();
                sums.entry(place.key()).and_modify(|sum| sum.add(&place)).or_insert(place);
            }
        }
    }

    /// All sums, the most frequent first.
    pub(super) fn list(&self) -> Option<Vec<T>> {
        let mut list: Vec<_> = self.0.as_ref()?.iter().collect();
        list.sort_by(|(a_key, a), (b_key, b)| {
            let place = |key: &ProblemKey| (key.file.clone(), key.line, key.name.clone());
            b.count().cmp(&a.count()).then_with(|| place(a_key).cmp(&place(b_key)))
        });
        Some(list.into_iter().map(|(_, place)| place.clone()).collect())
    }
}

fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

impl Place for ExceptionCount {
    fn key(&self) -> ProblemKey {
        self.key()
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.uncaught = plus(self.uncaught, other.uncaught);
        if !other.caught_at.is_empty() {
            self.caught_at.clone_from(&other.caught_at);
        }
        if self.message.is_empty() {
            self.message.clone_from(&other.message);
        }
    }

    fn beyond(&self) -> Self {
        let nothing = || "".into();
        Self {
            class: nothing(),
            message: nothing(),
            file: BEYOND.into(),
            line: 0,
            caught_at: nothing(),
            script: nothing(),
            ..self.clone()
        }
    }

    fn count(&self) -> u64 {
        self.count
    }
}

impl Place for PhpError {
    fn key(&self) -> ProblemKey {
        self.key()
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.silenced = plus(self.silenced, other.silenced);
    }

    fn beyond(&self) -> Self {
        Self { message: "".into(), file: BEYOND.into(), line: 0, script: "".into(), ..self.clone() }
    }

    fn count(&self) -> u64 {
        self.count
    }
}

impl Place for CompiledFile {
    fn key(&self) -> ProblemKey {
        self.key()
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
    }

    fn beyond(&self) -> Self {
        Self { file: BEYOND.into(), ..self.clone() }
    }

    fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exception(line: u32, count: u64, uncaught: Option<u64>) -> ExceptionCount {
        ExceptionCount {
            class: "E".into(),
            message: "m".into(),
            file: "/a.php".into(),
            line,
            count,
            uncaught,
            caught_at: "".into(),
            script: "".into(),
        }
    }

    #[test]
    fn one_place_adds_up_and_unknown_stays_unknown() {
        let mut places = Places::default();
        assert_eq!(places.list(), None);
        places.add(Some(&vec![exception(1, 5, None), exception(2, 9, Some(1))]));
        places.add(None);
        places.add(Some(&vec![exception(2, 1, Some(2)), exception(1, 1, None)]));
        let seen: Vec<_> = places.list().unwrap().iter().map(|e| (e.line, e.count, e.uncaught)).collect();
        assert_eq!(seen, [(2, 10, Some(3)), (1, 6, None)]);
    }

    #[test]
    fn places_are_bounded_and_nothing_is_lost_from_the_sum() {
        let mut places = Places::default();
        let many: Vec<_> = (0..3 * MAX_PLACES as u32).map(|line| exception(line, 2, Some(1))).collect();
        places.add(Some(&many));
        let list = places.list().unwrap();
        assert_eq!(list.len(), MAX_PLACES + 1);
        assert_eq!((&*list[0].file, list[0].count), (BEYOND, 4 * MAX_PLACES as u64));
        assert_eq!(list.iter().map(|e| e.count).sum::<u64>(), 6 * MAX_PLACES as u64);
    }
}
