use std::sync::Arc;

use super::*;
use crate::collect::php::Sapi;
use crate::{
    aggregate::{Aggregate, PhpReading},
    analysis::profile::{self, Scope},
    collect::{
        php::{FailureCount, FailureKind, FailureText, NamedStack, StackCount, Work},
        proc::ProcessSample,
    },
    model::{
        Exact, ExactKind, ExactState, FunctionKey, FunctionKind, Level, SeenBy, Tier, TierStatus, Tiers, Worker,
        WorkerState,
    },
};

fn target() -> Target {
    Target {
        image: Some(0),
        not_observed: None,
        exe: "/usr/sbin/php-fpm8.2".into(),
        version: Some("8.2.36".into()),
        sapi: "fpm".into(),
        zts: false,
        masters: Vec::new(),
        probes: Vec::new(),
        functions: Vec::new(),
        masters_left_out: 0,
        pids: vec![10],
        tiers: Tiers::new(|tier| match tier {
            Tier::Requests => TierStatus::on(SeenBy::Usdt),
            Tier::Sampling => TierStatus { hz: Some(99), ..TierStatus::on(SeenBy::Timer) },
            _ => TierStatus::default(),
        }),
    }
}

fn worker(pid: u32, pool: &str, alive: bool) -> PhpProcess {
    PhpProcess {
        pid,
        parent: 1,
        image: 0,
        sapi: Sapi::Fpm,
        pool: Some(pool.into()),
        script: None,
        script_name: None,
        alive,
        known: true,
        threads: Vec::new(),
    }
}

fn request(pid: u32, uri: &str) -> Arc<RequestText> {
    Arc::new(RequestText {
        pid,
        tid: pid,
        image: 0,
        started_ns: 1_000_000_000,
        cpu_ns: 0,
        wait_ns: 0,
        memory: RequestMemory::Unknown,
        exhausted: None,
        start: Start::Seen,
        pool: Some("www".into()),
        method: "GET".to_owned(),
        script: "/srv/index.php".to_owned(),
        uri: uri.to_owned(),
    })
}

fn finished(pid: u32, uri: &str, ms: u64) -> FinishedRequest {
    FinishedRequest {
        request: request(pid, uri),
        status: Some(200),
        duration_ns: ms * 1_000_000,
        cpu_ns: None,
        aborted: false,
    }
}

fn sample() -> PhpSample {
    PhpSample {
        targets: vec![target()],
        processes: vec![worker(10, "www", true)],
        now: Now { at: "2026-11-22T14:00:00Z".parse().unwrap(), monotonic_ns: 3_000_000_000 },
        ..PhpSample::default()
    }
}

fn www(pid: u32) -> Option<Placed> {
    (pid == 10).then(|| placed("php-fpm: www", Some("www")))
}

fn placed(group: &str, pool: Option<&str>) -> Placed {
    Placed { group: group.into(), pool: pool.map(Arc::from) }
}

#[test]
fn requests_and_samples_of_one_route_meet() {
    let main = FunctionKey {
        name: "{main}".into(),
        class: "".into(),
        file: "/srv/index.php".into(),
        line: 1,
        kind: FunctionKind::User,
    };
    let stack = Arc::new(NamedStack { frames: vec![Arc::new(main)], truncated: false });
    let sample = PhpSample {
        stacks: vec![
            StackCount {
                pid: 10,
                request: Some(request(10, "/post/9")),
                stack: stack.clone(),
                samples: 4,
                wait_ns: 9,
                growth_bytes: 0,
            },
            StackCount { pid: 10, request: None, stack, samples: 1, wait_ns: 0, growth_bytes: 0 },
        ],
        finished: vec![finished(10, "/post/3", 12)],
        work: Work { probe_hits: 20, sample_ns: 500_000, ..Work::default() },
        ..sample()
    };
    let part = PhpAggregate::default().update(sample, 2.0, &www);
    let php = &part.php;
    assert_eq!(php.routes.len(), 2);
    assert_eq!(
        (&*php.routes[0].key.route, &*php.routes[0].key.group, php.routes[0].requests),
        ("/post/:n", "php-fpm: www", 1)
    );
    assert_eq!((php.stacks[0].route, php.stacks[0].samples), (0, 4));
    assert_eq!((&*php.routes[php.stacks[1].route].key.route, php.functions[0].self_samples), ("", 5));
    assert_eq!((part.cost.probe_hits_per_s, part.cost.bpf_ratio), (Some(10.0), Some(0.000_25)));
}

#[test]
fn running_requests_have_a_duration_so_far_and_no_status() {
    let part = PhpAggregate::default().update(PhpSample { running: vec![request(10, "/slow")], ..sample() }, 1.0, &www);
    let request = &part.php.requests[0];
    assert_eq!((request.finished, request.status, request.duration_ms), (false, None, 2000.0));
    assert_eq!(request.started_at, "2026-11-22T13:59:58Z".parse().unwrap());
    assert_eq!(part.php.workers[0].state, WorkerState::Running);
}

#[test]
fn a_worker_that_lived_between_two_looks_is_in_its_pool() {
    let sample = PhpSample {
        processes: vec![worker(10, "www", true), worker(77, "www", false), worker(78, "admin", false)],
        finished: vec![finished(77, "/", 1), finished(78, "/", 1)],
        ..sample()
    };
    let part = PhpAggregate::default().update(sample, 1.0, &www);
    let groups: Vec<_> = part.php.routes.iter().map(|route| &*route.key.group).collect();
    assert_eq!(groups, ["php-fpm: www", "php-fpm: admin"]);
}

#[test]
fn a_server_that_ended_before_it_was_looked_at_has_its_group() {
    let ended = |sapi| PhpProcess { sapi, pool: None, ..worker(11, "", false) };
    let group = |process: PhpProcess, method: &str| {
        let request = RequestText { pid: 11, method: method.to_owned(), ..(*request(11, "/")).clone() };
        let finished = FinishedRequest { request: Arc::new(request), ..finished(11, "/", 1) };
        let sample = PhpSample { processes: vec![process], finished: vec![finished], ..sample() };
        let part = PhpAggregate::default().update(sample, 1.0, &|_| None);
        part.php.routes[0].key.group.to_string()
    };
    assert_eq!(group(ended(Sapi::Fpm), "GET"), "php-fpm: master");
    assert_eq!(group(ended(Sapi::Apache), "GET"), "apache");
    assert_eq!(group(ended(Sapi::Cgi), "GET"), "php cgi");
    assert_eq!(group(ended(Sapi::Embed), "GET"), "php-fpm8.2", "its program's name");
    assert_eq!(group(ended(Sapi::Cli), "GET"), "php -S");
    assert_eq!(group(ended(Sapi::Cli), ""), "php cli");
    let script =
        PhpProcess { script: Some("/srv/jobs.php".into()), script_name: Some("jobs.php".into()), ..ended(Sapi::Cli) };
    assert_eq!(group(script, ""), "php: jobs.php");
}

#[test]
fn a_fresh_worker_is_not_counted_with_its_master() {
    let part =
        PhpAggregate::default().update(PhpSample { finished: vec![finished(10, "/", 1)], ..sample() }, 1.0, &|_| {
            Some(placed("php-fpm: master", None))
        });
    assert_eq!(&*part.php.routes[0].key.group, "php-fpm: www");
}

#[test]
fn a_pool_is_not_taken_for_one_whose_name_contains_its_own() {
    let sample = PhpSample { processes: vec![worker(10, "w", true)], finished: vec![finished(10, "/", 1)], ..sample() };
    let part = PhpAggregate::default().update(sample, 1.0, &www);
    assert_eq!(&*part.php.routes[0].key.group, "php-fpm: w");
}

#[test]
fn a_pool_is_in_the_group_that_a_rule_names_whatever_its_name() {
    let sample = PhpSample { finished: vec![finished(10, "/", 1)], ..sample() };
    let part = PhpAggregate::default().update(sample, 1.0, &|_| Some(placed("shop", Some("www"))));
    assert_eq!(&*part.php.routes[0].key.group, "shop");
    assert_eq!(part.php.workers[0].group.as_deref(), Some("shop"));
}

#[test]
fn the_slowest_and_the_newest_requests_are_named_and_all_are_counted() {
    let mut all: Vec<_> = (0..1000).map(|i| finished(10, &format!("/{i}"), i % 7)).collect();
    all[3].duration_ns = 9_000_000_000;
    let part = PhpAggregate::default().update(PhpSample { finished: all, ..sample() }, 1.0, &www);
    assert_eq!(part.php.requests.len(), FINISHED);
    assert_eq!((&*part.php.requests[0].uri, part.php.requests[0].duration_ms), ("/3", 9000.0));
    assert!(part.php.requests.iter().any(|request| &*request.uri == "/999"));
    assert_eq!(part.php.routes[0].requests, 1000);
    assert_eq!(part.php.workers[0].requests, Some(1000));
}

#[test]
fn workers_that_ended_are_forgotten() {
    let mut aggregate = PhpAggregate::default();
    aggregate.update(PhpSample { finished: vec![finished(10, "/", 1)], ..sample() }, 1.0, &www);
    let part = aggregate.update(PhpSample { processes: vec![worker(10, "www", false)], ..sample() }, 1.0, &www);
    assert!(part.php.workers.is_empty());
    let part = aggregate.update(sample(), 1.0, &www);
    assert_eq!((part.php.workers[0].requests, part.php.workers[0].state), (Some(0), WorkerState::Idle));
}

#[test]
fn a_tier_that_does_not_work_is_a_notice_with_its_reason() {
    let mut target = target();
    target.tiers[Tier::Sampling] = TierStatus::unavailable("the layout of PHP 9.0 is not known")
        .with_hint(vec!["stacks of PHP 7.0 to 8.5 can be read".to_owned()]);
    let part = PhpAggregate::default().update(PhpSample { targets: vec![target], ..sample() }, 1.0, &www);
    let notice = part.notices.iter().find(|notice| notice.text.contains("PHP 9.0 is not known")).unwrap();
    assert!(notice.level == Level::Warning && notice.hint.contains("7.0 to 8.5"));
}

#[test]
fn every_tier_that_matters_by_itself_gives_one_notice_where_it_is_unavailable() {
    for tier in Tier::ALL {
        let mut target = Target { tiers: Tiers::new(|_| TierStatus::on(SeenBy::Usdt)), ..target() };
        target.tiers[tier] = TierStatus::unavailable("there is a reason");
        let part = PhpAggregate::default().update(PhpSample { targets: vec![target], ..sample() }, 1.0, &www);
        let told = part.notices.iter().filter(|notice| notice.text.contains("there is a reason"));
        let told: Vec<_> = told.map(|notice| (notice.level, notice.text.contains(tier.shows()))).collect();
        assert_eq!(told, tier.importance().map(|level| (level, true)).into_iter().collect::<Vec<_>>(), "{tier:?}");
    }
}

#[test]
fn without_a_php_process_the_snapshot_says_so() {
    let idle = Target { pids: Vec::new(), ..target() };
    for targets in [Vec::new(), vec![idle]] {
        let part = PhpAggregate::default().update(PhpSample { targets, ..PhpSample::default() }, 1.0, &www);
        assert!(part.notices.iter().any(|notice| notice.text.contains("no PHP is running")));
    }
}

fn failure(kind: FailureKind, level: u32, class: &str, line: u32, count: u64, silenced: u64) -> FailureCount {
    let what = FailureText {
        kind,
        level,
        class: class.into(),
        message: format!("message {line}").into(),
        file: "/srv/a.php".into(),
        line,
        script: "/srv/index.php".into(),
        image: 0,
    };
    FailureCount { what: Arc::new(what), count, silenced, caught_at: None, requests: Vec::new(), messages: Vec::new() }
}

/// A sample of an image whose failures are seen.
fn failing(failures: Vec<FailureCount>) -> PhpSample {
    let mut sample = PhpSample { failures, ..sample() };
    for tier in [Tier::Exceptions, Tier::Errors, Tier::Compiles] {
        sample.targets[0].tiers[tier] = TierStatus::on(SeenBy::Symbol);
    }
    sample
}

#[test]
fn an_exception_that_nobody_caught_is_one_exception_and_one_fatal_error() {
    let part = PhpAggregate::default().update(
        failing(vec![
            failure(FailureKind::Thrown, 0, "App\\Error", 5, 10, 0),
            failure(FailureKind::Uncaught, 1, "App\\Error", 5, 3, 0),
            failure(FailureKind::Uncaught, 1, "ParseError", 9, 1, 0),
        ]),
        1.0,
        &www,
    );
    let exceptions = part.php.exceptions.as_ref().unwrap();
    let seen: Vec<_> = exceptions.iter().map(|e| (&*e.class, e.count, e.uncaught)).collect();
    assert_eq!(seen, [("App\\Error", 10, Some(3)), ("ParseError", 0, Some(1))]);
    let errors: Vec<_> = part.php.errors.iter().flatten().map(|e| (&*e.level, &*e.message, e.count)).collect();
    assert_eq!(errors, [("fatal", "Uncaught App\\Error: message 5", 3), ("parse", "message 9", 1)]);
}

#[test]
fn errors_of_one_place_add_up_by_level_with_those_that_were_silenced() {
    let part = PhpAggregate::default().update(
        failing(vec![
            failure(FailureKind::Error, 2, "", 5, 4, 1),
            failure(FailureKind::Error, 2, "", 5, 2, 2),
            failure(FailureKind::Error, 8192, "", 5, 1, 0),
            failure(FailureKind::Error, 0, "", 6, 1, 0),
        ]),
        1.0,
        &www,
    );
    let errors: Vec<_> = part.php.errors.iter().flatten().map(|e| (&*e.level, e.line, e.count, e.silenced)).collect();
    assert_eq!(errors, [("warning", 5, 6, Some(3)), ("deprecated", 5, 1, Some(0)), ("error", 6, 1, None)]);
}

#[test]
fn what_no_image_shows_is_unknown_and_not_none() {
    let php = PhpAggregate::default().update(sample(), 1.0, &www).php;
    assert_eq!((&php.exceptions, &php.errors, &php.compiles), (&None, &None, &None));
    let php = PhpAggregate::default().update(failing(Vec::new()), 1.0, &www).php;
    assert_eq!((&php.exceptions, &php.errors, &php.compiles), (&Some(vec![]), &Some(vec![]), &Some(vec![])));
}

#[test]
fn counts_after_a_late_answer_belong_to_the_time_that_the_answer_covers() {
    let late = |seconds| {
        let mut aggregate = Aggregate::default();
        aggregate.update(Timestamp::UNIX_EPOCH, ProcessSample::default(), PhpReading::Late);
        let reading = PhpReading::Sample(Box::default(), seconds);
        aggregate.update(Timestamp::UNIX_EPOCH, ProcessSample::default(), reading).php.interval_ms
    };
    assert_eq!((late(1.0), late(2.0)), (1000, 2000));
}

#[test]
fn while_php_is_late_tracing_goes_on_and_lists_are_not_said_to_be_uncollected() {
    let mut aggregate = Aggregate::default();
    let mut update = |reading| aggregate.update(Timestamp::UNIX_EPOCH, ProcessSample::default(), reading).php;
    assert_eq!(update(PhpReading::Starting).state, PhpState::Starting);
    let traced = PhpSample { exact: Some(exact()), ..sample() };
    assert_eq!(update(PhpReading::Sample(Box::new(traced), 1.0)).state, PhpState::Read);
    let php = update(PhpReading::Late);
    assert_eq!((php.state, php.interval_ms, &php.exact), (PhpState::Late, 0, &Some(exact())));
}

fn exact() -> Exact {
    Exact {
        state: ExactState::Tracing,
        kind: ExactKind::Functions,
        reason: String::new(),
        pool: None,
        candidates: 1,
        pids: vec![7],
        budget_ratio: None,
        spent_ratio: None,
        calls_per_cpu_s: None,
        call_ns: None,
        slowdown: None,
        traced_ratio: None,
        calls: 1,
        left_ms: None,
    }
}

/// The stack of a request of worker 10, sampled so often, and blocked for so long.
fn seen_in(name: &str, samples: u64, wait_ns: u64) -> StackCount {
    let (name, class, file) = (name.into(), "".into(), "/srv/a.php".into());
    let key = FunctionKey { name, class, file, line: 1, kind: FunctionKind::User };
    let stack = Arc::new(NamedStack { frames: vec![Arc::new(key)], truncated: false });
    StackCount { pid: 10, request: Some(request(10, "/report")), stack, samples, wait_ns, growth_bytes: 0 }
}

#[test]
fn a_worker_has_the_stack_that_took_most_and_keeps_it_while_its_request_is_stuck() {
    let mut aggregate = PhpAggregate::default();
    let running = |stacks: Vec<StackCount>, second: u64| PhpSample {
        running: vec![request(10, "/report")],
        stacks,
        now: Now { monotonic_ns: second * 1_000_000_000, ..sample().now },
        ..sample()
    };
    let top = |part: &PhpPart| {
        let worker = &part.php.workers[0];
        worker.stack.first().map(|&frame| part.php.functions[frame].key.name.to_string())
    };
    let seen = vec![seen_in("parse", 30, 0), seen_in("query", 1, 600_000_000), seen_in("print", 2, 0)];
    let part = aggregate.update(running(seen, 3), 1.0, &www);
    let worker = &part.php.workers[0];
    assert_eq!((top(&part).as_deref(), worker.stack_age_ms), (Some("query"), Some(0)));
    assert_eq!((worker.cpu_ms.unwrap().round(), worker.wait_ms), (333.0, None), "33 samples at 99 Hz; waits are off");
    let stuck = aggregate.update(running(Vec::new(), 9), 6.0, &www);
    assert_eq!((top(&stuck).as_deref(), stuck.php.workers[0].stack_age_ms), (Some("query"), Some(6_000)));
    assert_eq!(stuck.php.functions[0].total_samples, 0, "it is not counted again");
    let idle = aggregate.update(sample(), 1.0, &www);
    assert_eq!((top(&idle), idle.php.workers[0].stack_age_ms), (None, None));
}

#[test]

fn what_was_never_found_is_one_route_and_what_is_gone_keeps_its_own() {
    let mut aggregate = PhpAggregate::default();
    let ended = |uri: &str, started_ns: u64, status: u16| {
        let request = RequestText { started_ns, ..(*request(10, uri)).clone() };
        FinishedRequest { status: Some(status), request: request.into(), ..finished(10, uri, 1) }
    };
    let first = PhpSample { finished: vec![ended("/product/1", 1, 200)], ..sample() };
    aggregate.update(first, 1.0, &www);
    let scan = ["/.env", "/wp-login.php", "/backup.zip", "/product/2"];
    let requests = scan.iter().zip(2..).map(|(uri, at)| ended(uri, at, 404)).collect();
    let part = aggregate.update(PhpSample { finished: requests, ..sample() }, 1.0, &www);
    let mut routes: Vec<_> = part.php.routes.iter().map(|route| (&*route.key.route, route.requests)).collect();
    routes.sort_unstable();
    assert_eq!(routes, [("(404)", 3), ("/product/:n", 1)]);
}

#[test]
fn a_site_whose_code_is_wordpress_has_its_permalinks() {
    let mut aggregate = PhpAggregate::default();
    let post = "/2026/11/22/hello-world/";
    let key = FunctionKey {
        name: "wp".into(),
        class: "".into(),
        file: "/srv/wp-includes/functions.php".into(),
        line: 1,
        kind: FunctionKind::User,
    };
    let stack = Arc::new(NamedStack { frames: vec![Arc::new(key)], truncated: false });
    let seen = StackCount { request: Some(request(10, post)), stack, ..seen_in("wp", 1, 0) };
    let part = aggregate.update(
        PhpSample { stacks: vec![seen], finished: vec![finished(10, post, 1)], ..sample() },
        1.0,
        &www,
    );
    assert_eq!(&*part.php.routes[0].key.route, "/{year}/{month}/{day}/{name}");
}

#[test]
fn a_request_keeps_its_start_while_it_runs_and_when_it_ends() {
    let mut aggregate = PhpAggregate::default();
    let mut starts = Vec::new();
    for (second, late_ns) in [(0, 0), (1, 900), (2, 70)] {
        // The wall clock is read a little after the other one, and not always by as much.
        let at = sample().now.at + SignedDuration::from_secs(second) + SignedDuration::from_nanos(late_ns);
        let now = Now { at, monotonic_ns: sample().now.monotonic_ns + second as u64 * 1_000_000_000 };
        let mut sample = PhpSample { now, ..sample() };
        if second < 2 {
            sample.running.push(request(10, "/slow"));
        } else {
            sample.finished.push(finished(10, "/slow", 4_000));
        }
        starts.push(aggregate.update(sample, 1.0, &www).php.requests[0].started_at);
    }
    assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?}");
}

#[test]
fn each_thread_that_runs_php_is_a_worker_with_its_own_request_and_stack() {
    let process = PhpProcess { pool: None, sapi: Sapi::Embed, threads: vec![11, 12], ..worker(10, "", true) };
    let of_thread = |tid, uri| Arc::new(RequestText { tid, started_ns: u64::from(tid), ..(*request(10, uri)).clone() });
    let (one, two) = (of_thread(11, "/one"), of_thread(12, "/two"));
    let key = |name: &str| FunctionKey {
        name: name.into(),
        class: "".into(),
        file: "/a.php".into(),
        line: 1,
        kind: FunctionKind::User,
    };
    let count = |request: &Arc<RequestText>, name: &str, samples| StackCount {
        pid: 10,
        request: Some(Arc::clone(request)),
        stack: Arc::new(NamedStack { frames: vec![Arc::new(key(name))], truncated: false }),
        samples,
        wait_ns: 0,
        growth_bytes: 0,
    };
    let stacks = vec![count(&one, "f", 3), count(&two, "g", 7)];
    let now = Now { monotonic_ns: 5_000_000_000, ..Now::default() };
    let running = vec![Arc::clone(&one)];
    let ended = FinishedRequest { request: Arc::clone(&two), ..finished(10, "/two", 5) };
    let sample = PhpSample {
        processes: vec![process],
        stacks,
        running,
        finished: vec![ended],
        now,
        targets: vec![target()],
        ..PhpSample::default()
    };
    let part = PhpAggregate::default().update(sample, 1.0, &|_| None);
    let of = |worker: &Worker| (worker.pid, worker.tid, worker.state, worker.requests, worker.stack.len());
    let workers: Vec<_> = part.php.workers.iter().map(of).collect();
    assert_eq!(
        workers,
        [(10, Some(11), WorkerState::Running, Some(0), 1), (10, Some(12), WorkerState::Idle, Some(1), 0),]
    );
    let requests: Vec<_> = part.php.requests.iter().map(|request| (request.tid, &*request.uri)).collect();
    assert_eq!(requests, [(Some(11), "/one"), (Some(12), "/two")]);
    let samples = |tid| {
        let scope = Scope::Worker(WorkerKey { pid: 10, tid });
        profile::time(&part.php, &scope).samples
    };
    assert_eq!([Some(11), Some(12), Some(13), None].map(samples), [3, 7, 0, 10], "the process is all of its threads");
}
