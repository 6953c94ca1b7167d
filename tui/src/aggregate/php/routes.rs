//! The routes of one interval: requests and samples that share a group, a script, a method and a folded path. The key of a
//! request is computed once per request, not once per sample.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::route::fold;
use crate::{
    collect::php::{FinishedRequest, RequestText},
    model::{DurationSummary, Numbers, Route, RouteKey},
};

/// Routes in one snapshot; requests of further ones share `(other)`.
const MOST: usize = 500;
/// Different keys kept from one interval to the next.
const KEPT: usize = 4_096;

/// Keys of routes, kept from one interval to the next, so that a route is the same allocation in all snapshots.
#[derive(Debug, Default)]
pub(crate) struct RouteKeys {
    shared: HashSet<Arc<RouteKey>>,
    /// By process and start of the request; the start is 0 outside of any request.
    known: HashMap<(u32, u64), Arc<RouteKey>>,
}

impl RouteKeys {
    /// Forgets all requests but those that run.
    pub(crate) fn forget_ended(&mut self, running: &[Arc<RequestText>]) {
        let running: HashSet<(u32, u64)> = running.iter().map(|request| (request.pid, request.started_ns)).collect();
        self.known.retain(|id, _| running.contains(id));
    }

    fn of(&mut self, id: (u32, u64), group: &Arc<str>, key: impl FnOnce() -> RouteKey) -> Arc<RouteKey> {
        if let Some(known) = self.known.get(&id).filter(|known| known.group == *group) {
            return Arc::clone(known);
        }
        let key = self.share(key());
        self.known.insert(id, Arc::clone(&key));
        key
    }

    fn share(&mut self, key: RouteKey) -> Arc<RouteKey> {
        if let Some(shared) = self.shared.get(&key) {
            return Arc::clone(shared);
        }
        if self.shared.len() >= KEPT {
            self.shared.clear();
        }
        let key = Arc::new(key);
        self.shared.insert(Arc::clone(&key));
        key
    }
}

#[derive(Debug)]
pub(crate) struct Routes<'a> {
    keys: &'a mut RouteKeys,
    routes: Vec<Route>,
    numbers: Numbers<RouteKey>,
}

impl<'a> Routes<'a> {
    /// No routes yet.
    pub(crate) fn new(keys: &'a mut RouteKeys) -> Self {
        Self { keys, routes: Vec::new(), numbers: Numbers::default() }
    }

    /// The route of a request that `group` serves.
    pub(crate) fn of_request(&mut self, group: &Arc<str>, request: &RequestText) -> usize {
        let key = self.keys.of((request.pid, request.started_ns), group, || RouteKey {
            group: group.clone(),
            script: request.script.as_str().into(),
            method: request.method.as_str().into(),
            route: fold(&request.uri).into(),
        });
        self.place(&key)
    }

    /// The route of code that a process of `group` runs outside of any known request.
    pub(crate) fn of_script(&mut self, pid: u32, group: &Arc<str>, script: Option<&Arc<str>>) -> usize {
        let key = self.keys.of((pid, 0), group, || {
            let none: Arc<str> = "".into();
            let script = script.unwrap_or(&none).clone();
            RouteKey { group: group.clone(), script, method: none.clone(), route: none }
        });
        self.place(&key)
    }

    /// Counts a request that ended.
    pub(crate) fn count(&mut self, route: usize, request: &FinishedRequest) {
        let route = &mut self.routes[route];
        route.requests += 1;
        route.errors += u64::from(request.status.is_some_and(|status| status >= 500));
        route.histogram.record(request.duration_ns);
        let ms = request.duration_ns as f64 / 1e6;
        route.duration_ms.max = Some(route.duration_ms.max.map_or(ms, |max| max.max(ms)));
        if let Some(cpu_ns) = request.cpu_ns {
            route.cpu_ns = Some(route.cpu_ns.unwrap_or(0) + cpu_ns);
        }
        route.wait_ns = Some(route.wait_ns.unwrap_or(0) + request.request.wait_ns);
    }

    /// The routes with their summaries.
    pub(crate) fn finish(mut self) -> Vec<Route> {
        for route in &mut self.routes {
            let max = route.duration_ms.max;
            // A bucket's middle may lie above the longest duration that fell into it.
            let quantile = |q| route.histogram.quantile_ms(q).map(|ms| max.map_or(ms, |max| ms.min(max)));
            route.duration_ms = DurationSummary { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max };
        }
        self.routes
    }

    fn place(&mut self, key: &Arc<RouteKey>) -> usize {
        if let Some(index) = self.numbers.find(key) {
            return index as usize;
        }
        if self.routes.len() < MOST {
            return self.add(key);
        }
        let other = RouteKey { route: "(other)".into(), script: "".into(), ..RouteKey::clone(key) };
        let other = self.keys.share(other);
        match self.numbers.find(&other) {
            Some(index) => index as usize,
            None => self.add(&other),
        }
    }

    fn add(&mut self, key: &Arc<RouteKey>) -> usize {
        let index = self.routes.len();
        self.routes.push(Route::seen(Arc::clone(key)));
        self.numbers.insert(key, index as u32);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, started_ns: u64) -> RequestText {
        RequestText {
            pid: 1,
            image: 0,
            started_ns,
            cpu_ns: 0,
            wait_ns: 0,
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
            cpu_ns: Some(1),
            aborted: false,
        }
    }

    #[test]
    fn requests_of_one_route_are_counted_together() {
        let mut keys = RouteKeys::default();
        let mut routes = Routes::new(&mut keys);
        let group = "php-fpm: www".into();
        for (started, (uri, status, ms)) in (1..).zip([("/post/1", 200, 10), ("/post/2?x", 500, 30), ("/", 404, 1)]) {
            let finished = finished(uri, started, status, ms);
            let route = routes.of_request(&group, &finished.request);
            routes.count(route, &finished);
        }
        let routes = routes.finish();
        assert_eq!(routes.len(), 2);
        assert_eq!((&*routes[0].key.route, routes[0].requests, routes[0].errors), ("/post/:n", 2, 1));
        assert_eq!((routes[0].duration_ms.max, routes[0].cpu_ns), (Some(30.0), Some(2)));
        assert_eq!(routes[1].errors, 0);
        assert!((routes[1].duration_ms.p50.unwrap() - 1.0).abs() < 0.03, "within a bucket");
    }

    #[test]
    fn routes_beyond_the_bound_share_one_and_no_request_is_lost() {
        let mut keys = RouteKeys::default();
        let mut routes = Routes::new(&mut keys);
        let group = "g".into();
        for i in 0..MOST * 2 {
            let finished = finished(&format!("/page{i}x"), i as u64 + 1, 200, 1);
            let route = routes.of_request(&group, &finished.request);
            routes.count(route, &finished);
        }
        let routes = routes.finish();
        assert_eq!(routes.len(), MOST + 1);
        assert_eq!(routes.iter().map(|route| route.requests).sum::<u64>(), 2 * MOST as u64);
        assert_eq!(&*routes[MOST].key.route, "(other)");
    }

    #[test]
    fn a_request_has_one_key_while_it_runs_and_none_is_kept_after_it() {
        let mut keys = RouteKeys::default();
        let group: Arc<str> = "g".into();
        let running = [Arc::new(request("/a/1", 5)), Arc::new(request("/b", 6))];
        let mut first = Routes::new(&mut keys);
        running.iter().for_each(|request| {
            first.of_request(&group, request);
        });
        let first = first.finish();
        keys.forget_ended(&running[..1]);
        assert_eq!(keys.known.keys().collect::<Vec<_>>(), [&(1, 5)]);
        let mut second = Routes::new(&mut keys);
        running.iter().for_each(|request| {
            second.of_request(&group, request);
        });
        let second = second.finish();
        assert!(first.iter().zip(&second).all(|(a, b)| Arc::ptr_eq(&a.key, &b.key)), "also of one that was forgotten");
        let other: Arc<str> = "moved".into();
        let mut third = Routes::new(&mut keys);
        third.of_request(&other, &running[0]);
        assert_eq!(third.finish()[0].key.group, other, "a process that moves takes its requests with it");
    }

    #[test]
    fn keys_are_bounded() {
        let mut keys = RouteKeys::default();
        let mut routes = Routes::new(&mut keys);
        for i in 0..3 * KEPT {
            routes.of_request(&"g".into(), &request(&format!("/page{i}x"), i as u64 + 1));
        }
        keys.forget_ended(&[]);
        assert!(keys.shared.len() <= KEPT && keys.known.is_empty());
    }
}
