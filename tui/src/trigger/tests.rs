//! What is typed is understood or refused with a reason, and holds when what it names is so.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::model::{ExceptionCount, Group, Histogram, Php, PhpState, Pool, Pressure, ProblemRoutes, Route, RouteKey};

/// A second of a machine on which nothing happens.
fn calm() -> Snapshot {
    let mut snapshot = Snapshot::read(include_bytes!("../../tests/fixtures/web01.json")).unwrap();
    let php = Php { targets: snapshot.php.targets.clone(), exceptions: Some(vec![]), ..Php::default() };
    snapshot.system.pressure = Pressure { cpu_some: Some(1.0), io_some: None, memory_some: Some(0.0) };
    snapshot.system.oom_kills = Some(5);
    snapshot.host.memory_bytes = 16 << 30;
    snapshot.system.memory_available_bytes = Some(8 << 30);
    snapshot.interval_ms = 1000;
    Snapshot { php: Arc::new(php), ..snapshot }
}

fn with_php(change: impl FnOnce(&mut Php)) -> Snapshot {
    let mut snapshot = calm();
    change(Arc::make_mut(&mut snapshot.php));
    snapshot
}

/// A second with requests of some durations, of which some failed.
fn requests(route: &str, durations_ms: &[u64], failed: u64) -> Snapshot {
    let key = RouteKey { route: route.into(), script: "/index.php".into(), method: "GET".into(), group: "g".into() };
    let mut sum = Route::seen(Arc::new(key));
    durations_ms.iter().for_each(|ms| sum.histogram.record(ms * 1_000_000));
    sum.duration_ms.max = durations_ms.iter().max().map(|&ms| ms as f64);
    (sum.requests, sum.errors) = (durations_ms.len() as u64, failed);
    with_php(|php| php.routes = vec![sum])
}

fn group(name: &str, megabytes: u64) -> Snapshot {
    let mut snapshot = calm();
    let mut group = Group::empty(name.into(), "rule".into());
    group.footprint_bytes = Some(megabytes << 20);
    snapshot.groups.push(group);
    snapshot
}

fn watch(condition: &str) -> Watch {
    Watch::new(vec![Trigger::parse(condition).unwrap_or_else(|why| panic!("{condition}: {why}"))])
}

/// In which of some seconds a condition is a new cause.
fn new_in<'a>(condition: &str, seconds: impl IntoIterator<Item = &'a Snapshot>) -> Vec<usize> {
    let mut watch = watch(condition);
    let is_new = |snapshot| watch.take(snapshot).causes.iter().any(|cause| cause.is_new);
    let new: Vec<bool> = seconds.into_iter().map(is_new).collect();
    (0..new.len()).filter(|&at| new[at]).collect()
}

/// What is measured in the last of some seconds.
fn measured(condition: &str, seconds: &[Snapshot]) -> Option<String> {
    let mut watch = watch(condition);
    let last = seconds.iter().map(|snapshot| watch.take(snapshot)).last()?;
    last.causes.first().map(|cause| cause.measured.clone())
}

#[test]
fn every_condition_of_the_help_is_understood() {
    let examples: Vec<&str> = parse::GRAMMAR
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once("   ").map(|(typed, _)| typed))
        .collect();
    let typed: Vec<&&str> = examples
        .iter()
        .filter(|line| line.contains(" > ") || line.ends_with(" full") || **line == "oom kill")
        .collect();
    assert!(typed.len() >= 9, "{examples:?}");
    for condition in typed {
        watch(condition);
    }
    for condition in [
        "p50 > 1ms",
        "max of \"/a > b\" > 2s",
        "5xx of /api/* > 3/s in 1m for 10s",
        "5xx > 20/m",
        "memory > 12G",
        "memory of php-fpm: www > 20%",
        "exceptions of PDOException > 2/s",
        "growth > 1G in 1h",
        "io pressure > 0.5% for 1m 30s",
        "pool full",
        "pool www full for 10s",
        "pool full for 10s",
        "memory of a of b > 2G",
        " p99  >  2s ",
    ] {
        watch(condition);
    }
}

#[test]
fn what_is_wrong_is_said_with_what_is_possible() {
    for (text, said) in [
        ("", "possible are p50"),
        ("p98 > 2s", "`p98` cannot be watched (did you mean `p"),
        ("speed > 2s", "`speed` cannot be watched; possible are"),
        ("p99", "expected `>` and a value: `p99 > 2s`"),
        ("memory of www", "`memory of NAME > 90%`"),
        ("p99 > ", "no value"),
        ("p99 >= 2s", "write `>`"),
        ("p99 > 2", "`2`: expected a time such as 500ms"),
        ("p99 > -2s", "expected a time"),
        ("p99 > 2s in 1x", "`1x`: expected a time"),
        ("p99 > 2s in 1h", "behind `in` may be from 1s up to 10m"),
        ("p99 > 2s for 2h", "behind `for` may be up to 60m"),
        ("p99 of  > 2s", "no name"),
        ("p99 of \"a > 2s", "expected `>`"),
        ("5xx > 5", "5%, 3/s or 20/m"),
        ("5xx > 500%", "5%, 3/s or 20/m"),
        ("exceptions > 100", "100/m or 2/s"),
        ("exceptions > inf/s", "100/m or 2/s"),
        ("memory > 90", "16k"),
        ("memory > 101%", "90% or 2G"),
        ("memory > 90% in 1m", "has no `in`"),
        ("growth > 10%", "100M"),
        ("cpu pressure of www > 20%", "has no `of`"),
        ("disk pressure > 20%", "cannot be watched"),
        ("cpu pressure > 2s", "20%"),
        ("pool www", "`pool NAME full`"),
        ("pool > 5", "not compared"),
        ("oom kill for 10s", "nothing can follow"),
        ("oom kill > 1", "not compared"),
    ] {
        let error = Trigger::parse(text).map(|trigger| format!("{trigger:?}")).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(Trigger::parse(&"a".repeat(1_000_000)).unwrap_err().len() < 200);
}

#[test]
fn the_99th_percentile_is_that_of_the_last_ten_seconds() {
    let slow = requests("/slow", &[3_000; 5], 0);
    let fast = requests("/fast", &[10; 10], 0);
    assert!(measured("p99 > 2s", std::slice::from_ref(&slow)).unwrap().contains(" s (5 requests)"));
    let mut seconds = vec![slow.clone()];
    seconds.extend(vec![fast.clone(); 9]);
    assert!(measured("p99 > 2s", &seconds).unwrap().ends_with("(95 requests)"));
    seconds.push(fast.clone());
    assert_eq!(measured("p99 > 2s", &seconds), None, "it is too long ago");
    assert!(measured("p99 > 2s in 1m", &seconds).is_some());
    assert_eq!(measured("p50 > 2s", &seconds[..2]), None);
    assert_eq!(measured("p99 of /fast > 2s", &seconds), None);
    assert!(measured("max of /s* > 2s", &seconds[..1]).unwrap().starts_with("max of /s* in the last 10s is 3.00 s"));
    assert_eq!(measured("p99 > 2s", &[calm()]), None, "without requests there is none");
}

#[test]
fn failed_requests_are_a_share_or_a_rate() {
    let seconds = [requests("/", &[10; 90], 0), requests("/", &[10; 10], 9)];
    assert!(measured("5xx > 5%", &seconds).unwrap().ends_with("9.0 % (9 of 100 requests)"));
    assert_eq!((measured("5xx > 9%", &seconds), measured("5xx > 1/s", &seconds)), (None, None));
    assert!(measured("5xx > 0.5/s", &seconds).is_some() && measured("5xx > 50/m", &seconds).is_some());
    assert_eq!(measured("5xx > 5%", &[calm()]), None);
}

#[test]
fn exceptions_are_counted_by_class_for_a_minute() {
    let thrown = |class: &str, count| {
        let text = |text: &str| Arc::<str>::from(text);
        let exception = ExceptionCount {
            class: text(class),
            message: text(""),
            file: text("/a.php"),
            line: 1,
            count,
            count_error: 0,
            uncaught: None,
            caught_at: text(""),
            script: text(""),
            messages: Vec::new(),
            routes: ProblemRoutes::none(),
        };
        with_php(|php| php.exceptions = Some(vec![exception]))
    };
    let seconds = [thrown("PDOException", 60), thrown("LogicException", 60)];
    assert!(
        measured("exceptions > 100/m", &seconds)
            .unwrap()
            .starts_with("exceptions in the last 1m: 120 (120.0 a minute)")
    );
    assert_eq!(measured("exceptions of PDOException > 100/m", &seconds), None);
    let unseen = with_php(|php| php.exceptions = None);
    assert_eq!(watch("exceptions > 1/m").take(&unseen).unknown.len(), usize::from(!unseen.php.targets.is_empty()));
}

#[test]
fn memory_is_that_of_the_machine_or_of_the_biggest_group_of_a_name() {
    assert!(measured("memory > 49%", &[calm()]).unwrap().contains("50 %"));
    assert_eq!((measured("memory > 51%", &[calm()]), measured("memory > 9G", &[calm()])), (None, None));
    let two = {
        let mut snapshot = group("php-fpm: www", 900);
        snapshot
            .groups
            .extend(group("php-fpm: shop", 2_100).groups.into_iter().filter(|group| &*group.name == "php-fpm: shop"));
        snapshot
    };
    assert_eq!(
        measured("memory of php-fpm: * > 1G", std::slice::from_ref(&two)).as_deref(),
        Some("memory of php-fpm: shop is 2.1 GiB")
    );
    assert_eq!(measured("memory of php-fpm: www > 1G", std::slice::from_ref(&two)), None);
    assert!(measured("memory of php-fpm: shop > 10%", std::slice::from_ref(&two)).is_some());
    assert!(watch("memory of nobody > 1M").take(&two).unknown[0].1.contains("no process group"));
}

#[test]
fn growth_is_above_the_least_of_a_time() {
    let grow: Vec<Snapshot> = [500, 300, 350, 450, 520].map(|megabytes| group("leaky", megabytes)).into();
    assert_eq!(new_in("growth of leaky > 200M", &grow), [4]);
    assert_eq!(new_in("growth of leaky > 200M in 2s", &grow), [] as [usize; 0], "it is within the last two seconds");
    assert_eq!(
        measured("growth of l* > 200M", &grow).as_deref(),
        Some("memory of leaky grew by 220 MiB in the last 5m, to 520 MiB")
    );
    let long: Vec<Snapshot> = (0..3_000).map(|_| group("leaky", 100)).collect();
    let mut watch = watch("growth of leaky > 200M");
    long.iter().for_each(|snapshot| drop(watch.take(snapshot)));
    let Measure::Least(least) = &watch.watched[0].measure else { panic!("it is growth") };
    assert!(least.values().all(|parts| parts.len() <= 62), "what is remembered is bounded");
}

#[test]
fn pressure_pools_and_oom_kills_are_those_of_the_kernel_and_of_php_fpm() {
    let mut pressed = calm();
    pressed.system.pressure.memory_some = Some(25.0);
    assert!(measured("memory pressure > 20%", std::slice::from_ref(&pressed)).unwrap().contains("25 %"));
    assert_eq!(measured("memory pressure > 25%", &[pressed]), None);
    let unknown = watch("io pressure > 20%").take(&calm()).unknown;
    assert!(unknown[0].1.contains("/proc/pressure"), "{unknown:?}");

    let board = |active, reached| {
        let web01 = Snapshot::read(include_bytes!("../../tests/fixtures/web01.json")).unwrap();
        let schema1 = Snapshot::read(include_bytes!("../../tests/fixtures/schema1.json")).unwrap();
        let mut pool: Pool = web01.php.pools.first().or(schema1.php.pools.first()).unwrap().clone();
        (pool.board.name, pool.board.max_children) = ("www".into(), 10);
        (pool.board.active, pool.board.max_children_reached) = (active, reached);
        with_php(|php| php.pools = vec![pool])
    };
    assert_eq!(new_in("pool www full", &[board(9, 3), board(10, 3), board(9, 3), board(9, 4)]), [1, 3]);
    assert!(watch("pool shop full").take(&board(10, 3)).unknown[0].1.contains("no pool"));

    let killed = |kills| {
        let mut snapshot = calm();
        snapshot.system.oom_kills = kills;
        snapshot
    };
    assert_eq!(new_in("oom kill", &[killed(Some(5)), killed(Some(5)), killed(Some(7)), killed(Some(7))]), [2]);
    assert_eq!(watch("oom kill").take(&killed(None)).unknown.len(), 1);
}

#[test]
fn a_condition_has_to_last_and_to_end_before_it_is_new_again() {
    let pressed = |percent| {
        let mut snapshot = calm();
        snapshot.system.pressure.cpu_some = Some(percent);
        snapshot
    };
    let seconds = [50.0, 50.0, 50.0, 50.0, 1.0, 50.0, 1.0, 50.0, 50.0, 50.0].map(pressed);
    assert_eq!(new_in("cpu pressure > 20%", &seconds), [0, 5, 7]);
    assert_eq!(new_in("cpu pressure > 20% for 2s", &seconds), [2, 9]);
    let mut watch = watch("cpu pressure > 20% for 2s");
    let holding: Vec<usize> = seconds.iter().map(|snapshot| watch.take(snapshot).causes.len()).collect();
    assert_eq!(holding, [0, 0, 1, 1, 0, 0, 0, 0, 0, 1], "it is said for as long as it holds");
}

#[test]
fn what_cannot_be_known_is_said_once() {
    let off = with_php(|php| php.state = PhpState::Off);
    let mut watch = watch("p99 > 2s");
    assert_eq!(watch.take(&off).unknown, [("p99 > 2s".to_owned(), "PHP is not observed")]);
    assert!(watch.take(&off).unknown.is_empty());
    let late = with_php(|php| php.state = PhpState::Late);
    assert!(watch.take(&late).unknown.is_empty() && Histogram::default().count() == 0);
    assert_eq!(watch.clock, Duration::from_secs(3));
}
