//! Claims about moments: a frozen one stays, nothing is lost meanwhile, and what is shown at any moment is the fold of its intervals.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::{
    analysis::tests::snapshot,
    model::{Function, FunctionKey, FunctionKind, Group, LineCalls, Route, RouteKey, Stack},
    recording::{Ring, RingLimits},
};

/// Stacks of functions by number, leaf first, each with its route and samples.
type Stacks = Vec<(u8, Vec<u8>, u64)>;

/// A [`Php`] in which these stacks were seen and one request of each route was counted.
fn php(stacks: &Stacks) -> Php {
    let mut php = Php::default();
    let function = |php: &mut Php, number: u8| {
        let name: Arc<str> = format!("f{number}").into();
        let known = php.functions.iter().position(|function| function.key.name == name);
        known.unwrap_or_else(|| {
            let (class, file) = ("".into(), "/a.php".into());
            let key = FunctionKey { name, class, file, line: 1, kind: FunctionKind::User };
            php.functions.push(Function::seen(key.into()));
            php.functions.len() - 1
        })
    };
    for (route, frames, samples) in stacks {
        let path: Arc<str> = format!("/{route}").into();
        let route = php.routes.iter().position(|route| route.key.route == path).unwrap_or_else(|| {
            let key = RouteKey { route: path, script: "".into(), method: "GET".into(), group: "g".into() };
            php.routes.push(Route { requests: 1, ..Route::seen(key.into()) });
            php.routes.len() - 1
        });
        let frames: Vec<usize> = frames.iter().map(|&number| function(&mut php, number)).collect();
        if let Some(&leaf) = frames.first() {
            php.functions[leaf].self_samples += samples;
        }
        php.stacks.push(Stack {
            route,
            frames,
            samples: *samples,
            wait_ns: Some(1),
            growth_bytes: None,
            truncated: false,
        });
    }
    php
}

/// Self samples by function, samples by stack, requests by route: sums that do not depend on any order.
type Sums = (BTreeMap<String, u64>, BTreeMap<(String, Vec<String>), u64>, BTreeMap<String, u64>);

fn sums<'a>(profiles: impl IntoIterator<Item = &'a Php>) -> Sums {
    let (mut functions, mut stacks, mut routes) = Sums::default();
    for php in profiles {
        for function in &php.functions {
            *functions.entry(function.key.name.to_string()).or_default() += function.self_samples;
        }
        for stack in &php.stacks {
            let frames = stack.frames.iter().map(|&at| php.functions[at].key.name.to_string()).collect();
            *stacks.entry((php.routes[stack.route].key.route.to_string(), frames)).or_default() += stack.samples;
        }
        for route in &php.routes {
            *routes.entry(route.key.route.to_string()).or_default() += route.requests;
        }
    }
    (functions, stacks, routes)
}

fn stacks() -> impl Strategy<Value = Stacks> {
    proptest::collection::vec((0_u8..3, proptest::collection::vec(0_u8..6, 1..5), 1_u64..9), 0..6)
}

/// Snapshots with a group that grows by a byte a second, and a traced line.
fn growing(seconds: std::ops::Range<i64>) -> impl Iterator<Item = Arc<Snapshot>> {
    seconds.map(|second| {
        let line = LineCalls {
            name: "curl_exec".into(),
            class: "".into(),
            file: "/a.php".into(),
            line: 7,
            included: false,
            calls: 2,
            self_ns: 1,
            total_ns: 1,
        };
        let php = Php { lines: Some(vec![line]), ..php(&vec![(0, vec![1, 0], 3)]) };
        let mut snapshot = snapshot(second, php);
        let mut group = Group::empty("g".into(), "test".into());
        group.memory.rss_bytes = Some(second as u64);
        snapshot.groups.push(group);
        Arc::new(snapshot)
    })
}

/// A timeline that keeps ten minutes.
fn live() -> Timeline {
    Timeline::live(Ring::new(RingLimits { span: Duration::from_secs(600), bytes: 1 << 20 }))
}

/// Reads all that a moment needs.
fn settle(timeline: &mut Timeline) {
    for (window, grouping) in [(Window::Minute, Grouping::Rules), (Window::All, Grouping::Pool)] {
        while timeline.work(window, grouping) != Worked::Nothing {}
    }
}

fn timeline(seconds: std::ops::Range<i64>) -> Timeline {
    let mut timeline = live();
    growing(seconds).for_each(|snapshot| timeline.push(snapshot));
    timeline
}

/// All that is shown of a timeline: windows and how much they cover, points of the group, the snapshot's time.
type Shown = ([(Arc<Php>, Duration); 4], Vec<Point>, Option<Timestamp>);

fn shown(timeline: &mut Timeline) -> Shown {
    let windows = Window::ALL.map(|window| (timeline.window(window), timeline.covered(window)));
    let points = timeline.histories(Grouping::Rules).points("g", Span::TenMinutes).copied().collect();
    (windows, points, timeline.current().map(|snapshot| snapshot.at))
}

fn second(second: i64) -> Timestamp {
    snapshot(second, Php::default()).at
}

#[test]
fn a_frozen_moment_stays_as_it_is_while_snapshots_come() {
    let mut timeline = timeline(0..100);
    let before = shown(&mut timeline);
    assert_eq!(timeline.freeze(), Some(second(99)));
    assert_eq!(shown(&mut timeline), before);
    growing(100..400).for_each(|snapshot| timeline.push(snapshot));
    assert_eq!(shown(&mut timeline), before, "also long after the ring has given it up");
    assert_eq!(timeline.moment(), Moment::At(second(99)));
    assert_eq!(timeline.latest().map(|latest| latest.at), Some(second(399)));
}

#[test]
fn nothing_is_lost_by_a_pause() {
    let mut paused = timeline(0..100);
    paused.freeze();
    growing(100..400).for_each(|snapshot| paused.push(snapshot));
    paused.go_to(Moment::Now);
    let mut never = timeline(0..400);
    assert_eq!(shown(&mut paused), shown(&mut never));
    let all = paused.window(Window::All);
    assert_eq!((all.stacks[0].samples, all.lines.as_ref().map(|lines| lines[0].calls)), (1_200, Some(800)));
    assert_eq!(paused.covered(Window::All).as_secs(), 400);
}

#[test]
fn a_past_moment_is_as_it_was_then() {
    let mut back = timeline(0..100);
    assert_eq!(back.go_to(Moment::At(second(70) + SignedDuration::from_millis(400))), Some(second(70)));
    let mut then = timeline(0..71);
    let short = |timeline: &mut Timeline| [Window::Last, Window::TenSeconds].map(|window| timeline.window(window));
    assert_eq!(short(&mut back), short(&mut then), "at once");
    settle(&mut back);
    assert_eq!(shown(&mut back), shown(&mut then));
    back.push(growing(100..101).next().unwrap());
    assert_eq!(shown(&mut back), shown(&mut then));
}

#[test]
fn before_the_oldest_snapshot_is_the_oldest_and_covered_says_how_little_there_is() {
    let mut timeline = timeline(0..1800);
    let (oldest, latest) = timeline.span().unwrap();
    assert_eq!(latest, second(1799));
    assert!(
        (second(1799 - 660)..=second(1799 - 600)).contains(&oldest),
        "ten minutes, and what is left of one: {oldest}"
    );
    assert_eq!(timeline.go_to(Moment::At(second(3))), Some(oldest));
    assert_eq!(timeline.covered(Window::All).as_secs(), 1);
    assert_eq!(timeline.go_to(Moment::Now), Some(latest));
    assert_eq!(live().freeze(), None);
}

#[test]
fn going_on_by_seconds_is_as_going_there() {
    let mut stepped = timeline(0..400);
    stepped.go_to(Moment::At(second(290)));
    for to in [291, 292, 296, 305, 305] {
        assert_eq!(stepped.go_to(Moment::At(second(to))), Some(second(to)));
    }
    let mut gone = timeline(0..400);
    gone.go_to(Moment::At(second(305)));
    settle(&mut gone);
    settle(&mut stepped);
    assert_eq!(shown(&mut stepped), shown(&mut gone));
    stepped.go_to(Moment::At(second(308)));
    gone.go_to(Moment::At(second(308)));
    assert_eq!(shown(&mut stepped), shown(&mut gone), "and what was read by then is whole");
}

#[test]
fn the_memory_of_a_group_is_known_by_the_minute() {
    let mut timeline = timeline(0..400);
    timeline.go_to(Moment::At(second(10)));
    settle(&mut timeline);
    assert_eq!(timeline.memory("g").len(), 7);
    assert!(timeline.memory("g").is_sorted());
    assert!(timeline.memory("unknown").is_empty());
}

proptest! {
    #[test]
    fn a_window_is_the_fold_of_its_intervals_at_any_moment(
        profiles in proptest::collection::vec(stacks(), 1..90),
        back in 0_usize..90,
    ) {
        let snapshots: Vec<Arc<Snapshot>> =
            (0..).zip(&profiles).map(|(second, stacks)| Arc::new(snapshot(second, php(stacks)))).collect();
        let mut timeline = live();
        snapshots.iter().for_each(|snapshot| timeline.push(snapshot.clone()));
        let last = snapshots.len() - 1 - back.min(snapshots.len() - 1);
        timeline.go_to(Moment::At(snapshots[last].at));
        settle(&mut timeline);
        for (window, seconds) in [(Window::Last, 1), (Window::TenSeconds, 10), (Window::Minute, 60), (Window::All, 90)] {
            let intervals = &snapshots[(last + 1).saturating_sub(seconds)..=last];
            let expected = sums(intervals.iter().map(|snapshot| &*snapshot.php));
            prop_assert_eq!(&sums([&*timeline.window(window)]), &expected);
            prop_assert_eq!(timeline.covered(window).as_secs() as usize, intervals.len());
        }
    }
}
