//! Exceptions, errors and compiled files added up by place.

use std::{hash::BuildHasher, sync::Arc};

use crate::{
    model::{CompiledFile, ExceptionCount, PhpError, ProblemKey, ProblemMessage, ProblemRoutes},
    top::{Amount, Top},
};

/// Different places kept of each kind when others give way; there may be twice as many.
const PLACES: usize = 1_000;
/// Levels and server APIs whose places that gave way are added up apart.
const NAMES: usize = 50;
/// Stands for the file of all places that gave way.
const BEYOND: &str = "(more places)";

/// A count that belongs to a place.
pub(super) trait Place: Amount {
    /// What makes it the same place.
    fn key(&self) -> ProblemKey;
    /// The same counts at no place in particular.
    fn beyond(&self) -> Self;
    /// So many more may be counted elsewhere.
    fn add_error(&mut self, error: u64);
    /// Its routes, by number; `None` where they are not counted.
    fn routes(&self) -> Option<&ProblemRoutes>;
    /// The same, to be changed.
    fn routes_mut(&mut self) -> Option<&mut ProblemRoutes>;
}

/// Sums by place; `None` until the first that were collected.
#[derive(Debug, Clone)]
pub(super) struct Places<T>(Option<Sums<T>>);

#[derive(Debug, Clone)]
struct Sums<T> {
    places: Top<ProblemKey, T>,
    /// What gave way, by level or server API.
    beyond: Top<Arc<str>, T>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Place> Places<T> {
    /// Adds the counts of one interval.
    pub(super) fn add(&mut self, new: Option<&Vec<T>>) {
        let Some(new) = new else { return };
        let empty = || Sums { places: Top::new(PLACES), beyond: Top::new(NAMES) };
        let Sums { places, beyond } = self.0.get_or_insert_with(empty);
        let hasher = places.hasher();
        for place in new {
            places.add_giving(
                &place.key(),
                place,
                |key| hasher.hash_one(key),
                |_, gone| {
                    let gone = gone.beyond();
                    beyond.add(&gone.key().name, &gone);
                },
            );
        }
    }

    /// The numbers of the routes in it.
    pub(super) fn routes(&self) -> impl Iterator<Item = u32> {
        let places = self.0.iter().flat_map(|sums| sums.places.iter());
        let routes = places.filter_map(|(_, place, _)| place.routes());
        routes.flat_map(ProblemRoutes::iter).map(|route| route.route as u32)
    }

    /// Gives routes other numbers.
    pub(super) fn renumber(&mut self, number: impl Fn(usize) -> usize) {
        let places = self.0.iter_mut().flat_map(|sums| sums.places.amounts_mut());
        places.filter_map(Place::routes_mut).for_each(|routes| routes.renumber(|route| Some(number(route))));
    }

    /// All sums, the most frequent first.
    /// `place_of` says where a route is.
    pub(super) fn list(&self, place_of: impl Fn(usize) -> Option<usize>) -> Option<Vec<T>> {
        let Sums { places, beyond } = self.0.as_ref()?;
        let with_error = |(place, error): (&T, u64)| {
            let mut place = place.clone();
            place.add_error(error);
            if let Some(routes) = place.routes_mut() {
                routes.renumber(&place_of);
                routes.choose();
            }
            (place.key(), place)
        };
        let mut list: Vec<_> = places.iter().map(|(_, place, error)| with_error((place, error))).collect();
        list.extend(beyond.iter().map(|(_, place, _)| with_error((place, 0))));
        list.extend(beyond.rest().map(|place| with_error((place, 0))));
        list.sort_by(|(a_key, a), (b_key, b)| {
            let place = |key: &ProblemKey| (key.file.clone(), key.line, key.name.clone());
            b.size().cmp(&a.size()).then_with(|| place(a_key).cmp(&place(b_key)))
        });
        Some(list.into_iter().map(|(_, place)| place).collect())
    }
}

fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

impl Amount for ExceptionCount {
    fn add(&mut self, other: &Self) {
        let times = self.size();
        ProblemMessage::add(
            (&mut self.message, &mut self.messages, times),
            (&other.message, &other.messages, other.size()),
        );
        self.count += other.count;
        self.count_error += other.count_error;
        self.uncaught = plus(self.uncaught, other.uncaught);
        if !other.caught_at.is_empty() {
            self.caught_at.clone_from(&other.caught_at);
        }
        self.routes.add_all(&other.routes);
    }

    fn size(&self) -> u64 {
        // One that was thrown before this time may end in it.
        self.count.max(self.uncaught.unwrap_or(0))
    }

    fn count(&self) -> u64 {
        self.size() + self.count_error
    }
}

impl Place for ExceptionCount {
    fn key(&self) -> ProblemKey {
        self.key()
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
            messages: Vec::new(),
            routes: ProblemRoutes::default(),
            ..*self
        }
    }

    fn routes(&self) -> Option<&ProblemRoutes> {
        Some(&self.routes)
    }

    fn routes_mut(&mut self) -> Option<&mut ProblemRoutes> {
        Some(&mut self.routes)
    }

    fn add_error(&mut self, error: u64) {
        self.count_error += error;
    }
}

impl Amount for PhpError {
    fn add(&mut self, other: &Self) {
        ProblemMessage::add(
            (&mut self.message, &mut self.messages, self.count),
            (&other.message, &other.messages, other.count),
        );
        self.routes.add_all(&other.routes);
        self.count += other.count;
        self.count_error += other.count_error;
        self.silenced = plus(self.silenced, other.silenced);
    }

    fn size(&self) -> u64 {
        self.count
    }

    fn count(&self) -> u64 {
        self.count + self.count_error
    }
}

impl Place for PhpError {
    fn key(&self) -> ProblemKey {
        self.key()
    }

    fn beyond(&self) -> Self {
        Self {
            level: self.level.clone(),
            message: "".into(),
            messages: Vec::new(),
            file: BEYOND.into(),
            line: 0,
            script: "".into(),
            routes: ProblemRoutes::default(),
            ..*self
        }
    }

    fn routes(&self) -> Option<&ProblemRoutes> {
        Some(&self.routes)
    }

    fn routes_mut(&mut self) -> Option<&mut ProblemRoutes> {
        Some(&mut self.routes)
    }

    fn add_error(&mut self, error: u64) {
        self.count_error += error;
    }
}

impl Amount for CompiledFile {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.count_error += other.count_error;
    }

    fn size(&self) -> u64 {
        self.count
    }

    fn count(&self) -> u64 {
        self.count + self.count_error
    }
}

impl Place for CompiledFile {
    fn key(&self) -> ProblemKey {
        self.key()
    }

    fn beyond(&self) -> Self {
        Self { file: BEYOND.into(), ..self.clone() }
    }

    fn routes(&self) -> Option<&ProblemRoutes> {
        None
    }

    fn routes_mut(&mut self) -> Option<&mut ProblemRoutes> {
        None
    }

    fn add_error(&mut self, error: u64) {
        self.count_error += error;
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
            count_error: 0,
            uncaught,
            caught_at: "".into(),
            script: "".into(),
            messages: Vec::new(),
            routes: ProblemRoutes::none(),
        }
    }

    #[test]
    fn one_place_adds_up_and_unknown_stays_unknown() {
        let mut places = Places::default();
        assert_eq!(places.list(Some), None);
        places.add(Some(&vec![exception(1, 5, None), exception(2, 9, Some(1))]));
        places.add(None);
        places.add(Some(&vec![exception(2, 1, Some(2)), exception(1, 1, None)]));
        let seen: Vec<_> = places.list(Some).unwrap().iter().map(|e| (e.line, e.count, e.uncaught)).collect();
        assert_eq!(seen, [(2, 10, Some(3)), (1, 6, None)]);
    }

    #[test]
    fn places_are_bounded_and_nothing_is_lost_from_the_sum() {
        let mut places = Places::default();
        let many: Vec<_> = (0..6 * PLACES as u32).map(|line| exception(line, 2, Some(1))).collect();
        places.add(Some(&many));
        let list = places.list(Some).unwrap();
        assert!(list.len() <= 2 * PLACES + 1);
        assert_eq!((&*list[0].file, list[0].class.is_empty()), (BEYOND, true));
        assert_eq!(list.iter().map(|e| e.count).sum::<u64>(), 12 * PLACES as u64);
    }

    #[test]
    fn a_place_that_fails_often_is_listed_though_a_deploy_left_thousands_before_it() {
        let mut places = Places::default();
        let file = |name: String, count| CompiledFile { file: name.into(), sapi: "fpm".into(), count, count_error: 0 };
        places.add(Some(&(0..10_000).map(|at| file(format!("/releases/{at}.php"), 1)).collect()));
        places.add(Some(&vec![file("/hot.php".into(), 50)]));
        let list = places.list(Some).unwrap();
        let hot = list.iter().find(|file| &*file.file == "/hot.php").unwrap();
        assert!(hot.count == 50 && hot.count_error <= 10_000 / PLACES as u64);
        assert_eq!((&*list[0].file, &*list[0].sapi), (BEYOND, "fpm"));
    }

    #[test]
    fn what_gave_way_is_told_by_level() {
        let mut places = Places::default();
        let error = |line: u32| PhpError {
            level: if line.is_multiple_of(2) { "warning" } else { "notice" }.into(),
            message: "m".into(),
            file: "/a.php".into(),
            line,
            count: 1,
            count_error: 0,
            silenced: None,
            script: "".into(),
            messages: Vec::new(),
            routes: ProblemRoutes::none(),
        };
        places.add(Some(&(0..4 * PLACES as u32).map(error).collect()));
        let list = places.list(Some).unwrap();
        let mut beyond: Vec<_> =
            list.iter().filter(|error| &*error.file == BEYOND).map(|error| &*error.level).collect();
        beyond.sort_unstable();
        assert_eq!(beyond, ["notice", "warning"]);
        assert_eq!(list.iter().map(|error| error.count).sum::<u64>(), 4 * PLACES as u64);
    }
}
