//! The routes of one interval: requests and samples that share a group, a script, a method and a folded path.

use std::{collections::HashMap, sync::Arc};

use super::route::fold;
use crate::{
    collect::php::{FinishedRequest, RequestText},
    model::{DurationSummary, Histogram, Route},
};

/// Routes in one snapshot; requests of further ones share `(other)`.
const MOST: usize = 500;

/// Collects routes.
#[derive(Debug, Default)]
pub struct Routes {
    routes: Vec<Route>,
    index: HashMap<Key, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    group: Arc<str>,
    script: Arc<str>,
    method: Arc<str>,
    route: Arc<str>,
}

impl Routes {
    /// The route of a request that `group` serves.
    pub fn of_request(&mut self, group: &Arc<str>, request: &RequestText) -> usize {
        self.place(Key {
            group: group.clone(),
            script: request.script.as_str().into(),
            method: request.method.as_str().into(),
            route: fold(&request.uri).into(),
        })
    }

    /// The route of code that runs outside of any known request.
    pub fn of_script(&mut self, group: &Arc<str>, script: Option<&Arc<str>>) -> usize {
        let none: Arc<str> = "".into();
        let script = script.unwrap_or(&none).clone();
        self.place(Key { group: group.clone(), script, method: none.clone(), route: none })
    }

    /// Counts a request that ended.
    pub fn count(&mut self, route: usize, request: &FinishedRequest) {
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
    pub fn finish(mut self) -> Vec<Route> {
        for route in &mut self.routes {
            let max = route.duration_ms.max;
            // A bucket's middle may lie above the longest duration that fell into it.
            let quantile = |q| route.histogram.quantile_ms(q).map(|ms| max.map_or(ms, |max| ms.min(max)));
            route.duration_ms = DurationSummary { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), max };
        }
        self.routes
    }

    fn place(&mut self, key: Key) -> usize {
        if let Some(&index) = self.index.get(&key) {
            return index;
        }
        let key =
            if self.routes.len() >= MOST { Key { route: "(other)".into(), script: "".into(), ..key } } else { key };
        let routes = &mut self.routes;
        *self.index.entry(key).or_insert_with_key(|key| {
            routes.push(Route {
                route: key.route.clone(),
                script: key.script.clone(),
                method: key.method.clone(),
                group: key.group.clone(),
                requests: 0,
                errors: 0,
                duration_ms: DurationSummary::default(),
                histogram: Histogram::default(),
                cpu_ns: None,
                wait_ns: None,
                rss_growth_bytes: None,
            });
            routes.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> RequestText {
        RequestText {
            pid: 1,
            image: 0,
            started_ns: 0,
            cpu_ns: 0,
            wait_ns: 0,
            pool: None,
            method: "GET".to_owned(),
            script: "/index.php".to_owned(),
            uri: uri.to_owned(),
        }
    }

    fn finished(uri: &str, status: u16, ms: u64) -> FinishedRequest {
        FinishedRequest {
            request: Arc::new(request(uri)),
            status: Some(status),
            duration_ns: ms * 1_000_000,
            cpu_ns: Some(1),
            aborted: false,
        }
    }

    #[test]
    fn requests_of_one_route_are_counted_together() {
        let mut routes = Routes::default();
        let group = "php-fpm: www".into();
        for (uri, status, ms) in [("/post/1", 200, 10), ("/post/2?x", 500, 30), ("/", 404, 1)] {
            let finished = finished(uri, status, ms);
            let route = routes.of_request(&group, &finished.request);
            routes.count(route, &finished);
        }
        let routes = routes.finish();
        assert_eq!(routes.len(), 2);
        assert_eq!((&*routes[0].route, routes[0].requests, routes[0].errors), ("/post/:n", 2, 1));
        assert_eq!((routes[0].duration_ms.max, routes[0].cpu_ns), (Some(30.0), Some(2)));
        assert_eq!(routes[1].errors, 0);
        assert!((routes[1].duration_ms.p50.unwrap() - 1.0).abs() < 0.03, "within a bucket");
    }

    #[test]
    fn routes_beyond_the_bound_share_one_and_no_request_is_lost() {
        let mut routes = Routes::default();
        let group = "g".into();
        for i in 0..MOST * 2 {
            let finished = finished(&format!("/page{i}x"), 200, 1);
            let route = routes.of_request(&group, &finished.request);
            routes.count(route, &finished);
        }
        let routes = routes.finish();
        assert_eq!(routes.len(), MOST + 1);
        assert_eq!(routes.iter().map(|route| route.requests).sum::<u64>(), 2 * MOST as u64);
        assert_eq!(&*routes[MOST].route, "(other)");
    }
}
