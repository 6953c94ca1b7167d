//! Claims about the workers view: a lane for each, what it did and does, in the order that is asked for.

use std::sync::Arc;

use jiff::SignedDuration;
use tusktop::{
    model::{FunctionKey, Request, RequestStack, Snapshot, Stack, Worker, WorkerKey, WorkerState},
    view::{Detail, Pane, flame::Frame},
};

use crate::{
    snapshot::{hostile, web01},
    stage::Stage,
};

/// So many workers. The first is stuck, the next ones compute, wait, serve short requests, and do nothing, in turn.
fn serving(count: u32, second: i64) -> Snapshot {
    let mut snapshot = web01();
    snapshot.at += SignedDuration::from_secs(second);
    let at = snapshot.at;
    let mut php = (*snapshot.php).clone();
    php.requests.retain(|request| request.finished);
    let stack = php.stacks.iter().max_by_key(|stack| stack.frames.len()).unwrap().frames.clone();
    php.workers = (0..count)
        .map(|number| {
            let worker = Worker::seen(9_000 + number, "www".into(), Some("php-fpm: www".into()));
            let worker = Worker { requests: Some(u64::from(number) * 10 + second as u64), ..worker };
            let since = |seconds: u32| Some(at - SignedDuration::from_secs(i64::from(seconds)));
            let (running, idle) = (WorkerState::Running, WorkerState::Idle);
            let (state, since, cpu_ms, wait_ms) = match number % 5 {
                _ if number == 0 => (running, since(100), 0.0, 0.0),
                1 => (running, since(number % 50), 900.0, 10.0),
                2 => (running, since(1), 10.0, 800.0),
                3 => (idle, since(0), 40.0, 100.0),
                _ => (idle, since(30), 0.0, 0.0),
            };
            let stack = if state == running { stack.clone() } else { Vec::new() };
            let rss_bytes = Some((20 << 20) + u64::from(number % 3) * 4096 * second as u64);
            Worker { state, since, cpu_ms: Some(cpu_ms), wait_ms: Some(wait_ms), stack, rss_bytes, ..worker }
        })
        .collect();
    let running = php.workers.iter().filter(|worker| worker.state == WorkerState::Running);
    let requests: Vec<Request> = running
        .map(|worker| Request {
            tid: None,
            pid: worker.pid,
            uri: format!("/product/{}", worker.pid).into(),
            method: "GET".into(),
            status: None,
            started_at: worker.since.unwrap(),
            start_known: true,
            waiting: None,
            aborted: false,
            memory_peak_bytes: None,
            memory_bytes: None,
            memory_limit_bytes: None,
            growth_bytes_per_minute: None,
            rss_growth_bytes_per_minute: None,
            memory_unknown: None,
            duration_ms: 0.0,
            cpu_ms: None,
            wait_ms: None,
            finished: false,
            route: 0,
        })
        .collect();
    php.requests.extend(requests);
    snapshot.php = Arc::new(php);
    snapshot
}

fn stage(count: u32, width: u16, height: u16) -> Stage {
    let mut stage = Stage::new(width, height);
    (0..60).for_each(|second| stage.push(serving(count, second)));
    stage.keys("6")
}

/// Process ids of the lanes, from the top.
fn pids(stage: &Stage) -> Vec<u32> {
    let text = stage.text();
    let rows = text.lines().filter_map(|line| line.strip_prefix('│')?.split_whitespace().next()?.parse().ok());
    rows.collect()
}

#[test]
fn workers_80x24() {
    insta::assert_snapshot!(stage(10, 80, 24).text());
}

#[test]
fn workers_120x30() {
    insta::assert_snapshot!(stage(40, 120, 30).keys("jj").text());
}

#[test]
fn workers_200x50() {
    insta::assert_snapshot!(stage(500, 200, 50).text());
}

#[test]
fn a_worker_120x30() {
    insta::assert_snapshot!(stage(10, 120, 30).keys("<enter>").text());
}

#[test]
fn those_that_run_longest_come_first_and_other_orders_can_be_chosen() {
    let mut stage = stage(10, 120, 30);
    assert_eq!(pids(&stage)[..3], [9000, 9006, 9001], "stuck for 100 s, then 6 s and 1 s");
    for (key, first) in [("#", 9009), ("P", 9001), ("M", 9002), ("T", 9000), ("TI", 9008)] {
        stage.press(key);
        let shown = pids(&stage);
        assert_eq!(shown.len(), 10);
        assert_eq!(shown[0], first, "{key}: {}", stage.text());
    }
}

#[test]
fn a_filter_finds_workers_by_what_they_run_and_by_number() {
    let stage = stage(40, 120, 30).keys("/product/9006<enter>");
    assert_eq!(pids(&stage), [9006]);
    assert_eq!(pids(&stage.keys("<esc>/9011<enter>")), [9011]);
}

#[test]
fn enter_shows_the_stack_and_esc_goes_back() {
    let mut stage = stage(10, 120, 30).keys("j<enter>");
    assert!(matches!(stage.app.view.pane(Pane::Workers).detail, Some((Detail::Worker(_), _))));
    let text = stage.text();
    assert!(text.contains("the innermost function first") && text.contains("{main}"), "{text}");
    stage.press("<esc>");
    assert_eq!(pids(&stage).len(), 10);
}

#[test]
fn a_worker_that_has_ended_is_said_on_its_page() {
    let mut stage = stage(10, 120, 30).keys("<enter>");
    let mut snapshot = serving(10, 61);
    Arc::make_mut(&mut snapshot.php).workers.clear();
    stage.push(snapshot);
    assert!(stage.text().contains("is not there at this moment"), "{}", stage.text());
}

#[test]
fn a_stuck_worker_waits_all_the_minute_and_an_idle_one_does_nothing() {
    let stage = stage(10, 120, 30);
    assert!(stage.line_with(" 9000 ").contains(&"░".repeat(20)), "{}", stage.text());
    assert!(stage.line_with(" 9009 ").contains(&"·".repeat(20)), "{}", stage.text());
    assert!(stage.line_with(" 9001 ").contains(&"█".repeat(20)), "{}", stage.text());
    assert!(stage.line_with(" 9002 ").contains("▲ 8.0 KiB/r"), "{}", stage.text());
}

#[test]
fn in_a_recording_it_is_the_minute_before_the_moment() {
    let mut stage = Stage::keeping(tusktop::recording::RingLimits::default(), 120, 30);
    (0..200).for_each(|second| stage.push(serving(10, second)));
    stage.press("6(");
    stage.settle();
    assert!(stage.line_with(" 9000 ").contains(&"░".repeat(20)), "{}", stage.text());
}

#[test]
fn every_size_is_drawn_with_hostile_names_and_without_workers() {
    for (width, height) in [(40, 10), (80, 24), (300, 80), (5, 5)] {
        let text = Stage::showing(hostile(), width, height).keys("6<enter>").text();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        Stage::showing(crate::snapshot::without_php(), width, height).keys("6<enter>");
    }
}

#[test]
fn the_flame_of_a_worker_has_its_stacks_only_and_esc_goes_back_to_it() {
    let mut snapshot = serving(10, 61);
    let mut php = (*snapshot.php).clone();
    let row = |pid, stack, samples| RequestStack {
        worker: WorkerKey::of_process(pid),
        started_at: Some(snapshot.at),
        stack,
        samples,
        wait_ns: 0,
        growth_bytes: 0,
    };
    let is_other = |stack: &Stack| !php.stacks[0].frames.contains(&stack.frames[0]);
    let other = php.stacks.iter().position(is_other).unwrap();
    php.short_request_stacks = Some(vec![row(9000, 0, 5), row(9006, other, 7)]);
    let leaf = |stack: usize| php.functions[php.stacks[stack].frames[0]].key.clone();
    let leaves = [leaf(0), leaf(other)];
    snapshot.php = Arc::new(php);
    let names = |stage: &Stage| {
        let frames = &stage.shown.scene.flame.as_ref().unwrap().frames;
        frames.iter().map(|placed| placed.frame.clone()).collect::<Vec<_>>()
    };
    for keys in ["jF", "j<enter>F"] {
        let mut stage = Stage::showing(snapshot.clone(), 120, 30).keys("6w");
        stage.press(keys);
        let text = stage.text();
        assert!(text.contains("worker 9000") && text.contains("51 ms"), "{text}");
        let names = names(&stage);
        let has = |leaf: &Arc<FunctionKey>| names.contains(&Frame::Function(leaf.clone()));
        assert!(has(&leaves[0]) && !has(&leaves[1]), "{text}");
        stage.press("<esc>");
        assert!(stage.app.view.flame.is_none());
        assert_eq!(stage.app.view.pane(Pane::Workers).detail.is_some(), keys.contains("enter"));
    }
}

#[test]
fn the_flame_of_a_worker_without_stacks_says_why() {
    let text = stage(10, 120, 30).keys("jF").text();
    assert!(text.contains("ran for 1 s or more") && text.contains("partly known"), "{text}");
    let mut snapshot = serving(10, 61);
    Arc::make_mut(&mut snapshot.php).short_request_stacks = Some(Vec::new());
    let shown = Stage::showing(snapshot, 120, 30).keys("6");
    let text = shown.keys("jF").text();
    assert!(text.contains("worker 9000 ran no PHP code in this window") && !text.contains("partly"), "{text}");
}

#[test]
fn a_script_that_a_server_runs_as_one_request_says_that_its_pages_are_not_told() {
    let mut snapshot = serving(10, 61);
    let text = Stage::showing(snapshot.clone(), 160, 30).keys("6j<enter>").text();
    assert!(!text.contains("worker mode"), "{text}");
    for request in &mut Arc::make_mut(&mut snapshot.php).requests {
        (request.method, request.uri) = ("".into(), "".into());
    }
    let text = Stage::showing(snapshot, 160, 30).keys("6j<enter>").text();
    assert!(text.contains("pages") && text.contains("(worker mode)"), "{text}");
}
