//! The routes of one interval: requests and samples that share a group, a script, a method and a folded path. The key of a
//! request is computed once per request, not once per sample.
//!
//! First all routes are found, then those are chosen that are listed. So it does not matter which come first.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::super::digits;
use super::route::{RouteRules, method};
use crate::{
    collect::php::{FinishedRequest, NamedStack, RequestMemory, RequestText},
    model::{DurationSummary, NumberMap, Numbers, Route, RouteKey, RouteMemory},
    top::Top,
};

/// Routes in one snapshot; requests of further ones share the `(other)` of their group.
pub(crate) const MOST: usize = 500;
/// Keys kept from one interval to the next; there may be twice as many.
const KEPT: usize = 2_048;
/// Scripts that are remembered as those of WordPress.
const MOST_SCRIPTS: usize = 256;
/// The status of what is not there.
const NOT_FOUND: u16 = 404;
/// Seconds after which the past counts half.
const HALF_LIFE_S: f64 = 60.0;

/// Keys of routes, kept from one interval to the next, so that a route is the same allocation in all snapshots.
#[derive(Debug)]
pub(crate) struct RouteKeys {
    /// With how many requests they had lately.
    shared: Top<Arc<RouteKey>, u64>,
    /// Since the past was last halved.
    seconds: f64,
    /// By process and start of the request; the start is 0 outside of any request.
    known: NumberMap<(u32, u64), Arc<RouteKey>>,
    rules: RouteRules,
    /// Routes that answered something else than 404 lately.
    served: Top<Arc<RouteKey>, u64>,
    /// Scripts in which code of WordPress was seen.
    wordpress: HashSet<Arc<str>>,
}

impl Default for RouteKeys {
    fn default() -> Self {
        Self {
            shared: Top::new(KEPT),
            seconds: 0.0,
            known: NumberMap::default(),
            rules: RouteRules::default(),
            served: Top::new(KEPT),
            wordpress: HashSet::new(),
        }
    }
}

impl RouteKeys {
    /// Ends an interval of so many seconds: forgets all requests but those that run, and routes that are no longer seen.
    pub(crate) fn end(&mut self, interval_s: f64, running: &[Arc<RequestText>]) {
        let running: HashSet<(u32, u64)> = running.iter().map(|request| (request.pid, request.started_ns)).collect();
        self.known.retain(|id, _| running.contains(id));
        self.seconds += interval_s;
        if self.seconds >= HALF_LIFE_S {
            self.seconds = 0.0;
            self.shared.fade(|requests| *requests /= 2);
            self.served.fade(|requests| *requests /= 2);
        }
    }

    fn of(&mut self, id: (u32, u64), group: &Arc<str>, key: impl FnOnce(&Self) -> RouteKey) -> Arc<RouteKey> {
        if let Some(known) = self.known.get(&id).filter(|known| known.group == *group) {
            return Arc::clone(known);
        }
        let key = key(self);
        let key = self.share(key);
        self.known.insert(id, Arc::clone(&key));
        key
    }

    fn share(&mut self, key: RouteKey) -> Arc<RouteKey> {
        let key = Arc::new(key);
        self.shared.add(&key, &1);
        self.shared.key(&key).cloned().unwrap_or(key)
    }

    /// Has other rules decide.
    pub(crate) fn set_rules(&mut self, rules: RouteRules) {
        self.rules = rules;
    }

    /// Requests that a route had lately.
    fn lately(&self, key: &Arc<RouteKey>) -> u64 {
        self.shared.of(key).copied().unwrap_or(0)
    }
}

/// Routes as they are found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    keys: &'a mut RouteKeys,
    routes: Vec<FoundRoute>,
    numbers: Numbers<RouteKey>,
}

#[derive(Debug)]
struct FoundRoute {
    key: Arc<RouteKey>,
    requests: u64,
    samples: u64,
}

impl<'a> Found<'a> {
    /// No routes yet.
    pub(crate) fn new(keys: &'a mut RouteKeys) -> Self {
        Self { keys, routes: Vec::new(), numbers: Numbers::default() }
    }

    /// The number of the route of a request that `group` serves.
    pub(crate) fn of_request(&mut self, group: &Arc<str>, request: &RequestText) -> usize {
        let key = self.key(group, request);
        self.number(&key)
    }

    /// The number of the route of a request that ended. What is not there and was never found, as scanners ask for it, is one route of
    /// its group.
    pub(crate) fn of_ended(&mut self, group: &Arc<str>, request: &RequestText, status: Option<u16>) -> usize {
        let mut key = self.key(group, request);
        if status != Some(NOT_FOUND) {
            self.keys.served.add(&key, &1);
        } else if self.keys.served.of(&key).is_none_or(|served| *served == 0) {
            key = self.keys.share(RouteKey::not_found(group));
            // Its samples are part of it.
            self.keys.known.insert((request.pid, request.started_ns), Arc::clone(&key));
        }
        self.number(&key)
    }

    /// Takes note of the code that a request ran.
    pub(crate) fn see(&mut self, request: &RequestText, stack: &NamedStack) {
        let scripts = &mut self.keys.wordpress;
        if scripts.len() < MOST_SCRIPTS
            && !scripts.contains(&*request.script)
            && stack.frames.iter().any(|frame| frame.file.contains("/wp-includes/"))
        {
            scripts.insert(request.script.as_str().into());
        }
    }

    fn key(&mut self, group: &Arc<str>, request: &RequestText) -> Arc<RouteKey> {
        self.keys.of((request.pid, request.started_ns), group, |keys| RouteKey {
            group: group.clone(),
            script: request.script.as_str().into(),
            method: method(&request.method).into(),
            route: keys.rules.route(&request.uri, keys.wordpress.contains(&*request.script)).into(),
        })
    }

    /// The number of the route of code that a process of `group` runs outside of any known request.
    pub(crate) fn of_script(&mut self, pid: u32, group: &Arc<str>, script: Option<&Arc<str>>) -> usize {
        let key = self.keys.of((pid, 0), group, |_| {
            let none: Arc<str> = "".into();
            let script = script.unwrap_or(&none).clone();
            RouteKey { group: group.clone(), script, method: none.clone(), route: none }
        });
        self.number(&key)
    }

    fn number(&mut self, key: &Arc<RouteKey>) -> usize {
        if let Some(number) = self.numbers.find(key) {
            return number as usize;
        }
        let number = self.routes.len();
        self.routes.push(FoundRoute { key: Arc::clone(key), requests: 0, samples: 0 });
        self.numbers.insert(key, number as u32);
        number
    }

    /// A request of a route ended and counts.
    pub(crate) fn add_request(&mut self, number: usize) {
        self.routes[number].requests += 1;
    }

    /// Samples were taken in a route.
    pub(crate) fn add_samples(&mut self, number: usize, samples: u64) {
        self.routes[number].samples += samples;
    }

    /// Chooses the routes that are listed: those with the most requests and samples, lately and in this interval.
    pub(crate) fn choose(self) -> Routes {
        let Self { keys, routes: found, .. } = self;
        let mut order: Vec<usize> = (0..found.len()).collect();
        if found.len() > MOST {
            let score = |route: &FoundRoute| keys.lately(&route.key) + route.requests + route.samples;
            let scores: Vec<u64> = found.iter().map(score).collect();
            let beyond = beyond_share(&found, &scores);
            order.select_nth_unstable_by_key(MOST, |&number| (beyond[number], Reverse(scores[number]), number));
            order.truncate(MOST);
            order.sort_unstable();
        }
        let mut chosen = Routes {
            routes: Vec::with_capacity(order.len()),
            places: vec![usize::MAX; found.len()],
            others: 0,
            other_requests: 0,
        };
        for number in order {
            chosen.places[number] = chosen.routes.len();
            chosen.routes.push(Route::seen(Arc::clone(&found[number].key)));
        }
        let mut others: HashMap<&Arc<str>, usize> = HashMap::new();
        for (number, route) in found.iter().enumerate().filter(|(_, route)| route.key.is_other()) {
            // What a process calls so is no route of its own.
            if chosen.places[number] != usize::MAX {
                others.insert(&route.key.group, chosen.places[number]);
            }
        }
        for (number, route) in found.iter().enumerate() {
            if chosen.places[number] != usize::MAX {
                continue;
            }
            chosen.others += 1;
            chosen.other_requests = chosen.other_requests.max(route.requests);
            chosen.places[number] = *others.entry(&route.key.group).or_insert_with(|| {
                let other = keys.share(RouteKey::other(&route.key.group));
                chosen.routes.push(Route::seen(other));
                chosen.routes.len() - 1
            });
        }
        chosen
    }
}

/// Which routes are beyond the share of their group: a flood in one group takes no place from the routes of another.
fn beyond_share(found: &[FoundRoute], scores: &[u64]) -> Vec<bool> {
    let mut groups: HashMap<&Arc<str>, Vec<usize>> = HashMap::new();
    for (number, route) in found.iter().enumerate() {
        groups.entry(&route.key.group).or_default().push(number);
    }
    let share = MOST / groups.len();
    let mut beyond = vec![false; found.len()];
    for numbers in groups.values_mut() {
        numbers.sort_unstable_by_key(|&number| (Reverse(scores[number]), number));
        numbers.iter().skip(share).for_each(|&number| beyond[number] = true);
    }
    beyond
}

/// The routes that are listed.
#[derive(Debug)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    /// By the number that a route was found under.
    places: Vec<usize>,
    /// How many are not listed, and the most requests that one of them had.
    pub others: u32,
    pub other_requests: u64,
}

impl Routes {
    /// The place in the list of a route that was found.
    pub(crate) fn place(&self, number: usize) -> usize {
        self.places[number]
    }

    /// Counts a request that ended.
    pub(crate) fn count(&mut self, place: usize, request: &FinishedRequest) {
        let route = &mut self.routes[place];
        route.requests += 1;
        route.errors += u64::from(request.aborted || request.status.is_some_and(|status| status >= 500));
        route.histogram.record(request.duration_ns);
        let ms = digits::summary_ms(request.duration_ns as f64 / 1e6);
        route.duration_ms.max = Some(route.duration_ms.max.map_or(ms, |max| max.max(ms)));
        if let Some(cpu_ns) = request.cpu_ns {
            route.cpu_ns = Some(route.cpu_ns.unwrap_or(0) + digits::time(cpu_ns));
        }
        route.wait_ns = Some(route.wait_ns.unwrap_or(0) + digits::time(request.request.wait_ns));
        if let RequestMemory::Known { peak_bytes, limit_bytes, .. } = request.request.memory {
            route.memory.get_or_insert_default().record(peak_bytes, limit_bytes);
        }
    }

    /// Counts bytes by which a process grew in a route.
    pub(crate) fn grow(&mut self, place: usize, bytes: u64) {
        let sum = self.routes[place].rss_growth_bytes.get_or_insert(0);
        *sum = sum.saturating_add_unsigned(bytes);
    }

    /// The key of a route in the list.
    pub(crate) fn key(&self, place: usize) -> &Arc<RouteKey> {
        &self.routes[place].key
    }

    /// The routes with their summaries.
    pub(crate) fn finish(mut self) -> Vec<Route> {
        for route in &mut self.routes {
            let max = route.duration_ms.max;
            // All quantiles of one duration are that one. A bucket's middle may lie above the longest one that fell into it.
            let quantile = |q| match max {
                Some(max) if route.requests == 1 => Some(max),
                _ => route.histogram.quantile_ms(q).map(|ms| digits::summary_ms(max.map_or(ms, |max| ms.min(max)))),
            };
            route.memory.iter_mut().for_each(RouteMemory::summarise);
            route.duration_ms = DurationSummary { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max };
        }
        self.routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::php::Start;

    fn request(uri: &str, started_ns: u64) -> RequestText {
        RequestText {
            pid: 1,
            tid: 1,
            image: 0,
            started_ns,
            cpu_ns: 0,
            wait_ns: 0,
            memory: RequestMemory::Unknown,
            exhausted: None,
            start: Start::Seen,
            pool: None,
            method: "GET".to_owned(),
            script: "/index.php".to_owned(),
            uri: uri.to_owned(),
        }
    }

    fn finished(uri: &str, started_ns: u64, status: u16, ms: u64) -> FinishedRequest {
        FinishedRequest {
            request: Arc::new(request(uri, started_ns)),
            status: Some(status),
            duration_ns: ms * 1_000_000,
            cpu_ns: Some(1_000),
            aborted: false,
        }
    }

    /// The routes of these requests, all of one group.
    fn routes(keys: &mut RouteKeys, requests: &[FinishedRequest]) -> Routes {
        let group = "php-fpm: www".into();
        let mut found = Found::new(keys);
        let number = |finished: &FinishedRequest| {
            let number = found.of_request(&group, &finished.request);
            found.add_request(number);
            number
        };
        let numbers: Vec<usize> = requests.iter().map(number).collect();
        let mut routes = found.choose();
        for (number, request) in numbers.into_iter().zip(requests) {
            routes.count(routes.place(number), request);
        }
        routes
    }

    #[test]
    fn requests_of_one_route_are_counted_together() {
        let requests = [finished("/post/1", 1, 200, 10), finished("/post/2?x", 2, 500, 30), finished("/", 3, 404, 1)];
        let routes = routes(&mut RouteKeys::default(), &requests).finish();
        assert_eq!(routes.len(), 2);
        assert_eq!((&*routes[0].key.route, routes[0].requests, routes[0].errors), ("/post/:n", 2, 1));
        assert_eq!((routes[0].duration_ms.max, routes[0].cpu_ns), (Some(30.0), Some(2_000)));
        assert_eq!(routes[1].errors, 0);
        assert!((routes[1].duration_ms.p50.unwrap() - 1.0).abs() < 0.03, "within a bucket");
    }

    #[test]
    fn a_flood_in_one_group_takes_no_place_from_the_routes_of_another() {
        let mut keys = RouteKeys::default();
        let mut found = Found::new(&mut keys);
        let (flood, own): (Arc<str>, Arc<str>) = ("php-fpm: flood".into(), "php-fpm: www".into());
        // Numbers would all be one route.
        let word = |number: usize| -> String {
            let digits = number.to_string();
            std::iter::once('/').chain(digits.bytes().map(|digit| char::from(digit - b'0' + b'g'))).collect()
        };
        for number in (0..3 * MOST).flat_map(|number| [number, number]) {
            let number = found.of_request(&flood, &request(&word(number), 1 + number as u64));
            found.add_request(number);
        }
        let number = found.of_request(&own, &request("/checkout", 1_000_000));
        found.add_request(number);
        let routes = found.choose();
        assert_eq!(&*routes.key(routes.place(number)).route, "/checkout");
    }

    #[test]
    fn the_biggest_routes_are_listed_whichever_come_first_and_no_request_is_lost() {
        let scan = (0..4 * MOST as u64).map(|at| finished(&format!("/page{at}x"), at + 1, 404, 1));
        let shop = (0..3).map(|at| finished("/shop", 100_000 + at, 200, 1));
        let requests: Vec<_> = scan.chain(shop).collect();
        let routes = routes(&mut RouteKeys::default(), &requests);
        assert_eq!((routes.others, routes.other_requests), (3 * MOST as u32 + 1, 1));
        let routes = routes.finish();
        assert_eq!(routes.len(), MOST + 1);
        assert_eq!(routes.iter().map(|route| route.requests).sum::<u64>(), 4 * MOST as u64 + 3);
        assert!(routes[MOST].key.is_other() && routes[MOST].requests == 3 * MOST as u64 + 1);
        assert!(routes.iter().any(|route| &*route.key.route == "/shop" && route.requests == 3));
    }

    #[test]
    fn a_route_that_is_known_is_listed_in_every_interval_while_a_scanner_asks_for_more() {
        let mut keys = RouteKeys::default();
        let mut started = 0;
        let mut finished = |uri: &str| {
            started += 1;
            finished(uri, started, 200, 1)
        };
        let quiet: Vec<_> = (0..30).map(|at| finished(["/a", "/b", "/c"][at % 3])).collect();
        routes(&mut keys, &quiet);
        keys.end(1.0, &[]);
        for second in 0..100 {
            // Each of a scanner's paths has two requests, and each of the site's one.
            let scan: Vec<_> = (0..1_200).map(|at| finished(&format!("/x{second}y{}z", at / 2))).collect();
            let site: Vec<_> = ["/a", "/b", "/c"].map(&mut finished).into();
            let routes = routes(&mut keys, &[scan, site].concat()).finish();
            let listed = routes.iter().filter(|route| ["/a", "/b", "/c"].contains(&&*route.key.route));
            assert_eq!(listed.map(|route| route.requests).collect::<Vec<_>>(), [1, 1, 1]);
            keys.end(1.0, &[]);
        }
    }

    #[test]
    fn a_client_that_makes_up_methods_makes_one_route() {
        let requests = (0..24_000).map(|at| {
            let mut finished = finished("/", at + 1, 200, 1);
            finished.request = Arc::new(RequestText { method: format!("M-{at}"), ..request("/", at + 1) });
            finished
        });
        let routes = routes(&mut RouteKeys::default(), &requests.collect::<Vec<_>>()).finish();
        assert_eq!(routes.iter().map(|r| (&*r.key.method, r.requests)).collect::<Vec<_>>(), [("other", 24_000)]);
    }

    #[test]
    fn what_is_not_listed_is_told_by_group() {
        let mut keys = RouteKeys::default();
        let mut found = Found::new(&mut keys);
        let groups: [Arc<str>; 2] = ["a".into(), "b".into()];
        for at in 0..2 * MOST as u64 {
            let number = found.of_request(&groups[at as usize % 2], &request(&format!("/page{at}x"), at + 1));
            found.add_request(number);
        }
        let routes = found.choose().finish();
        let others: Vec<_> = routes[MOST..].iter().map(|route| (&*route.key.route, &*route.key.group)).collect();
        assert_eq!(others, [("(other)", "a"), ("(other)", "b")]);
    }

    #[test]
    fn a_request_has_one_key_while_it_runs_and_none_is_kept_after_it() {
        let mut keys = RouteKeys::default();
        let group: Arc<str> = "g".into();
        let running = [Arc::new(request("/a/1", 5)), Arc::new(request("/b", 6))];
        let of = |keys: &mut RouteKeys, group, requests: &[Arc<RequestText>]| {
            let mut found = Found::new(keys);
            requests.iter().for_each(|request| {
                found.of_request(group, request);
            });
            found.choose().finish()
        };
        let first = of(&mut keys, &group, &running);
        keys.end(1.0, &running[..1]);
        assert_eq!(keys.known.keys().collect::<Vec<_>>(), [&(1, 5)]);
        let second = of(&mut keys, &group, &running);
        assert!(first.iter().zip(&second).all(|(a, b)| Arc::ptr_eq(&a.key, &b.key)), "also of one that was forgotten");
        let other: Arc<str> = "moved".into();
        let third = of(&mut keys, &other, &running[..1]);
        assert_eq!(third[0].key.group, other, "a process that moves takes its requests with it");
    }

    #[test]
    fn keys_are_bounded_and_leave_when_they_are_no_longer_seen() {
        let mut keys = RouteKeys::default();
        let mut found = Found::new(&mut keys);
        for i in 0..3 * KEPT {
            found.of_request(&"g".into(), &request(&format!("/page{i}x"), i as u64 + 1));
        }
        keys.end(1.0, &[]);
        assert!(keys.shared.len() <= 2 * KEPT && keys.known.is_empty());
        (0..2).for_each(|_| keys.end(HALF_LIFE_S, &[]));
        assert!(keys.shared.is_empty());
    }
}
