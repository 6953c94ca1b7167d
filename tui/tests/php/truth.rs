//! Sums that must come out: samples, durations and requests, each compared with what someone else counted.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::servers::{FpmOptions, PhpFpm, Pool, alone};
use crate::watch::Watch;
use tusktop::{aggregate::php::PhpAggregate, collect::php::PhpSample};

fn fpm(pool: Pool) -> PhpFpm {
    PhpFpm::start(FpmOptions { pools: vec![pool], ..FpmOptions::default() })
}

#[test]
#[ignore = "needs root and PHP"]
fn every_sample_that_was_taken_is_in_a_stack() {
    let _alone = alone();
    let fpm = fpm(Pool::new("www", 4));
    let workers = fpm.workers("www");
    let mut watch = Watch::start(997, fpm.site().path());
    // Other PHP on the machine is sampled, too, from the first reading on.
    let (mut taken, mut readings) = (watch.last.work.samples, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..workers.len() {
            // Short requests, so that stacks and requests change all the time.
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for uri in ["/recursive?depth=40&ms=7", "/names?ms=20", "/burn?ms=15", "/post/1"] {
                        assert_eq!(fpm.get("www", uri).status, 200);
                    }
                }
            });
        }
        watch.until("the maps have turned often and there are many samples", |watch| {
            taken += watch.last.work.samples;
            readings += 1;
            readings >= 60 && taken >= 5000
        });
        done.store(true, Ordering::Relaxed);
    });
    // Counters are read behind the maps: what was taken in between is in the next reading.
    let mut sums = Vec::new();
    watch.until("as many samples are in stacks as were taken", |watch| {
        taken += watch.last.work.samples;
        let counted: u64 = watch.stacks.iter().map(|count| count.samples).sum();
        assert!(counted <= taken, "{counted} of {taken} after {readings} turns of the maps");
        sums.push((counted, taken));
        counted == taken
    });
    assert_eq!(watch.dropped, 0, "{sums:?}");
    for pid in workers {
        assert!(watch.stacks_of(pid).map(|count| count.samples).sum::<u64>() > 0, "worker {pid} was busy");
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn the_99th_percentile_of_a_route_is_that_of_its_clients() {
    const CLIENTS: usize = 16;
    const REQUESTS: usize = 320;
    let _alone = alone();
    // More workers than clients: no request waits in a queue, which clients count and PHP does not see.
    let fpm = fpm(Pool::new("www", CLIENTS as u32 + 4));
    let mut watch = Watch::start(99, fpm.site().path());
    let next = AtomicUsize::new(0);
    // One in twenty takes 300 to 600 ms, 20 ms apart: a rank that is wrong by two or more is seen.
    let sleep_ms = |number: usize| if number.is_multiple_of(20) { 300 + number } else { 10 + number * 7 % 190 };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let client = || {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REQUESTS {
                    return times;
                }
                let response = fpm.get("www", &format!("/slow?ms={}", sleep_ms(number)));
                assert_eq!(response.status, 200);
                times.push(response.elapsed);
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    watch.until("all requests have ended", |watch| watch.finished.len() == REQUESTS);
    times.sort_unstable();
    let mut sleeps: Vec<usize> = (0..REQUESTS).map(sleep_ms).collect();
    sleeps.sort_unstable();
    let sample =
        PhpSample { targets: watch.last.targets.clone(), finished: watch.finished.clone(), ..PhpSample::default() };
    let php = PhpAggregate::default().update(sample, 1.0, &|_| None).php;
    let [route] = &php.routes[..] else { panic!("one route: {:?}", php.routes) };
    assert_eq!((&*route.key.route, route.requests), ("/slow", REQUESTS as u64));
    // A request takes at least as long as it sleeps, and its client waits for it: so it is with each rank. On an idle machine the
    // two are close together. What is left is the bucket of the histogram, and that PHP ends a request after its answer.
    let holds = |name: &str, rank: usize, ours: f64| {
        let (slept, theirs) = (sleeps[rank] as f64, times[rank].as_secs_f64() * 1e3);
        assert!(
            (slept * 0.97..=theirs * 1.03).contains(&ours),
            "{name}: {ours:.1} ms, slept {slept} ms, the clients' {theirs:.1} ms"
        );
    };
    for (name, q, ours) in [("p95", 0.95, route.duration_ms.p95), ("p99", 0.99, route.duration_ms.p99)] {
        holds(name, (q * REQUESTS as f64).ceil() as usize - 1, ours.unwrap());
    }
    holds("max", REQUESTS - 1, route.duration_ms.max.unwrap());
}

#[test]
#[ignore = "needs root and PHP"]
fn fifty_workers_that_live_for_one_request_each_lose_none() {
    // What could overflow does so within seconds: thousands of processes come and go, more than a map of 4 096 entries
    // holds if one of them stayed. A minute shows no more than that.
    const CHURN: Duration = Duration::from_secs(20);
    const CLIENTS: usize = 8;
    // No other server on the machine has a pool of this name.
    const POOL: &str = "churn";
    let _alone = alone();
    let fpm = fpm(Pool { max_requests: 1, ..Pool::new(POOL, 50) });
    let mut watch = Watch::start(99, fpm.site().path());
    let end = Instant::now() + CHURN;
    let sent = std::thread::scope(|scope| {
        let client = || {
            let mut sent = 0_usize;
            while Instant::now() < end {
                assert_eq!(fpm.get(POOL, "/post/1").status, 200);
                sent += 1;
            }
            sent
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        // A little more often than the screen does.
        while Instant::now() < end {
            watch.read();
            let ended: BTreeSet<_> =
                watch.last.finished.iter().map(|f| (f.request.pid, f.request.started_ns)).collect();
            let ghosts = watch.last.running.iter().filter(|request| ended.contains(&(request.pid, request.started_ns)));
            assert_eq!(ghosts.count(), 0, "a request runs or has ended, not both");
            std::thread::sleep(Duration::from_millis(250));
        }
        clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
    });
    watch.until("all requests are seen, or said to be lost", |watch| {
        watch.finished.len() + watch.dropped as usize >= sent && watch.last.running.is_empty()
    });
    watch.read();
    assert!(sent >= 500, "only {sent} requests in {CHURN:?}");
    let seen = watch.finished.len();
    assert!(seen <= sent && seen + watch.dropped as usize >= sent, "{seen} of {sent}, {} dropped", watch.dropped);
    assert!(watch.finished.iter().all(|f| f.status == Some(200) && !f.aborted && f.request.uri == "/post/1"));
    let mut pids: Vec<_> = watch.finished.iter().map(|f| (f.request.pid, f.request.started_ns)).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), seen, "none is there twice");
    if watch.dropped == 0 {
        watch.until("exactly those that live are followed", |watch| {
            let known = watch.last.processes.iter().filter(|p| p.pool.as_deref() == Some(POOL) && p.alive);
            let known: BTreeSet<u32> = known.map(|process| process.pid).collect();
            known.len() == 50 && known == fpm.workers(POOL).into_iter().collect()
        });
    }
}
