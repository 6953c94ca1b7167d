//! Exact tracing that cannot begin: each order ends by itself and says why, and what to do.

use std::time::Duration;

use crate::loaded::{Before, TRACING};
use crate::servers::{FpmOptions, PATIENCE, PhpFpm, Pool, Request, alone, copies, under_load, wait_until};
use crate::watch::Watch;
use tusktop::{
    collect::php::Order,
    model::{Exact, ExactState, Tier, TierState, TraceLimits, TraceOrder, TraceRequest},
};

const POOL: &str = "priced";

fn options(pool: Pool) -> FpmOptions {
    let env = vec![("USE_ZEND_DTRACE".to_owned(), "1".to_owned())];
    FpmOptions { pools: vec![pool], env, ..FpmOptions::default() }
}

/// A collector that knows whether php-fpm can be traced.
fn watch(fpm: &PhpFpm) -> Watch {
    let mut watch = Watch::start(0, fpm.site().path());
    let master = fpm.master();
    watch.until("its master is read, and its workers are known to be a pool", |watch| {
        watch.last.targets.iter().flat_map(|t| &t.masters).any(|m| m.pid == master && m.dtrace.is_some())
            && watch.last.processes.iter().any(|process| process.pool.as_deref() == Some(POOL))
    });
    watch
}

fn order(what: fn(TraceRequest) -> TraceOrder) -> Order {
    let limits = TraceLimits { budget: 0.02, limit: Duration::from_secs(60) };
    Order { what: what(TraceRequest { pool: Some(POOL.into()), ..TraceRequest::default() }), limits }
}

/// Follows an order until nothing is counted any more.
fn outcome(watch: &mut Watch, order: Order) -> Exact {
    watch.order(order);
    watch.until("calls are no longer counted", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.state != ExactState::Counting)
    });
    watch.last.exact.clone().unwrap()
}

fn get(fpm: &PhpFpm) {
    let page = Request::get("/traced.php?calls=2000").script("traced.php");
    assert_eq!(fpm.send(POOL, &page).status, 200);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_price_is_made_of_calls_that_were_counted_and_nothing_is_traced_yet() {
    let _alone = alone();
    let before = Before::now();
    let fpm = PhpFpm::start(options(Pool::new(POOL, 2)));
    let mut watch = watch(&fpm);
    let exact = under_load(2, || get(&fpm), || outcome(&mut watch, order(TraceOrder::Price)));
    assert_eq!((exact.state, exact.candidates), (ExactState::Priced, 2), "{exact:?}");
    // An empty function takes PHP at least ten nanoseconds, and no machine needs ten microseconds for a trap.
    let (rate, call_ns) = (exact.calls_per_cpu_s.unwrap(), exact.call_ns.unwrap());
    assert!((1e4..1e8).contains(&rate) && (100.0..10_000.0).contains(&call_ns), "{exact:?}");
    assert!((exact.slowdown.unwrap() - (1.0 + rate * call_ns / 1e9)).abs() < 1e-3, "{exact:?}");
    assert_eq!((before.links(&TRACING), watch.calls.len()), (0, 0));
}

#[test]
#[ignore = "needs root and PHP"]
fn without_traffic_the_price_is_said_to_be_unknown() {
    let _alone = alone();
    let before = Before::now();
    let fpm = PhpFpm::start(options(Pool::new(POOL, 2)));
    let mut watch = watch(&fpm);
    let exact = outcome(&mut watch, order(TraceOrder::Price));
    assert_eq!(exact.state, ExactState::Unavailable, "{exact:?}");
    assert!(exact.reason.contains("no PHP function was called"), "{exact:?}");
    assert!(exact.calls_per_cpu_s.is_none() && exact.slowdown.is_none() && exact.pids.is_empty(), "{exact:?}");
    assert_eq!(before.links(&TRACING), 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_server_with_hardly_any_requests_is_traced_and_its_price_found_by_that() {
    let _alone = alone();
    let fpm = PhpFpm::start(options(Pool::new(POOL, 2)));
    let mut watch = watch(&fpm);
    let exact = outcome(&mut watch, order(TraceOrder::Start));
    assert_eq!((exact.state, exact.calls_per_cpu_s), (ExactState::Tracing, None), "{exact:?}");
    watch
        .until("both workers are traced", |watch| watch.last.exact.as_ref().is_some_and(|exact| exact.pids.len() == 2));
    let page = Request::get("/traced.php?calls=300").script("traced.php");
    for _ in 0..5 {
        assert_eq!(fpm.send(POOL, &page).status, 200);
    }
    watch.until("all calls are seen", |watch| watch.calls_of("step").calls >= 5 * 300);
    assert_eq!(watch.calls_of("step").calls, 5 * 300);
    watch.until("the price is known", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.calls_per_cpu_s.is_some_and(|rate| rate > 0.0))
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn a_server_that_ends_while_it_is_priced_is_said_to_be_gone() {
    let _alone = alone();
    let mut fpm = PhpFpm::start(options(Pool::new(POOL, 2)));
    let mut watch = watch(&fpm);
    watch.order(order(TraceOrder::Price));
    watch.until("calls are counted", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.state == ExactState::Counting && !exact.pids.is_empty())
    });
    fpm.stop();
    watch.until("it has given up", |watch| {
        watch.last.exact.as_ref().is_some_and(|exact| exact.state == ExactState::Unavailable)
    });
    let exact = watch.last.exact.clone().unwrap();
    assert!(exact.reason.contains("no process that can be traced is running"), "{exact:?}");
    assert!(exact.slowdown.is_none() && exact.pids.is_empty(), "{exact:?}");
    // The collector goes on.
    fpm.restart();
    get(&fpm);
    watch.until("the next request is seen", |watch| !watch.finished.is_empty());
}

#[test]
#[ignore = "needs root and PHP"]
fn workers_that_end_too_soon_to_be_counted_are_not_said_to_be_cheap() {
    let _alone = alone();
    let fpm = PhpFpm::start(options(Pool { max_requests: 1, ..Pool::new(POOL, 2) }));
    let mut watch = watch(&fpm);
    let exact = under_load(2, || get(&fpm), || outcome(&mut watch, order(TraceOrder::Price)));
    match exact.state {
        // One was caught that lived on.
        ExactState::Priced => assert!(exact.calls_per_cpu_s.unwrap() > 1e4, "{exact:?}"),
        state => {
            assert_eq!(state, ExactState::Unavailable);
            assert!(exact.reason.contains("pm.max_requests"), "{exact:?}");
        }
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn a_server_without_the_variable_is_not_traced_and_the_way_to_it_is_said() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new(POOL, 2)], ..FpmOptions::default() });
    let mut watch = watch(&fpm);
    for order in [order(TraceOrder::Price), order(TraceOrder::Start)] {
        let exact = outcome(&mut watch, order);
        assert_eq!((exact.state, exact.candidates), (ExactState::Unavailable, 0), "{exact:?}");
        assert!(exact.reason.contains("no process that can be traced is running"), "{exact:?}");
    }
    let target = watch.last.targets.iter().find(|target| target.pids.contains(&fpm.master())).unwrap();
    let master = target.masters.iter().find(|master| master.pid == fpm.master()).unwrap();
    assert!(master.reason.contains("USE_ZEND_DTRACE=1"), "{master:?}");
    assert!(
        master.hint.iter().any(|line| line.contains("USE_ZEND_DTRACE=1") && line.contains("php-fpm")),
        "{master:?}"
    );
}

#[test]
#[ignore = "needs root and PHP"]
fn a_second_tool_without_the_semaphore_is_named_when_tracing_is_to_begin() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = options(Pool::new(POOL, 1));
    let binary = folder.path().join("php-fpm");
    std::fs::copy(&options.binary, &binary).unwrap();
    let fpm = PhpFpm::start(FpmOptions { binary: binary.clone(), ..options });
    let mut watch = watch(&fpm);
    let mut ebpf = aya::Ebpf::load_file(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/tusktop.bpf.o")).unwrap();
    let other: &mut aya::programs::UProbe = ebpf.program_mut("request").unwrap().try_into().unwrap();
    other.load().unwrap();
    let link = other
        .attach(copies::site(&binary, "function__entry"), &binary, aya::programs::uprobe::UProbeScope::AllProcesses)
        .unwrap();
    let exact = under_load(2, || get(&fpm), || outcome(&mut watch, order(TraceOrder::Start)));
    assert_eq!(exact.state, ExactState::Unavailable, "{exact:?}");
    assert!(exact.reason.contains("another tool is attached") && exact.reason.contains("bpftool"), "{exact:?}");
    let target = watch.last.targets.iter().find(|target| target.pids.contains(&fpm.master())).unwrap();
    assert_eq!(target.tiers[Tier::Requests].state, TierState::On, "the other tiers go on");
    other.detach(link).unwrap();
    wait_until(
        PATIENCE,
        || "it can be traced as soon as the other tool has gone".to_owned(),
        || under_load(2, || get(&fpm), || outcome(&mut watch, order(TraceOrder::Start))).state == ExactState::Tracing,
    );
}
