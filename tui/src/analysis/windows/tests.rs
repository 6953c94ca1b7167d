//! Claims about windows: adding up, forgetting, bounds.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::analysis::profile;
use crate::model::{
    ExceptionCount, Function, FunctionKind, Histogram, ProblemRoute, ProblemRoutes, Request, RequestStack, Route,
    Stack, WorkerKey,
};

fn function(name: &str, own: u64, total: u64) -> Function {
    let key =
        FunctionKey { name: name.into(), class: "".into(), file: "/a.php".into(), line: 1, kind: FunctionKind::User };
    let seen = Function { self_wait_ns: None, total_wait_ns: None, ..Function::seen(key.into()) };
    Function { self_samples: own, total_samples: total, ..seen }
}

fn route(path: &str, durations_ms: &[u64]) -> Route {
    let mut histogram = Histogram::default();
    durations_ms.iter().for_each(|ms| histogram.record(ms * 1_000_000));
    let key = RouteKey { route: path.into(), script: "/index.php".into(), method: "GET".into(), group: "www".into() };
    Route { requests: durations_ms.len() as u64, histogram, ..Route::seen(key.into()) }
}

fn stack(route: usize, frames: &[usize], samples: u64) -> Stack {
    Stack { route, frames: frames.to_vec(), samples, wait_ns: None, growth_bytes: None, truncated: false }
}

/// One stack of two requests of a worker, of which the first one is long.
fn of_two_requests(samples: [u64; 2]) -> Php {
    let row = |start, samples| RequestStack {
        worker: WorkerKey::of_process(7),
        started_at: Some(at(start)),
        stack: 0,
        samples,
        wait_ns: 0,
        growth_bytes: 0,
    };
    Php {
        request_stacks: vec![row(0, samples[0])],
        short_request_stacks: Some(vec![row(5, samples[1])]),
        ..Php::clone(&php("a", samples[0] + samples[1], "/x"))
    }
}

#[test]
fn what_one_request_and_one_worker_did_adds_up_by_stack() {
    let mut windows = Windows::default();
    windows.push(at(0), &php("other", 50, "/y"));
    windows.push(at(1), &of_two_requests([3, 4]));
    windows.push(at(2), &of_two_requests([10, 20]));
    let worker = WorkerKey::of_process(7);
    let samples = |php: &Php, scope: &Scope| profile::time(php, scope).samples;
    let request = |start| Scope::Request { worker, started_at: at(start) };
    for (scope, over, all) in [
        (Scope::Worker(worker), 37, 37),
        (request(0), 13, 13),
        // Of one that is not long, a long time has only what its worker did.
        (request(5), 24, 0),
        (request(9), 0, 0),
        (Scope::Worker(WorkerKey::of_process(8)), 0, 0),
    ] {
        assert_eq!(samples(&windows.over(KEPT, &Php::default(), &scope), &scope), over, "{scope:?}");
        assert_eq!(samples(&windows.all(&Php::default(), &scope), &scope), all, "{scope:?}");
    }
    let whole = windows.all(&Php::default(), &Scope::All);
    assert_eq!(profile::time(&whole, &Scope::All).samples, 87);
    assert_eq!(whole.request_stacks.iter().map(|row| row.samples).sum::<u64>(), 13, "the long ones go on to a rollup");
    assert_eq!(whole.short_request_stacks, None, "one interval does not have them");
    windows.forget_rare(1);
    let scope = Scope::Worker(worker);
    let left = windows.all(&Php::default(), &scope);
    assert_eq!(samples(&left, &scope) + left.left_out_samples, 37, "a stack that is forgotten is so for all");
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000 + second)
}

/// `leaf` on top of `main`, in one route.
fn php(leaf: &str, samples: u64, path: &str) -> Arc<Php> {
    Arc::new(Php {
        functions: vec![function("main", 0, samples), function(leaf, samples, samples)],
        routes: vec![route(path, &[10])],
        stacks: vec![stack(0, &[1, 0], samples)],
        ..Php::default()
    })
}

fn named<'a>(php: &'a Php, name: &str) -> &'a Function {
    php.functions.iter().find(|function| &*function.key.name == name).unwrap()
}

#[test]
fn functions_stacks_and_routes_add_up_by_what_they_are() {
    let mut windows = Windows::default();
    windows.push(at(0), &php("a", 3, "/x"));
    // The same things with other indexes.
    windows.push(
        at(1),
        &Arc::new(Php {
            functions: vec![function("a", 2, 2), function("b", 1, 1), function("main", 0, 3)],
            routes: vec![route("/y", &[99]), route("/x", &[30])],
            stacks: vec![stack(1, &[0, 2], 2), stack(0, &[1, 2], 1)],
            ..Php::default()
        }),
    );
    let merged = windows.over(Duration::from_secs(10), &Php::default(), &Scope::All);
    assert_eq!((named(&merged, "a").self_samples, named(&merged, "main").total_samples), (5, 6));
    assert_eq!(merged.stacks.len(), 2);
    let same = merged.stacks.iter().find(|stack| &*merged.functions[stack.frames[0]].key.name == "a").unwrap();
    assert_eq!((same.samples, &*merged.routes[same.route].key.route), (5, "/x"));
    let x = merged.routes.iter().find(|route| &*route.key.route == "/x").unwrap();
    assert_eq!((x.requests, x.histogram.count()), (2, 2));
    assert!(x.duration_ms.p99.unwrap() > 25.0, "percentiles are made from the merged histogram");
    assert_eq!(windows.all(&Php::default(), &Scope::All), merged);
}

#[test]
fn a_window_forgets_what_is_older_and_all_does_not() {
    let mut windows = Windows::default();
    for second in 0..100 {
        let name = if second < 50 { "old" } else { "new" };
        windows.push(at(second), &Php { interval_ms: 1000, ..(*php(name, 1, "/x")).clone() });
    }
    let last_10 = windows.over(Duration::from_secs(10), &Php::default(), &Scope::All);
    assert_eq!(named(&last_10, "new").self_samples, 10);
    assert!(!last_10.functions.iter().any(|function| &*function.key.name == "old"));
    assert_eq!(named(&windows.over(KEPT, &Php::default(), &Scope::All), "old").self_samples, 10);
    assert_eq!(named(&windows.all(&Php::default(), &Scope::All), "old").self_samples, 50);
    assert_eq!(windows.recent.len(), 60);
    assert_eq!((windows.covered(KEPT).as_secs(), windows.covered_by_all().as_secs()), (60, 100));
}

#[test]
fn rare_stacks_are_forgotten_and_counted() {
    let mut windows = Windows::default();
    let hot = 7_000;
    let mut made = 0_u64;
    for second in 0..300_i64 {
        let functions: Vec<Function> = (0..400).map(|i| function(&format!("f{i}"), 0, 0)).collect();
        // 199 stacks never seen before, and one that is always there.
        let mut stacks: Vec<Stack> =
            (0..199_usize).map(|i| stack(0, &[i, second as usize % 400, second as usize / 20], 1)).collect();
        stacks.push(stack(0, &[399, 399], hot));
        made += 199 + hot;
        let php = Php { functions, routes: vec![route("/", &[1])], stacks, ..Php::default() };
        windows.push(at(second), &Arc::new(php));
    }
    let all = windows.all(&Php::default(), &Scope::All);
    assert!(all.stacks.len() <= MAX_STACKS);
    assert!(all.left_out_samples > 0);
    let kept: u64 = all.stacks.iter().map(|stack| stack.samples).sum();
    assert_eq!(kept + all.left_out_samples, made, "every sample is kept or counted as forgotten");
    assert_eq!(all.stacks.iter().map(|stack| stack.samples).max(), Some(hot * 300));
    let minute = windows.over(KEPT, &Php::default(), &Scope::All);
    assert_eq!(minute.stacks.iter().map(|stack| stack.samples).sum::<u64>(), 60 * (199 + hot));
}

#[test]
fn finished_requests_appear_once_and_running_ones_are_those_of_now() {
    let request = |pid: u32, second: i64, finished: bool| Request {
        pid,
        tid: None,
        uri: "/x?1".into(),
        method: "GET".into(),
        status: finished.then_some(200),
        started_at: at(second),
        duration_ms: 5.0,
        cpu_ms: None,
        wait_ms: None,
        memory_peak_bytes: None,
        memory_bytes: None,
        memory_limit_bytes: None,
        growth_bytes_per_minute: None,
        rss_growth_bytes_per_minute: None,
        memory_unknown: None,
        start_known: true,
        waiting: None,
        aborted: false,
        finished,
        route: 0,
    };
    let with = |requests| Arc::new(Php { routes: vec![route("/x", &[5])], requests, ..Php::default() });
    let mut windows = Windows::default();
    windows.push(at(0), &with(vec![request(1, 0, false)]));
    windows.push(at(1), &with(vec![request(1, 0, true), request(2, 1, false)]));
    let now = with(vec![request(1, 0, true), request(3, 2, false)]);
    windows.push(at(2), &now);
    let merged = windows.over(Duration::from_secs(10), &now, &Scope::All);
    let pids: Vec<_> = merged.requests.iter().map(|request| (request.pid, request.finished)).collect();
    assert_eq!(pids, [(3, false), (1, true)]);
}

#[test]
fn indexes_that_lead_nowhere_are_ignored() {
    let php =
        Php { stacks: vec![stack(7, &[0], 1), stack(0, &[9], 1)], routes: vec![route("/", &[])], ..Php::default() };
    let mut windows = Windows::default();
    windows.push(at(0), &Arc::new(php));
    assert!(windows.all(&Php::default(), &Scope::All).stacks.is_empty());
}

#[test]
fn a_clock_set_back_does_not_keep_the_past_for_ever() {
    let mut windows = Windows::default();
    windows.push(at(5_000), &php("future", 1, "/x"));
    windows.push(at(0), &php("now", 1, "/x"));
    assert_eq!(windows.recent.len(), 1);
}

#[test]
fn what_an_interval_keeps_is_bounded_whatever_php_does() {
    let mut windows = Windows::default();
    let functions: Vec<Function> = (0..100).map(|i| function(&format!("f{i}"), 1, 1)).collect();
    let mut interval = 0;
    let mut next = || {
        let base = interval * 9_000;
        interval += 1;
        let stacks = (base..base + 9_000).map(|i| stack(0, &[i % 100, i / 100 % 100, i / 10_000], 1)).collect();
        Php { functions: functions.clone(), routes: vec![route("/", &[1])], stacks, ..Php::default() }
    };
    for tenth in 0..100 {
        let at = at(0) + SignedDuration::from_millis(100 * tenth);
        windows.push(at, &Php { interval_ms: 100, ..next() });
        assert!(windows.recent_bytes <= MAX_BYTES);
        assert_eq!(windows.recent_bytes, windows.recent.iter().map(|interval| interval.bytes).sum::<usize>());
    }
    assert!(windows.covered(KEPT) < Duration::from_secs(10), "it says that it is no minute");
    assert_eq!(windows.covered_by_all(), Duration::from_secs(10));
}

#[test]
fn more_stacks_in_one_interval_than_are_kept_are_counted() {
    let functions: Vec<Function> = (0..300).map(|i| function(&format!("f{i}"), 0, 0)).collect();
    let stacks: Vec<Stack> = (0..MAX_STACKS + 500).map(|i| stack(0, &[i % 300, i / 300], 2)).collect();
    let mut windows = Windows::default();
    windows.push(at(0), &Php { functions, routes: vec![route("/", &[1])], stacks, ..Php::default() });
    let all = windows.all(&Php::default(), &Scope::All);
    assert_eq!((all.stacks.len(), all.left_out_samples), (MAX_STACKS, 1_000));
}

/// Requests by route, samples by function, and samples by route and frames.
type Counts = (BTreeMap<String, u64>, BTreeMap<String, u64>, BTreeMap<(String, Vec<String>), u64>);

/// What is in a profile, whatever its order.
fn counts(php: &Php) -> Counts {
    let route = |at: usize| php.routes[at].key.route.to_string();
    let function = |at: usize| php.functions[at].key.name.to_string();
    let routes = php.routes.iter().map(|route| (route.key.route.to_string(), route.requests)).collect();
    let functions = php.functions.iter().map(|f| (f.key.name.to_string(), f.total_samples)).collect();
    let mut stacks = BTreeMap::new();
    for stack in &php.stacks {
        let frames = stack.frames.iter().map(|&frame| function(frame)).collect();
        *stacks.entry((route(stack.route), frames)).or_default() += stack.samples;
    }
    (routes, functions, stacks)
}

/// A second in which a site serves its routes `/a`, `/b` …, each so often, and a scanner asks for so many paths of its own.
fn scanned(second: i64, site: &[u64], scan: usize) -> Php {
    let asked = |requests: u64, path: String| Route { requests, ..route(&path, &[]) };
    let own = (b'a'..).zip(site).map(|(name, &requests)| asked(requests, format!("/{}", name as char)));
    let scan = (0..scan).map(|path| asked(1, format!("/x{second}/{path}")));
    Php { interval_ms: 60_000, routes: scan.chain(own).collect(), ..Php::default() }
}

#[test]
fn the_routes_of_a_site_are_exact_after_a_day_of_scanning() {
    let site: Vec<u64> = (1..=20).collect();
    let mut windows = Windows::default();
    let (minutes, scan) = (24 * 60, 200);
    for minute in 0..minutes {
        windows.push(at(60 * minute), &scanned(minute, &site, scan));
        assert!(windows.tables.routes.len() <= 3 * ROUTES + 2 * (scan + 21));
    }
    let all = windows.all(&Php::default(), &Scope::All);
    assert!(all.routes.len() <= 2 * ROUTES + 1);
    for (name, requests) in (b'a'..).zip(&site) {
        let path = format!("/{}", name as char);
        let found = all.routes.iter().find(|route| *route.key.route == path).unwrap();
        assert_eq!((found.requests, found.count_error), (requests * minutes as u64, 0), "{path}");
    }
    let total: u64 = all.routes.iter().map(|route| route.requests).sum();
    assert_eq!(total, minutes as u64 * (scan as u64 + site.iter().sum::<u64>()), "nothing is lost from the sum");
    let other = all.routes.iter().find(|route| route.key.is_other()).unwrap();
    assert_eq!(&*other.key.group, "www");
    let minute = windows.over(KEPT, &Php::default(), &Scope::All);
    assert_eq!(minute.routes.len(), scan + 20);
}

#[test]
fn a_problem_keeps_its_routes_while_routes_give_way_and_numbers_change() {
    let mut windows = Windows::default();
    let (minutes, scan) = (400, 100);
    for minute in 0..minutes {
        let mut php = scanned(minute, &[7, 9], scan);
        let mut routes = ProblemRoutes::none();
        for (route, count) in [(scan, 2), (scan + 1, 1), (3, 1)] {
            routes.add(ProblemRoute { route, count, uncaught: count - 1, silenced: 0 });
        }
        let exception = json!({"class": "E", "message": "m", "file": "/a.php", "line": 1, "count": 4, "uncaught": 1});
        let exception: ExceptionCount = serde_json::from_value(exception).unwrap();
        php.exceptions = Some(vec![ExceptionCount { routes, ..exception }]);
        windows.push(at(60 * minute), &php);
    }
    let named = |php: &Php| -> Vec<(String, u64, u64)> {
        let of = |route: &ProblemRoute| (php.routes[route.route].key.route.to_string(), route.count, route.uncaught);
        php.exceptions.as_ref().unwrap()[0].routes.iter().map(of).collect()
    };
    let minutes = minutes as u64;
    let (all, last) = (windows.all(&Php::default(), &Scope::All), windows.over(KEPT, &Php::default(), &Scope::All));
    // What gave way is one of these, too: the scanner's routes together.
    let frequent: Vec<_> = named(&all).into_iter().filter(|(path, ..)| path.len() == 2).collect();
    assert_eq!(frequent, [("/a".to_owned(), 2 * minutes, minutes), ("/b".to_owned(), minutes, 0)]);
    assert!(named(&all).iter().map(|(_, count, _)| count).sum::<u64>() <= 4 * minutes);
    let scanned = format!("/x{}/3", minutes - 1);
    let mut last = named(&last);
    last.sort();
    assert_eq!(last, [("/a".to_owned(), 2, 1), ("/b".to_owned(), 1, 0), (scanned, 1, 0)]);
}

#[test]
fn a_route_that_begins_in_the_evening_is_there_with_its_error() {
    let mut windows = Windows::default();
    for minute in 0..200 {
        windows.push(at(60 * minute), &scanned(minute, &[], 500));
    }
    let mut least = 0;
    for minute in 200..260 {
        windows.push(at(60 * minute), &scanned(minute, &[10], 500));
        let all = windows.all(&Php::default(), &Scope::All);
        let found = all.routes.iter().find(|route| &*route.key.route == "/a").unwrap();
        let truth = 10 * (minute - 199) as u64;
        assert!(found.requests <= truth && truth <= found.requests + found.count_error);
        assert!(found.count_error <= 260 * 510 * 2 / ROUTES as u64);
        least = found.requests;
    }
    assert_eq!(least, 600, "once it is there, it counts in full");
}

#[test]
fn a_route_that_comes_back_may_have_what_gave_way_before() {
    let mut windows = Windows::default();
    for minute in 0..60 {
        windows.push(at(60 * minute), &scanned(minute, if minute % 59 == 0 { &[1] } else { &[] }, 500));
        windows.forget_rare(MAX_STACKS);
    }
    let all = windows.all(&Php::default(), &Scope::All);
    let found = all.routes.iter().find(|route| &*route.key.route == "/a").unwrap();
    assert!(found.requests <= 2 && found.requests + found.count_error >= 2, "also where it got another number");
}

#[test]
fn requests_of_routes_that_were_not_listed_are_in_the_error() {
    let mut windows = Windows::default();
    for second in 0..30 {
        let mut php = scanned(second, if second % 3 == 0 { &[5] } else { &[] }, 10);
        // In each second up to 2 requests of a route may be in here.
        php.routes.push(Route { requests: 40, ..Route::seen(Arc::new(RouteKey::other(&"www".into()))) });
        php.other_route_requests = 2;
        windows.push(at(second), &php);
    }
    for php in [windows.all(&Php::default(), &Scope::All), windows.over(KEPT, &Php::default(), &Scope::All)] {
        let found = php.routes.iter().find(|route| &*route.key.route == "/a").unwrap();
        assert_eq!((found.requests, found.count_error), (50, 40));
        assert_eq!(php.other_route_requests, 2);
        let others: Vec<u64> = php.routes.iter().filter(|r| r.key.is_other()).map(|route| route.requests).collect();
        assert_eq!(others, [30 * 40]);
    }
}

#[test]
fn functions_that_give_way_are_one_and_their_stacks_stay() {
    let mut windows = Windows::default();
    let mut samples = 0;
    for second in 0..50_i64 {
        let mut functions = vec![function("main", 0, 1_000), function("hot", 0, 0)];
        functions.extend((0..1_000).map(|i| function(&format!("f{second}_{i}"), 1, 1)));
        let stacks = (0..1_000).map(|i| stack(0, &[i + 2, 0], 1)).collect();
        samples += 1_000;
        windows.push(at(second), &Php { functions, routes: vec![route("/", &[1])], stacks, ..Php::default() });
        assert!(windows.tables.functions.len() <= 2 * FUNCTIONS + 61_000);
    }
    for second in 100..104_i64 {
        windows.push(at(60 * second), &php("hot", 500, "/"));
        samples += 500;
    }
    windows.forget_rare(MAX_STACKS);
    assert!(windows.tables.functions.len() <= 2 * FUNCTIONS + 2);
    let all = windows.all(&Php::default(), &Scope::All);
    assert!(all.functions.len() <= 2 * FUNCTIONS + 1);
    let hot = named(&all, "hot");
    assert_eq!((hot.self_samples, named(&all, "main").total_samples), (2_000, samples));
    assert_eq!(all.functions.iter().map(|function| function.self_samples).sum::<u64>(), samples);
    assert_eq!(all.stacks.iter().map(|stack| stack.samples).sum::<u64>() + all.left_out_samples, samples);
    let more = all.functions.iter().position(|function| &*function.key.name == "(more functions)").unwrap();
    assert!(all.stacks.iter().any(|stack| stack.frames[0] == more), "stacks of what gave way are one");
    assert!(all.stacks.iter().all(|stack| stack.frames.iter().all(|&frame| frame < all.functions.len())));
}

#[test]
fn a_running_request_of_a_route_that_gave_way_is_still_listed() {
    let mut windows = Windows::default();
    let request = Request {
        pid: 1,
        tid: None,
        uri: "/x0/0".into(),
        method: "GET".into(),
        status: None,
        started_at: at(0),
        duration_ms: 5.0,
        cpu_ms: None,
        wait_ms: None,
        memory_peak_bytes: None,
        memory_bytes: None,
        memory_limit_bytes: None,
        growth_bytes_per_minute: None,
        rss_growth_bytes_per_minute: None,
        memory_unknown: None,
        start_known: true,
        waiting: None,
        aborted: false,
        finished: false,
        route: 0,
    };
    let mut now = Php::default();
    for minute in 0..40 {
        now = scanned(minute, &[], 500);
        now.routes.push(route("/x0/0", &[]));
        now.requests = vec![Request { route: 500, ..request.clone() }];
        windows.push(at(60 * minute), &now);
    }
    let all = windows.all(&now, &Scope::All);
    assert_eq!((all.requests.len(), all.requests[0].route < all.routes.len()), (1, true));
}

proptest! {
    #[test]
    fn taking_numbers_back_changes_no_profile(
        intervals in prop::collection::vec(prop::collection::vec((0..4_usize, prop::collection::vec(0..6_usize, 1..4), 1..9_u64), 0..12), 1..20)
    ) {
        let (mut plain, mut renumbered) = (Windows::default(), Windows::default());
        for (second, stacks) in (0..).map(|second| 5 * second).zip(&intervals) {
            let names = |i: usize| format!("f{}", i + second as usize / 20);
            let php = Php {
                functions: (0..6).map(|i| function(&names(i), 0, 1)).collect(),
                routes: (0..4).map(|i| Route { requests: 1, ..route(&format!("/{}", i + second / 20), &[]) }).collect(),
                stacks: stacks.iter().map(|(route, frames, samples)| stack(*route, frames, *samples)).collect(),
                ..Php::default()
            };
            plain.push(at(second), &php);
            renumbered.push(at(second), &php);
            renumbered.forget_rare(MAX_STACKS);
            prop_assert_eq!(counts(&plain.all(&php, &Scope::All)), counts(&renumbered.all(&php, &Scope::All)));
            let span = Duration::from_secs(20);
            prop_assert_eq!(counts(&plain.over(span, &php, &Scope::All)), counts(&renumbered.over(span, &php, &Scope::All)));
        }
    }
}
