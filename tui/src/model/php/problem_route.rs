//! In which routes a problem happened, and how often in each.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

/// The routes of one problem. Their counts together are that of the problem, unless there were too many requests or routes to count
/// each of them: then each has at least what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Columns", into = "Columns")]
pub struct ProblemRoutes {
    /// The most frequent first; `None` when not known, as in recordings of older versions.
    pub list: Option<Vec<ProblemRoute>>,
}

/// How often a problem happened in one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemRoute {
    /// Index into [`super::Php::routes`].
    pub route: usize,
    /// Times.
    pub count: u64,
    /// Of exceptions: those that reached PHP itself.
    pub uncaught: u64,
    /// Of errors: those that were silenced.
    pub silenced: u64,
}

/// The same as JSON has it: a recording knows that a column of numbers leads to routes.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Columns {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    routes: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    route_counts: Vec<u64>,
    /// Absent where all are 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    route_uncaught: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    route_silenced: Vec<u64>,
}

impl From<Columns> for ProblemRoutes {
    fn from(columns: Columns) -> Self {
        let at = |column: &[u64], place: usize| column.get(place).copied().unwrap_or(0);
        let route = |(place, route)| ProblemRoute {
            route,
            count: at(&columns.route_counts, place),
            uncaught: at(&columns.route_uncaught, place),
            silenced: at(&columns.route_silenced, place),
        };
        Self { list: columns.routes.as_ref().map(|list| list.iter().copied().enumerate().map(route).collect()) }
    }
}

impl From<ProblemRoutes> for Columns {
    fn from(routes: ProblemRoutes) -> Self {
        let Some(list) = routes.list else { return Self::default() };
        let column = |of: fn(&ProblemRoute) -> u64| list.iter().map(of).collect::<Vec<_>>();
        let unless_0 = |column: Vec<u64>| if column.iter().all(|&count| count == 0) { Vec::new() } else { column };
        Self {
            routes: Some(list.iter().map(|route| route.route).collect()),
            route_counts: column(|route| route.count),
            route_uncaught: unless_0(column(|route| route.uncaught)),
            route_silenced: unless_0(column(|route| route.silenced)),
        }
    }
}

impl ProblemRoute {
    /// How often, also where of an exception only the end was seen.
    pub(crate) fn times(&self) -> u64 {
        self.count.max(self.uncaught)
    }
}

impl ProblemRoutes {
    /// Routes of a problem. There may be twice as many while they are added up.
    pub(crate) const MOST: usize = 64;

    /// Known, and none so far.
    pub(crate) fn none() -> Self {
        Self { list: Some(Vec::new()) }
    }

    /// Those that are known.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ProblemRoute> {
        self.list.iter().flatten()
    }

    /// Adds to a route.
    pub(crate) fn add(&mut self, route: ProblemRoute) {
        let list = self.list.get_or_insert_default();
        match list.iter_mut().find(|known| known.route == route.route) {
            Some(known) => {
                known.count += route.count;
                known.uncaught += route.uncaught;
                known.silenced += route.silenced;
            }
            None => {
                list.push(route);
                if list.len() >= 2 * Self::MOST {
                    self.choose();
                }
            }
        }
    }

    /// Adds all routes of another sum.
    pub(crate) fn add_all(&mut self, other: &Self) {
        let Some(list) = &other.list else { return };
        self.list.get_or_insert_default();
        list.iter().for_each(|route| self.add(*route));
    }

    /// Gives routes other numbers; those without one are left out.
    pub(crate) fn renumber(&mut self, number: impl Fn(usize) -> Option<usize>) {
        let Some(list) = self.list.take() else { return };
        self.list = Some(Vec::with_capacity(list.len()));
        // Several may have become one.
        for route in list {
            if let Some(number) = number(route.route) {
                self.add(ProblemRoute { route: number, ..route });
            }
        }
    }

    /// Puts the most frequent first and leaves out what is rare.
    pub(crate) fn choose(&mut self) {
        if let Some(list) = &mut self.list {
            list.sort_unstable_by_key(|route| (Reverse(route.times()), route.route));
            list.truncate(Self::MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(route: usize, count: u64) -> ProblemRoute {
        ProblemRoute { route, count, uncaught: 0, silenced: 0 }
    }

    #[test]
    fn json_has_columns_and_leaves_out_what_is_not_known() {
        let json = |routes: &ProblemRoutes| serde_json::to_string(routes).unwrap();
        assert_eq!(json(&ProblemRoutes::default()), "{}");
        assert_eq!(json(&ProblemRoutes::none()), r#"{"routes":[]}"#);
        let mut routes = ProblemRoutes::none();
        routes.add(of(3, 5));
        routes.add(ProblemRoute { uncaught: 2, ..of(0, 2) });
        let text = json(&routes);
        assert_eq!(text, r#"{"routes":[3,0],"route_counts":[5,2],"route_uncaught":[0,2]}"#);
        for text in [&*text, "{}", r#"{"routes":[]}"#] {
            assert_eq!(json(&serde_json::from_str(text).unwrap()), text);
        }
        let damaged: ProblemRoutes = serde_json::from_str(r#"{"routes":[3,0],"route_counts":[5]}"#).unwrap();
        assert_eq!(damaged.list.unwrap(), [of(3, 5), of(0, 0)]);
    }

    #[test]
    fn few_routes_are_exact_and_of_many_the_frequent_ones_stay() {
        let mut routes = ProblemRoutes::default();
        for number in 0..20 {
            routes.add(of(number % 4, 1));
        }
        routes.choose();
        assert_eq!(
            routes.iter().map(|route| (route.route, route.count)).collect::<Vec<_>>(),
            [(0, 5), (1, 5), (2, 5), (3, 5)]
        );
        for number in 0..10_000 {
            routes.add(of(number, 1));
            routes.add(of(7, 1));
        }
        routes.choose();
        let list = routes.list.unwrap();
        assert_eq!((list.len(), list[0]), (ProblemRoutes::MOST, of(7, 10_001)));
    }

    #[test]
    fn routes_that_become_one_are_added_up() {
        let mut routes = ProblemRoutes { list: Some(vec![of(1, 2), of(2, 3), of(9, 1)]) };
        routes.renumber(|number| (number < 9).then_some(0));
        assert_eq!(routes.list.unwrap(), [of(0, 5)]);
    }
}
