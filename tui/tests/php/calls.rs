//! Exact tracing of real PHP: every call is counted, and times add up.

use std::time::Duration;

use crate::servers::{PhpCli, alone};
use crate::watch::Watch;
use tusktop::{
    collect::php::Order,
    model::{ExactKind, ExactState, TraceLimits, TraceOrder, TraceRequest},
};

/// Traces one script from its first call on, whatever it costs, until it has ended.
fn traced(arguments: &[&str], kind: ExactKind) -> Watch {
    traced_with_time(arguments, kind).0
}

/// What a script says of its own time.
#[derive(Debug)]
struct Own {
    /// In `spend`.
    spent: Duration,
    /// Without a CPU, which another process had. Of that, what fell into `spend` is in `spent`, too.
    queued: Duration,
}

impl Own {
    /// Whether a time is that in `spend`: within a twentieth, where the process had a CPU all the time.
    fn is_about(&self, ns: u64) -> bool {
        Duration::from_nanos(ns).abs_diff(self.spent) <= self.spent / 20 + self.queued
    }
}

/// The same, with what the script says of its own time.
fn traced_with_time(arguments: &[&str], kind: ExactKind) -> (Watch, Own) {
    let mut script = PhpCli::start_traceable("calls.php", arguments);
    let pid = script.pid();
    let mut watch = Watch::start(0, script.page("calls.php").parent().expect("it is in a folder"));
    watch.until("its function probes are seen to be live", |watch| {
        watch.last.targets.iter().flat_map(|target| &target.masters).any(|m| m.pid == pid && m.dtrace == Some(true))
    });
    let what = TraceOrder::Start(TraceRequest { kind, pool: None, pid: Some(pid) });
    let limits = TraceLimits { budget: f64::INFINITY, limit: Duration::from_secs(60) };
    watch.order(Order { what, limits });
    watch.until("it is traced", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.state == ExactState::Tracing && exact.pids == [pid])
    });
    script.go();
    watch.until("it has ended", |_| !script.daemon().runs());
    watch.stop_tracing();
    watch.until("tracing has ended", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.state == ExactState::Ended)
    });
    watch.read();
    let output = script.output();
    let own = |what| {
        let ns = output.lines().find_map(|line| line.strip_prefix(what)?.strip_suffix(" ns")?.trim().parse().ok());
        Duration::from_nanos(ns.expect("the script says it"))
    };
    (watch, Own { spent: own("spent"), queued: own("queued") })
}

#[test]
#[ignore = "needs root and PHP"]
fn every_call_of_every_kind_is_counted() {
    let _alone = alone();
    let watch = traced(&["everything"], ExactKind::Functions);
    for (function, calls) in [
        ("everything", 1),
        // 2 * fibonacci(13) - 1 calls for fibonacci(12).
        ("fibonacci", 465),
        ("even", 11),
        ("odd", 10),
        ("Shape::make", 1),
        ("Square::__construct", 1),
        ("Square::prepare", 1),
        ("Shape::area", 1),
        ("Square::side", 2),
        ("Shape::__call", 1),
        // One for each value, one at the end, and one for its creation.
        ("numbers", 9),
        ("catches", 1),
        ("fails", 5),
    ] {
        let rounds = if function == "everything" { 1 } else { 10 };
        assert_eq!(watch.calls_of(function).calls, calls * rounds, "{function}: {:#?}", watch.calls);
    }
    let closures: u64 =
        watch.calls.iter().filter(|((name, _), _)| name == "{closure}").map(|(_, sums)| sums.calls).sum();
    assert_eq!(closures, 10 * (7 + 3) + 1);
    assert_eq!(watch.dropped, 0);
}

/// The line of the script that has this code.
fn line_of(code: &str) -> u32 {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/php/scripts/calls.php"))
        .expect("it is in the checkout");
    1 + text.lines().position(|line| line.contains(code)).expect("the script has this code") as u32
}

#[test]
#[ignore = "needs root and PHP"]
fn self_times_and_the_times_of_children_are_the_total_time() {
    let _alone = alone();
    let (watch, own) = traced_with_time(&["times"], ExactKind::Functions);
    let [branch, leaf, spend] = ["branch", "leaf", "spend"].map(|name| watch.calls_of(name));
    assert_eq!([branch.calls, leaf.calls, spend.calls], [20, 40, 60]);
    assert!(own.is_about(spend.total_ns) && own.is_about(branch.total_ns), "{own:?}: {spend:?} {branch:?}");
    assert!(leaf.total_ns >= 80_000_000 && leaf.total_ns < branch.total_ns - 20_000_000, "{leaf:?} {branch:?}");
    assert_eq!(branch.self_ns + leaf.self_ns + spend.self_ns, branch.total_ns);
    assert_eq!(spend.self_ns, spend.total_ns);
    // Two milliseconds and more are 2^20 ns and more.
    let leaf = watch.calls.iter().find(|((name, _), _)| name == "leaf").unwrap().1;
    assert_eq!((leaf.durations[20..].iter().sum::<u64>(), leaf.durations.iter().sum::<u64>()), (40, 40));
}

#[test]
#[ignore = "needs root and PHP"]
fn the_total_time_of_a_recursion_is_that_of_its_outermost_call() {
    let _alone = alone();
    let watch = traced(&["everything"], ExactKind::Functions);
    let (fibonacci, all) = (watch.calls_of("fibonacci"), watch.calls_of("everything"));
    assert_eq!(fibonacci.self_ns, fibonacci.total_ns, "it calls nothing but itself");
    let [even, odd] = ["even", "odd"].map(|name| watch.calls_of(name));
    assert!(even.total_ns == even.self_ns + odd.self_ns && odd.total_ns < even.total_ns, "{even:?} {odd:?}");
    let end = line_of("$spent = 0;");
    let inside = watch.calls.iter().filter(|((name, line), _)| name != "{main}" && *line < end);
    assert_eq!(inside.map(|(_, sums)| sums.self_ns).sum::<u64>(), all.total_ns);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_fiber_has_the_time_that_it_ran_and_not_that_it_was_suspended() {
    let _alone = alone();
    let (watch, own) = traced_with_time(&["fibers"], ExactKind::Functions);
    let [fibers, in_fiber, spend, between] =
        ["fibers", "in_fiber", "spend", "between"].map(|name| watch.calls_of(name));
    assert_eq!([fibers.calls, in_fiber.calls, spend.calls, between.calls], [1, 3, 12, 24]);
    assert!(own.is_about(spend.total_ns), "{own:?}: {spend:?}");
    // Each was open nearly all the time, but ran a third of it.
    assert!(own.is_about(in_fiber.total_ns), "{own:?}: {in_fiber:?}");
    assert!(in_fiber.total_ns >= spend.total_ns && in_fiber.total_ns <= fibers.total_ns, "{in_fiber:?} of {fibers:?}");
    let selfs = fibers.self_ns + in_fiber.self_ns + spend.self_ns + between.self_ns;
    let missing = Duration::from_nanos(fibers.total_ns.abs_diff(selfs));
    assert!(missing <= own.spent / 20 + own.queued, "{selfs} of {fibers:?}");
}

#[test]
#[ignore = "needs root and PHP"]
fn calls_that_exit_or_a_fatal_error_left_without_a_return_are_counted() {
    let _alone = alone();
    let watch = traced(&["exit"], ExactKind::Functions);
    assert_eq!([watch.calls_of("{closure}").calls, watch.calls_of("leaf").calls], [2, 1]);
    assert!(watch.calls_of("{closure}").total_ns >= 2_000_000);
    let (watch, own) = traced_with_time(&["fatal"], ExactKind::Functions);
    // Twice by branch and once at shutdown, behind the fatal error.
    assert_eq!([watch.calls_of("branch").calls, watch.calls_of("leaf").calls], [1, 3]);
    assert!(own.is_about(watch.calls_of("spend").total_ns), "{own:?}: {:?}", watch.calls_of("spend"));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_recursion_deeper_than_what_is_kept_is_counted_in_full() {
    let _alone = alone();
    let watch = traced(&["deep", "10000"], ExactKind::Functions);
    assert_eq!(watch.calls_of("deep").calls, 10_000);
    assert!(watch.untimed >= 10_000 - 1024, "{}", watch.untimed);
    assert!(watch.calls_of("deep").total_ns > 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn built_in_functions_are_told_by_the_line_that_calls_them() {
    let _alone = alone();
    let watch = traced(&["everything"], ExactKind::Lines);
    for (function, code, calls) in [
        ("usleep", "usleep(1);", 1),
        ("random_int", "(float) random_int", 2),
        ("random_int", "$n + random_int", 7),
        ("array_map", "array_map(", 7),
        ("usort", "usort(", 1),
    ] {
        let sums = watch.calls.get(&(function.to_owned(), line_of(code)));
        assert_eq!(sums.map(|sums| sums.calls), Some(10 * calls), "{function} {code}: {:#?}", watch.calls);
    }
    let map = watch.calls[&("array_map".to_owned(), line_of("array_map("))];
    let inside = watch.calls[&("random_int".to_owned(), line_of("$n + random_int"))];
    assert_eq!(map.total_ns, map.self_ns + inside.total_ns);
}

#[test]
#[ignore = "needs root and PHP"]
fn an_included_file_has_its_time_and_that_of_its_compilation() {
    let _alone = alone();
    let watch = traced(&["include"], ExactKind::Lines);
    let file = |name: &str| {
        let found = watch.files.iter().find(|(function, file)| function == name && file.ends_with("/work.php"));
        found.map(|_| watch.calls_of(name).calls)
    };
    assert_eq!(file("{compile}"), Some(1));
    assert_eq!(file("{main}"), Some(1));
}
