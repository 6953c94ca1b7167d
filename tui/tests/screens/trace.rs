//! Claims about exact tracing on the screen: its price, its state, its numbers and what is an estimate among them.

use std::sync::Arc;

use tusktop::{
    app::Command,
    model::{Exact, ExactKind, ExactState, Master, Snapshot, Tier, TierState, TraceOrder},
    view::{Pane, Row, TileKey},
};

use crate::{snapshot::web01, stage::Stage};

fn exact(state: ExactState) -> Exact {
    Exact {
        state,
        kind: ExactKind::Functions,
        reason: String::new(),
        pool: None,
        candidates: 14,
        pids: vec![421],
        budget_ratio: Some(0.02),
        spent_ratio: Some(0.019),
        calls_per_cpu_s: Some(2_100_000.0),
        call_ns: Some(1_420.0),
        slowdown: Some(4.0),
        traced_ratio: Some(0.025),
        calls: 41_000,
        left_ms: Some(41_300),
    }
}

/// The busy server with exact tracing in some state, and calls of two functions in its traced part.
fn traced(state: ExactState) -> Snapshot {
    let mut snapshot = web01();
    let mut php = (*snapshot.php).clone();
    php.exact = Some(exact(state));
    for (function, calls) in php.functions.iter_mut().zip([40_000, 1_000]) {
        function.calls = Some(calls);
        function.self_ns = Some(calls * 1_500);
        function.total_ns = Some(calls * 3_000);
        function.durations_log2 = Some(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, calls / 4, calls / 2, calls / 4]);
    }
    snapshot.php = php.into();
    snapshot
}

#[test]
fn the_price_is_shown_before_tracing_begins() {
    insta::assert_snapshot!(Stage::showing(traced(ExactState::Priced), 120, 30).keys("X").text());
}

#[test]
fn what_is_missing_is_said_with_what_to_type() {
    let mut snapshot = traced(ExactState::Unavailable);
    let mut php = (*snapshot.php).clone();
    for target in &mut php.targets {
        target.tiers[Tier::Exact].state = TierState::Unavailable;
        target.tiers[Tier::Exact].reason = "pid 400: it was started without USE_ZEND_DTRACE=1".to_owned();
        target.tiers[Tier::Exact].hint = vec!["sudo systemctl edit php8.2-fpm".to_owned()];
        target.masters = vec![Master { pid: 400, dtrace: Some(false), ..Master::default() }];
    }
    php.exact.as_mut().expect("it was put there").reason = "no process that can be traced is running".to_owned();
    snapshot.php = php.into();
    let text = Stage::showing(snapshot, 100, 36).keys("X").text();
    for part in ["no process that can be traced", "without USE_ZEND_DTRACE=1", "sudo systemctl edit php8.2-fpm"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("begins"), "{text}");
}

#[test]
fn the_traced_part_stands_in_the_title_and_estimates_are_marked() {
    let stage = Stage::showing(traced(ExactState::Tracing), 160, 40).keys("2ff");
    let title = stage.line_with("traced calls");
    assert!(title.contains("2.5 % of PHP's work") && title.contains("42 s left"), "{title}");
    insta::assert_snapshot!(stage.text());
}

#[test]
fn the_detail_of_a_function_has_its_durations() {
    let stage = Stage::showing(traced(ExactState::Tracing), 120, 60).keys("2ffj<enter>");
    let text = stage.text();
    assert!(text.contains("traced calls") && text.contains("from 2.0 us"), "{text}");
}

#[test]
fn before_anything_is_traced_the_list_says_what_to_press() {
    assert!(Stage::showing(web01(), 120, 30).keys("2ff").text().contains("X shows what tracing costs"));
}

#[test]
fn a_trace_that_began_while_the_screen_was_paused_is_not_ended_by_looking_at_it() {
    let mut stage = Stage::showing(web01(), 160, 40).keys("<space>X<enter>");
    assert!(matches!(stage.commands.last(), Some(Command::Trace(TraceOrder::Start(_)))), "{:?}", stage.commands);
    stage.push(traced(ExactState::Tracing));
    let orders = |stage: &Stage| stage.commands.iter().filter(|c| matches!(c, Command::Trace(_))).count();
    let before = orders(&stage);
    stage.press("X");
    assert_eq!(orders(&stage), before, "{:?}", stage.commands);
    assert!(stage.text().contains("stops it"), "{}", stage.text());
    stage.press("<enter>");
    assert_eq!(stage.commands.last(), Some(&Command::Trace(TraceOrder::Stop)));
}

/// The pool that would be traced when a group is selected.
fn pool_of(snapshot: Snapshot, group: &str) -> Option<String> {
    let mut stage = Stage::showing(snapshot, 160, 40);
    stage.app.view.pane_mut(Pane::Map).selected = Some(Row::Tile(TileKey::Group(group.into())));
    stage.draw();
    stage.shown.facts.pool.as_deref().map(str::to_owned)
}

/// The server with the group of the pool www under another name.
fn renamed(name: &str) -> Snapshot {
    let mut snapshot = web01();
    snapshot.groups[0].name = name.into();
    let mut php = (*snapshot.php).clone();
    for route in php.routes.iter_mut().filter(|route| &*route.key.group == "php-fpm: www") {
        Arc::make_mut(&mut route.key).group = name.into();
    }
    snapshot.php = Arc::new(php);
    snapshot
}

#[test]
fn the_pool_of_a_group_is_that_of_its_workers_whatever_it_is_called() {
    assert_eq!(pool_of(web01(), "php-fpm: www").as_deref(), Some("www"));
    assert_eq!(pool_of(renamed("shop"), "shop").as_deref(), Some("www"));
    assert_eq!(pool_of(web01(), "mariadbd"), None);
}

#[test]
fn a_group_of_two_pools_is_none_of_them_also_where_one_name_is_part_of_the_others() {
    let mut snapshot = web01();
    let pids: Vec<u32> = snapshot.processes.iter().filter(|process| process.group == 0).map(|p| p.pid).collect();
    snapshot.processes.iter_mut().find(|process| process.pid == pids[1]).unwrap().pool = Some("w".into());
    let mut php = (*snapshot.php).clone();
    php.workers.iter_mut().find(|worker| worker.pid == pids[1]).unwrap().pool = "w".into();
    php.workers.sort_by_key(|worker| worker.pool.len());
    snapshot.php = Arc::new(php);
    assert_eq!(pool_of(snapshot, "php-fpm: www"), None);
}

#[test]
fn small_terminals_have_the_window_too() {
    for (width, height) in [(80, 24), (60, 18), (40, 10), (30, 8)] {
        let text = Stage::showing(traced(ExactState::Priced), width, height).keys("X").text();
        assert!(text.contains("exact tracing") || width < 40, "{width}x{height}: {text}");
    }
}
