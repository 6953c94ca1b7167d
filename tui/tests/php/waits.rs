//! Waiting time of real PHP: it is as long as the script slept, and it is charged to the function that slept.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::servers::{FpmOptions, PhpCli, PhpFpm, Pool, alone};
use crate::watch::{Watch, full_name};

/// Waiting time of a process by the function on top.
fn self_waits(watch: &Watch, pid: u32) -> BTreeMap<String, u64> {
    let mut waits = BTreeMap::new();
    for count in watch.stacks_of(pid) {
        *waits.entry(count.stack.frames.first().map(|leaf| full_name(leaf)).unwrap_or_default()).or_default() +=
            count.wait_ns;
    }
    waits
}

/// As long as the script wanted to sleep, within 5 percent, and no longer than its clients waited: a busy machine wakes it late.
fn is_between(ns: u64, wanted: Duration, client: Duration) -> bool {
    (wanted * 19 / 20..=client).contains(&Duration::from_nanos(ns))
}

#[test]
#[ignore = "needs root and PHP"]
fn a_request_that_sleeps_200_ms_waits_200_ms_in_the_function_that_slept() {
    const REQUESTS: u32 = 10;
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    let worker = fpm.workers("www")[0];
    // No timer: waits need none.
    let mut watch = Watch::start(0, fpm.site().path());
    let mut clients = Vec::new();
    for _ in 0..REQUESTS {
        let asked = Instant::now();
        assert_eq!(fpm.get("www", "/slow?ms=200").status, 200);
        clients.push(asked.elapsed());
    }
    watch.until("all requests have ended", |watch| watch.finished.len() == REQUESTS as usize);
    for (finished, client) in watch.finished.iter().zip(&clients) {
        let wait_ns = finished.request.wait_ns;
        assert!(is_between(wait_ns, Duration::from_millis(200), *client), "{wait_ns} of {client:?}");
    }
    let waits = self_waits(&watch, worker);
    let all = clients.iter().sum();
    assert!(is_between(waits["usleep"], REQUESTS * Duration::from_millis(200), all), "{waits:?} of {all:?}");
    for count in watch.stacks_of(worker).filter(|count| full_name(&count.stack.frames[0]) == "usleep") {
        let names: Vec<_> = count.stack.frames.iter().map(|frame| full_name(frame)).collect();
        assert_eq!(names, ["usleep", "slow_query", "{main}"]);
        assert_eq!(count.request.as_ref().unwrap().uri, "/slow?ms=200");
    }
    assert_eq!(watch.dropped, 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_wait_is_charged_while_it_lasts() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    let worker = fpm.workers("www")[0];
    let mut watch = Watch::start(0, fpm.site().path());
    let client = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let asked = Instant::now();
            assert_eq!(fpm.get("www", "/slow?ms=1500").status, 200);
            asked.elapsed()
        });
        watch.until("half a second is charged while the request runs", |watch| {
            self_waits(watch, worker).get("usleep").is_some_and(|&ns| ns > 500_000_000)
        });
        assert!(watch.finished.is_empty());
        client.join().unwrap()
    });
    watch.until("the request has ended", |watch| watch.finished.len() == 1);
    // The last of it may be counted with the reading after the one that brought the end of the request.
    watch.read();
    let waits = self_waits(&watch, worker);
    assert!(is_between(waits["usleep"], Duration::from_millis(1500), client), "{waits:?} of {client:?}");
}

/// Nanoseconds that a process could have run but had no CPU (Documentation/scheduler/sched-stats.rst).
fn run_delay(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the process runs");
    text.split(' ').nth(1).and_then(|ns| ns.parse().ok()).expect("the second number is the delay")
}

#[test]
#[ignore = "needs root and PHP"]
fn cpu_and_waiting_make_up_the_duration_of_a_request() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    let worker = fpm.workers("www")[0];
    let mut watch = Watch::start(99, fpm.site().path());
    let queued = run_delay(worker);
    for uri in ["/slow?ms=120", "/recursive?depth=4&ms=120", "/memory?mib=8&ms=60"] {
        assert_eq!(fpm.get("www", uri).status, 200);
    }
    watch.until("all have ended", |watch| watch.finished.len() == 3);
    let queued = run_delay(worker) - queued;
    let (mut told, mut all) = (0, 0);
    for finished in &watch.finished {
        let its = finished.cpu_ns.unwrap() + finished.request.wait_ns;
        assert!(its <= finished.duration_ns + 1_000_000, "{finished:?}");
        (told, all) = (told + its, all + finished.duration_ns);
    }
    // What is missing is the time that the worker could have run but had no CPU.
    assert!((told + queued) * 20 >= all * 19, "{told} and {queued} in the queue of {all}");
}

#[test]
#[ignore = "needs root and PHP"]
fn waits_without_a_request_belong_to_the_script() {
    let _alone = alone();
    let script = PhpCli::start("sleeper.php", &[]);
    let mut watch = Watch::start(0, script.page("sleeper.php").parent().unwrap());
    watch.until("its waits are seen", |watch| {
        self_waits(watch, script.pid()).get("usleep").is_some_and(|&ns| ns > 300_000_000)
    });
}
