//! Exact tracing of real PHP: every call is counted, and times add up.

mod servers;
mod watch;

use std::time::Duration;

use servers::{PhpCli, alone};
use tusktop::{
    collect::php::{ExactRequest, Order},
    model::{ExactKind, ExactState},
};
use watch::Watch;

/// Traces one script from its first call on, whatever it costs, until it has ended.
fn traced(arguments: &[&str], kind: ExactKind) -> Watch {
    let mut script = PhpCli::start_traceable("calls.php", arguments);
    let pid = script.pid();
    let mut watch = Watch::start(0, script.page("calls.php").parent().unwrap());
    watch.until("its function probes are seen to be live", |watch| {
        watch.last.targets.iter().flat_map(|target| &target.masters).any(|m| m.pid == pid && m.dtrace == Some(true))
    });
    watch.order(Order::Start(ExactRequest {
        kind,
        pool: None,
        pid: Some(pid),
        budget: f64::INFINITY,
        limit: Duration::from_secs(60),
    }));
    watch.until("it is traced", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.state == ExactState::Tracing && exact.pids == [pid])
    });
    script.go();
    watch.until("it has ended", |_| !script.daemon().runs());
    watch.order(Order::Stop);
    watch.until("tracing has ended", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.state == ExactState::Ended)
    });
    watch.read();
    watch
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
    assert_eq!(closures, 10 * (7 + 3));
    assert_eq!(watch.dropped, 0);
}
