//! Claims about two spans compared.

use super::*;
use crate::{
    analysis::tests::snapshot,
    model::{ExceptionCount, Function, ProblemRoutes, RouteKey},
};

/// A route with a request of each of these durations.
fn route(path: &str, script: &str, durations_ms: &[u64], errors: u64) -> Route {
    let mut histogram = Histogram::default();
    durations_ms.iter().for_each(|ms| histogram.record(ms * 1_000_000));
    let key = RouteKey { route: path.into(), script: script.into(), method: "GET".into(), group: "www".into() };
    Route { requests: durations_ms.len() as u64, errors, histogram, ..Route::seen(key.into()) }
}

fn function(name: &str, file: &str, line: u32, wait_ms: u64) -> Function {
    let key = FunctionKey { name: name.into(), class: "C".into(), file: file.into(), line, kind: FunctionKind::User };
    let wait = Some(wait_ms * 1_000_000);
    Function { self_wait_ns: wait, total_wait_ns: wait, ..Function::seen(key.into()) }
}

fn exception(file: &str, line: u32, count: u64) -> ExceptionCount {
    ExceptionCount {
        class: "E".into(),
        message: "m".into(),
        file: file.into(),
        line,
        count,
        count_error: 0,
        uncaught: None,
        caught_at: "".into(),
        script: "".into(),
        messages: Vec::new(),
        routes: ProblemRoutes::none(),
    }
}

fn summary(seconds: i64, php: impl Fn(i64) -> Php) -> Summary {
    let mut summary = Summary::default();
    (0..seconds).for_each(|second| summary.add(&snapshot(second, php(second))));
    summary
}

#[test]
fn spans_of_different_length_are_compared_by_rate() {
    let php = |_| Php { routes: vec![route("/a", "/i.php", &[10, 20], 0)], ..Php::default() };
    let found = difference(&summary(600, php), &summary(60, php));
    assert_eq!((found.before.requests, found.after.requests), (1200, 120));
    let all = &found.requests.requests_per_s;
    assert_eq!((all.before, all.after, all.difference, all.verdict), (Some(2.0), Some(2.0), Some(0.0), Verdict::Noise));
    let busy = found.routes[0].busy_workers.after.unwrap();
    assert!((busy - 0.03).abs() < 0.001, "{busy}");
    assert!(found.routes.iter().all(|route| route.p95_ms.verdict == Verdict::Noise));
}

#[test]
fn a_slower_route_is_a_change_and_comes_first() {
    let php = |ms: u64| {
        move |second: i64| Php {
            routes: vec![
                route("/steady", "/i.php", &[500, 510 + second as u64 % 7], 0),
                route("/slower", "/i.php", &[ms, ms + second as u64 % 5], 0),
            ],
            ..Php::default()
        }
    };
    let found = difference(&summary(120, php(50)), &summary(120, php(80)));
    let first = &found.routes[0];
    assert_eq!((&*first.name.route, first.p95_ms.verdict), ("/slower", Verdict::Changed));
    assert!((first.p50_ms.ratio().unwrap() - 0.6).abs() < 0.1);
    assert_eq!(first.requests_per_s.verdict, Verdict::Noise);
    let steady = &found.routes[1];
    assert_eq!((steady.p95_ms.verdict, steady.busy_workers.verdict), (Verdict::Noise, Verdict::Noise));
}

#[test]
fn what_moved_with_a_release_is_the_same() {
    let php = |release: &'static str, line: u32, more: u64| {
        move |_| {
            let file = format!("/srv/shop/releases/{release}/src/Cart.php");
            Php {
                routes: vec![route("", &format!("/srv/shop/releases/{release}/bin/cron.php"), &[5], 0)],
                functions: vec![function("add", &file, line, 10 + more)],
                exceptions: Some(vec![exception(&file, line, 1 + more), exception(&file, line + 9, 1)]),
                ..Php::default()
            }
        }
    };
    let found = difference(&summary(60, php("20261127140533", 3, 0)), &summary(60, php("9f3ab2c", 8, 5)));
    assert_eq!((found.routes.len(), found.functions.len(), found.problems.len()), (1, 1, 1));
    assert_eq!(&*found.routes[0].name.route, "/srv/shop/releases/*/bin/cron.php");
    let own = &found.functions[0].self_ms_per_s;
    assert_eq!((own.before, own.after, own.verdict), (Some(10.0), Some(15.0), Verdict::Changed));
    let problem = &found.problems[0];
    assert_eq!((problem.per_min.before, problem.per_min.after), (Some(120.0), Some(420.0)));
    assert_eq!((problem.per_min.verdict, &*problem.message), (Verdict::Changed, "m"));
}

#[test]
fn folders_of_releases_are_told_from_others() {
    for (path, same) in [
        ("/srv/app/releases/42/a.php", "/srv/app/releases/*/a.php"),
        ("/srv/v1.2.3/a.php", "/srv/*/a.php"),
        ("/srv/2026-11-27/404.php", "/srv/*/404.php"),
        ("/srv/1a2b3c4/x/a.php", "/srv/*/x/a.php"),
        ("/srv/php8.2/facade/v/a.php", "/srv/php8.2/facade/v/a.php"),
        ("", ""),
        ("a.php", "a.php"),
    ] {
        assert_eq!(unreleased(path), same);
    }
}

#[test]
fn what_is_new_or_gone_was_0_before_or_after() {
    let php = |file: &'static str| move |_| Php { exceptions: Some(vec![exception(file, 1, 2)]), ..Php::default() };
    let found = difference(&summary(60, php("/old.php")), &summary(60, php("/new.php")));
    let of = |file: &str| &found.problems.iter().find(|problem| &*problem.name.file == file).unwrap().per_min;
    assert_eq!((of("/new.php").before, of("/new.php").after), (Some(0.0), Some(120.0)));
    assert_eq!((of("/old.php").before, of("/old.php").after), (Some(120.0), Some(0.0)));
    assert!(found.problems.iter().all(|problem| problem.per_min.verdict == Verdict::Changed));
}

#[test]
fn what_was_not_collected_is_unknown_and_not_0() {
    let with = |_| Php { exceptions: Some(vec![exception("/a.php", 1, 2)]), ..Php::default() };
    let found = difference(&summary(60, |_| Php::default()), &summary(60, with));
    let change = &found.problems[0].per_min;
    assert_eq!((change.before, change.after, change.verdict), (None, Some(120.0), Verdict::Unsure));
}

#[test]
fn a_group_that_grew_is_a_change() {
    let summary = |bytes: u64| {
        let mut summary = Summary::default();
        for second in 0..60 {
            let mut snapshot = snapshot(second, Php::default());
            for (name, bytes) in [("www", bytes + second as u64 % 3 * 4096), ("db", 7 << 30)] {
                let footprint_bytes = Some(bytes);
                snapshot.groups.push(Group { footprint_bytes, processes: 3, ..Group::empty(name.into(), "".into()) });
            }
            summary.add(&snapshot);
        }
        summary
    };
    let found = difference(&summary(100 << 20), &summary(150 << 20));
    let [www, db] = &found.groups[..] else { panic!("{:?}", found.groups) };
    assert_eq!(
        (&*www.group, www.memory_bytes.verdict, www.processes.verdict),
        ("www", Verdict::Changed, Verdict::Noise)
    );
    assert_eq!((www.memory_bytes.difference, www.cpu_ratio.before), (Some(f64::from(50 << 20)), None));
    assert_eq!((&*db.group, db.memory_bytes.verdict), ("db", Verdict::Noise));
}

#[test]
fn names_are_bounded_and_what_did_not_fit_is_counted() {
    let mut summary = Summary::default();
    for part in 0..4 {
        let routes = (0..10_000).map(|i| route(&format!("/{part}/{i}"), "", &[1], 0)).collect();
        summary.add(&snapshot(part, Php { routes, ..Php::default() }));
    }
    let found = difference(&Summary::default(), &summary);
    assert_eq!((found.routes.len(), found.after.left_out, found.after.requests), (MAX_KEYS, 10_000, 40_000));
    assert_eq!(found.before.from, None);
}

/// A span before a release and one after it.
pub(super) fn two_releases() -> (Summary, Summary) {
    let span = |is_after: bool| {
        let mut summary = Summary::default();
        for second in 0..120 {
            let ms = if is_after { 80 } else { 50 } + second as u64 % 5;
            let mut routes = vec![
                route("/steady", "/i.php", &[500, 510 + second as u64 % 7], 0),
                route("/slower", "/i.php", &[ms, ms], 0),
            ];
            if second < 2 {
                routes.push(route("/rare", "/i.php", &[9], 0));
            }
            if !is_after {
                routes.push(route("/gone", "/i.php", &[9], 0));
            }
            let php = Php {
                routes,
                functions: vec![function("add", "/a.php", 1, if is_after { 15 } else { 10 })],
                exceptions: Some(vec![exception("/a.php", 1, if is_after { 3 } else { 1 })]),
                ..Php::default()
            };
            let mut snapshot = snapshot(second, php);
            let footprint_bytes = Some(if is_after { 150 << 20 } else { 100 << 20 });
            let name = "php-fpm: www".into();
            snapshot.groups.push(Group { footprint_bytes, processes: 3, ..Group::empty(name, "".into()) });
            summary.add(&snapshot);
        }
        summary
    };
    (span(false), span(true))
}
