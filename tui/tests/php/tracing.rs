//! Exact tracing of a server under load: it keeps to its budget, takes the workers in turn, ends by itself and leaves
//! nothing behind.

use std::{collections::BTreeSet, time::Duration};

use crate::loaded::{Before, TRACING};
use crate::servers::{
    FpmOptions, PATIENCE, PhpFpm, Pool, Request, alone, semaphore::semaphore, under_load, wait_until,
};
use crate::watch::Watch;
use rustix::process::{Pid, Signal, kill_process};
use tusktop::{
    collect::php::Order,
    model::{Exact, ExactState, TraceLimits, TraceOrder, TraceRequest},
};
use tusktop_shared::{Request as RunningRequest, Wait};

const POOL: &str = "traced";

/// php-fpm with live function probes and one pool.
fn traceable(workers: u32) -> PhpFpm {
    let env = vec![("USE_ZEND_DTRACE".to_owned(), "1".to_owned())];
    PhpFpm::start(FpmOptions { pools: vec![Pool::new(POOL, workers)], env, ..FpmOptions::default() })
}

/// A collector that knows that php-fpm can be traced.
fn watch(fpm: &PhpFpm) -> Watch {
    let mut watch = Watch::start(0, fpm.site().path());
    let (master, workers) = (fpm.master(), fpm.workers(POOL));
    watch.until("its function probes are seen to be live, and its workers to be a pool", |watch| {
        watch.last.targets.iter().flat_map(|t| &t.masters).any(|m| m.pid == master && m.dtrace == Some(true))
            && workers
                .iter()
                .all(|pid| watch.last.processes.iter().any(|p| p.pid == *pid && p.pool.as_deref() == Some(POOL)))
    });
    watch
}

fn request() -> TraceRequest {
    TraceRequest { pool: Some(POOL.into()), ..TraceRequest::default() }
}

fn get(fpm: &PhpFpm, calls: u32) {
    let page = Request::get(&format!("/traced.php?calls={calls}")).script("traced.php");
    assert_eq!(fpm.send(POOL, &page).status, 200);
}

/// Begins to trace. A reading may overtake the order.
fn start(watch: &mut Watch, request: TraceRequest, budget: f64, seconds: u64) {
    let limits = TraceLimits { budget, limit: Duration::from_secs(seconds) };
    watch.order(Order { what: TraceOrder::Start(request), limits });
    watch.until("the order is followed", |watch| watch.last.exact.is_some());
}

/// A collector that traces one worker without a budget.
fn traced(fpm: &PhpFpm, worker: u32) -> Watch {
    let mut watch = watch(fpm);
    start(&mut watch, TraceRequest { pid: Some(worker), ..request() }, f64::INFINITY, 60);
    watch.until("it is traced", |watch| exact(watch).pids == [worker]);
    watch
}

fn exact(watch: &Watch) -> &Exact {
    watch.last.exact.as_ref().expect("it was asked for")
}

#[test]
#[ignore = "needs root and PHP"]
fn asking_for_the_price_does_not_end_a_trace() {
    let _alone = alone();
    let fpm = traceable(1);
    let worker = fpm.workers(POOL)[0];
    let mut watch = traced(&fpm, worker);
    let limits = TraceLimits { budget: 0.02, limit: Duration::from_secs(60) };
    watch.order(Order { what: TraceOrder::Price(request()), limits });
    get(&fpm, 100);
    watch.until("calls are traced on", |watch| watch.calls_of("step").calls >= 100);
    assert_eq!((exact(&watch).state, &*exact(&watch).pids), (ExactState::Tracing, &[worker][..]));
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[test]
#[ignore = "needs root and PHP"]
fn a_pool_under_load_is_traced_in_turn_within_the_budget_until_the_limit() {
    const BUDGET: f64 = 0.05;
    let _alone = alone();
    let before = Before::now();
    let fpm = traceable(3);
    let workers = fpm.workers(POOL);
    let mut watch = watch(&fpm);
    let mut seen: Vec<Exact> = Vec::new();
    under_load(
        3,
        || get(&fpm, 5000),
        || {
            start(&mut watch, request(), BUDGET, 16);
            watch.until("it has ended by itself", |watch| {
                seen.push(exact(watch).clone());
                exact(watch).state == ExactState::Ended
            });
        },
    );
    let end = seen.last().unwrap();
    assert!(end.reason.contains("its limit of 16 s is reached") && end.pids.is_empty(), "{end:?}");
    assert!(end.calls > 0 && end.calls_per_cpu_s.unwrap() > 0.0 && end.slowdown.unwrap() > 1.0, "{end:?}");
    let part = end.traced_ratio.unwrap();
    assert!(part > 0.0 && part < 1.0, "{end:?}");
    let [steps, step] = ["steps", "step"].map(|name| watch.calls_of(name));
    assert!(step.calls > 0 && step.total_ns < steps.total_ns, "{step:?} {steps:?}");

    let traced: BTreeSet<u32> = seen.iter().flat_map(|exact| &exact.pids).copied().collect();
    assert!(traced.len() >= 2 && traced.iter().all(|pid| workers.contains(pid)), "{traced:?} of {workers:?}");
    // A slice only begins when all before it are paid. One whose end is seen late, because the host took the CPU away, costs
    // more than was saved, and is paid by a longer pause: so what counts is where slices begin, and the usual value.
    let begun = seen.windows(2).filter(|pair| pair[0].pids.is_empty() && !pair[1].pids.is_empty());
    let paid: Vec<f64> = begun.filter_map(|pair| pair[0].spent_ratio).collect();
    assert!(paid.len() >= 2 && paid.iter().all(|&spent| spent <= BUDGET * 1.1), "{paid:?}");
    let mut late: Vec<f64> = seen[seen.len() / 2..].iter().filter_map(|exact| exact.spent_ratio).collect();
    late.sort_by(f64::total_cmp);
    assert!(late[0] > 0.0 && late[0] <= BUDGET && late[late.len() / 2] <= BUDGET * 1.5, "{late:?}");
    assert!(seen.iter().any(|exact| exact.state == ExactState::Tracing && exact.pids.is_empty()), "it pauses");

    assert!(before.has_new(&TRACING));
    assert_eq!(before.links(&TRACING), 0, "nothing is attached any more");
    for &pid in &workers {
        assert_eq!(semaphore(pid, fpm.binary(), "function__entry"), 0, "of worker {pid}");
        assert!(semaphore(pid, fpm.binary(), "request__startup") > 0, "the same look finds those that are attached");
    }
    get(&fpm, 10);
    let calls = watch.calls_of("step").calls;
    watch.read();
    assert_eq!(watch.calls_of("step").calls, calls, "what it does now is not traced");
}

#[test]
#[ignore = "needs root and PHP"]
fn while_one_worker_is_traced_the_others_run_without_a_trap() {
    let _alone = alone();
    let before = Before::now();
    let fpm = traceable(2);
    let workers = fpm.workers(POOL);
    let mut watch = traced(&fpm, workers[0]);
    assert_eq!(workers.iter().map(|&pid| semaphore(pid, fpm.binary(), "function__entry")).collect::<Vec<_>>(), [1, 0]);
    assert!(before.links(&TRACING) >= 2);
    watch.stop_tracing();
    watch.until("tracing has ended", |watch| exact(watch).state == ExactState::Ended);
    assert_eq!(workers.iter().map(|&pid| semaphore(pid, fpm.binary(), "function__entry")).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(before.links(&TRACING), 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn nothing_stays_attached_when_the_collector_ends_while_it_traces() {
    let _alone = alone();
    let before = Before::now();
    let fpm = traceable(1);
    let worker = fpm.workers(POOL)[0];
    let watch = traced(&fpm, worker);
    assert!(before.links(&TRACING) >= 2);
    watch.stop();
    wait_until(PATIENCE, || "the programs have gone".to_owned(), || !before.has_new(&TRACING));
    assert_eq!(semaphore(worker, fpm.binary(), "function__entry"), 0);
    get(&fpm, 10);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_worker_killed_while_it_is_traced_leaves_nothing_and_its_calls_end_with_it() {
    let _alone = alone();
    let before = Before::now();
    let fpm = traceable(1);
    let worker = fpm.workers(POOL)[0];
    let mut watch = traced(&fpm, worker);
    let of = |keys: Vec<u64>| keys.into_iter().filter(|key| (key >> 32) as u32 == worker).count();
    let waiting = || of(before.threads::<{ size_of::<Wait>() }>("WAITING"));
    let running = || of(before.threads::<{ size_of::<RunningRequest>() }>("REQUESTS"));
    let slow = Request::get("/traced.php?calls=100&ms=60000").script("traced.php");
    std::thread::scope(|scope| {
        let client = scope.spawn(|| std::panic::catch_unwind(|| fpm.send(POOL, &slow)));
        watch.until("it sleeps inside a traced call", |watch| {
            watch.calls_of("step").calls == 100 && !watch.last.running.is_empty()
        });
        wait_until(PATIENCE, || "it is among those that wait".to_owned(), || waiting() == 1 && running() == 1);
        kill(worker);
        assert!(client.join().unwrap().is_err(), "it was killed before it answered");
    });
    watch.until("its slot is free", |watch| exact(watch).pids.is_empty());
    watch.until("it is forgotten", |watch| watch.last.processes.iter().all(|process| process.pid != worker));
    assert_eq!((waiting(), running(), before.links(&TRACING)), (0, 0, 0));
    assert!(watch.last.running.is_empty());
    assert_eq!(watch.finished.iter().map(|f| (f.request.pid, f.aborted)).collect::<Vec<_>>(), [(worker, true)]);
    // The calls that were open end when it ended, not when that was noticed.
    let [main, dawdle] = ["{main}", "dawdle"].map(|name| watch.calls_of(name));
    assert_eq!((main.calls, dawdle.calls), (1, 1), "{:#?}", watch.calls);
    let duration_ns = watch.finished[0].duration_ns;
    assert!(dawdle.total_ns <= main.total_ns && main.total_ns <= duration_ns, "{main:?} of {duration_ns} ns");
    let waits: u64 = watch.stacks_of(worker).map(|count| count.wait_ns).sum();
    assert!(waits <= duration_ns, "{waits} of {duration_ns} ns");
    watch.read();
    watch.read();
    assert_eq!(watch.stacks_of(worker).map(|count| count.wait_ns).sum::<u64>(), waits, "a ghost does not wait");
}

#[test]
#[ignore = "needs root and PHP"]
fn the_worker_that_follows_a_killed_one_is_traced_in_its_place() {
    let _alone = alone();
    let fpm = traceable(1);
    let mut watch = watch(&fpm);
    under_load(
        1,
        || get(&fpm, 2000),
        || {
            start(&mut watch, request(), f64::INFINITY, 60);
            watch.until("it is traced", |watch| !exact(watch).pids.is_empty());
            let first = exact(&watch).pids.clone();
            assert_eq!(first, fpm.workers(POOL));
            kill(first[0]);
            watch.until("the next one is traced", |watch| {
                let pids = &exact(watch).pids;
                !pids.is_empty() && !pids.contains(&first[0])
            });
            let calls = watch.calls_of("step").calls;
            watch.until("its calls are counted", |watch| watch.calls_of("step").calls > calls + 2000);
        },
    );
}
