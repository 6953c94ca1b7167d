//! Claims about windows: adding up, forgetting, bounds.

use jiff::SignedDuration;

use super::*;
use crate::model::{Function, FunctionKind, Histogram, Request, Route, Stack};

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
    Stack { route, frames: frames.to_vec(), samples, wait_ns: None, truncated: false }
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
    let merged = windows.over(Duration::from_secs(10), &Php::default());
    assert_eq!((named(&merged, "a").self_samples, named(&merged, "main").total_samples), (5, 6));
    assert_eq!(merged.stacks.len(), 2);
    let same = merged.stacks.iter().find(|stack| &*merged.functions[stack.frames[0]].key.name == "a").unwrap();
    assert_eq!((same.samples, &*merged.routes[same.route].key.route), (5, "/x"));
    let x = merged.routes.iter().find(|route| &*route.key.route == "/x").unwrap();
    assert_eq!((x.requests, x.histogram.count()), (2, 2));
    assert!(x.duration_ms.p99.unwrap() > 25.0, "percentiles are made from the merged histogram");
    assert_eq!(windows.all(&Php::default()), merged);
}

#[test]
fn a_window_forgets_what_is_older_and_all_does_not() {
    let mut windows = Windows::default();
    for second in 0..100 {
        let name = if second < 50 { "old" } else { "new" };
        windows.push(at(second), &Php { interval_ms: 1000, ..(*php(name, 1, "/x")).clone() });
    }
    let last_10 = windows.over(Duration::from_secs(10), &Php::default());
    assert_eq!(named(&last_10, "new").self_samples, 10);
    assert!(!last_10.functions.iter().any(|function| &*function.key.name == "old"));
    assert_eq!(named(&windows.over(KEPT, &Php::default()), "old").self_samples, 10);
    assert_eq!(named(&windows.all(&Php::default()), "old").self_samples, 50);
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
    let all = windows.all(&Php::default());
    assert!(all.stacks.len() <= MAX_STACKS);
    assert!(all.left_out_samples > 0);
    let kept: u64 = all.stacks.iter().map(|stack| stack.samples).sum();
    assert_eq!(kept + all.left_out_samples, made, "every sample is kept or counted as forgotten");
    assert_eq!(all.stacks.iter().map(|stack| stack.samples).max(), Some(hot * 300));
    let minute = windows.over(KEPT, &Php::default());
    assert_eq!(minute.stacks.iter().map(|stack| stack.samples).sum::<u64>(), 60 * (199 + hot));
}

#[test]
fn finished_requests_appear_once_and_running_ones_are_those_of_now() {
    let request = |pid: u32, second: i64, finished: bool| Request {
        pid,
        uri: "/x?1".into(),
        method: "GET".into(),
        status: finished.then_some(200),
        started_at: at(second),
        duration_ms: 5.0,
        cpu_ms: None,
        wait_ms: None,
        finished,
        route: 0,
    };
    let with = |requests| Arc::new(Php { routes: vec![route("/x", &[5])], requests, ..Php::default() });
    let mut windows = Windows::default();
    windows.push(at(0), &with(vec![request(1, 0, false)]));
    windows.push(at(1), &with(vec![request(1, 0, true), request(2, 1, false)]));
    let now = with(vec![request(1, 0, true), request(3, 2, false)]);
    windows.push(at(2), &now);
    let merged = windows.over(Duration::from_secs(10), &now);
    let pids: Vec<_> = merged.requests.iter().map(|request| (request.pid, request.finished)).collect();
    assert_eq!(pids, [(3, false), (1, true)]);
}

#[test]
fn indexes_that_lead_nowhere_are_ignored() {
    let php =
        Php { stacks: vec![stack(7, &[0], 1), stack(0, &[9], 1)], routes: vec![route("/", &[])], ..Php::default() };
    let mut windows = Windows::default();
    windows.push(at(0), &Arc::new(php));
    assert!(windows.all(&Php::default()).stacks.is_empty());
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
    let all = windows.all(&Php::default());
    assert_eq!((all.stacks.len(), all.left_out_samples), (MAX_STACKS, 1_000));
}
