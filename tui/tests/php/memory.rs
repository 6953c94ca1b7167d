//! What requests take of memory: peaks are what PHP itself says, growth is charged to the function that takes it, and a pool is counted
//! with what its requests need.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tusktop::{
    collect::php::{RequestMemory, StackCount},
    model::{FitsUnknown, ForecastLimit, MemoryUnknown, Php, Pool as PoolFacts, Snapshot, Tier, TierState},
};

use crate::servers::{FpmOptions, PhpFpm, Pool, Request, alone, copies, under_load};
use crate::watch::{Watch, full_name};

const MIB: u64 = 1 << 20;

/// The page that takes so much memory.
fn taking(query: &str) -> Request {
    Request::get(&format!("/memory.php?{query}")).script("memory.php")
}

/// A pool of one worker, so that what it keeps from one request is there in the next.
fn one_worker(binary: &Path) -> PhpFpm {
    let options = FpmOptions::default();
    let ini = vec![("memory_limit".to_owned(), "512M".to_owned())];
    PhpFpm::start(FpmOptions { binary: binary.to_owned(), pools: vec![Pool::new("www", 1)], ini, ..options })
}

#[test]
#[ignore = "needs root and PHP"]
fn the_peak_of_a_request_is_what_php_itself_says() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (stripped, nameless) = (folder.path().join("php-fpm-stripped"), folder.path().join("php-fpm-without"));
    copies::stripped(&FpmOptions::default().binary, &stripped);
    copies::without_probes(&FpmOptions::default().binary, &nameless);
    for binary in [stripped, nameless] {
        let fpm = one_worker(&binary);
        let mut watch = Watch::start(0, fpm.site().path());
        // A big request before a small one: what the worker keeps of it is not the small one's.
        let queries = ["mib=3", "mib=60", "mib=1", "mib=120&again=9", "mib=2&late=40"];
        let said: Vec<u64> = queries.map(|query| fpm.send("www", &taking(query)).body.parse().unwrap()).to_vec();
        watch.until("all are seen", |watch| watch.finished.len() == queries.len());
        for ((query, said), finished) in queries.iter().zip(said).zip(&watch.finished) {
            let RequestMemory::Known { peak_bytes, limit_bytes, .. } = finished.request.memory else {
                panic!("{query}: {:?}", finished.request.memory)
            };
            assert!(
                peak_bytes.abs_diff(said) * 100 <= said,
                "{query} of {}: {peak_bytes} and {said}",
                binary.display()
            );
            assert_eq!(limit_bytes, Some(512 * MIB));
        }
        let target = watch.last.targets.iter().find(|target| target.pids.contains(&fpm.master())).unwrap();
        assert_eq!((target.tiers[Tier::Peaks].state, &*target.tiers[Tier::Peaks].reason), (TierState::On, ""));
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn with_another_allocator_the_peak_is_unknown_and_not_nothing() {
    let _alone = alone();
    let env = vec![("USE_ZEND_ALLOC".to_owned(), "0".to_owned())];
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], env, ..FpmOptions::default() });
    let mut watch = Watch::start(0, fpm.site().path());
    fpm.send("www", &taking("mib=20"));
    watch.until("it is seen", |watch| !watch.finished.is_empty());
    assert_eq!(watch.finished[0].request.memory, RequestMemory::OtherAllocator);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_request_whose_worker_is_killed_has_its_peak_where_the_kernel_tells_of_the_end_in_time() {
    let _alone = alone();
    let fpm = one_worker(&FpmOptions::default().binary);
    let worker = fpm.workers("www")[0];
    let said: u64 = fpm.send("www", &taking("mib=60")).body.parse().unwrap();
    let mut watch = Watch::start(0, fpm.site().path());
    let resident = || {
        let statm = fs::read_to_string(format!("/proc/{worker}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * rustix::param::page_size() as u64
    };
    std::thread::scope(|scope| {
        let client = scope.spawn(|| std::panic::catch_unwind(|| fpm.send("www", &taking("mib=60&sleep=60"))));
        let sleeps = || {
            let call = fs::read_to_string(format!("/proc/{worker}/syscall")).unwrap_or_default();
            call.split(' ').next() == Some(&libc::SYS_clock_nanosleep.to_string())
        };
        watch.until("it has all its memory", |watch| {
            !watch.last.running.is_empty() && resident() > 60 * MIB && sleeps()
        });
        kill_process(Pid::from_raw(worker.cast_signed()).unwrap(), Signal::KILL).unwrap();
        watch.until("it has ended", |watch| !watch.finished.is_empty());
        assert!(client.join().unwrap().is_err(), "it was killed before it answered");
    });
    let finished = &watch.finished[0];
    assert!(finished.aborted);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    // Since then `sched_process_exit` comes before memory is given back.
    if (numbers.next(), numbers.next()) >= (Some(6), Some(16)) {
        let peak = finished.request.memory.peak_bytes().unwrap();
        assert!(peak.abs_diff(said) * 100 <= said, "{peak} and {said}");
    } else {
        assert_eq!(finished.request.memory, RequestMemory::Gone);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn with_another_allocator_the_report_says_why_peaks_and_capacity_are_unknown() {
    let _alone = alone();
    let env = vec![("USE_ZEND_ALLOC".to_owned(), "0".to_owned())];
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 2)], env, ..FpmOptions::default() });
    let served = snapshot(1, || drop(fpm.send("www", &taking("mib=2"))));
    let of_pool = pool(&served.php, &fpm);
    assert_eq!((of_pool.fits, of_pool.fits_unknown), (None, Some(FitsUnknown::OtherAllocator)), "{of_pool:?}");
    let workers = fpm.workers("www");
    let finished: Vec<_> =
        served.php.requests.iter().filter(|request| request.finished && workers.contains(&request.pid)).collect();
    assert!(!finished.is_empty());
    for request in finished {
        let memory = (request.memory_peak_bytes, request.memory_unknown);
        assert_eq!(memory, (None, Some(MemoryUnknown::OtherAllocator)));
    }
}

/// It fills 120 MiB a minute; a minute has to be seen before that is said.
#[test]
#[ignore = "needs root and PHP"]
fn the_worker_of_a_queue_that_keeps_memory_has_its_growth_and_says_when_its_limit_is_reached() {
    let _alone = alone();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php/scripts/consume.php");
    let mut consumer =
        Command::new("php").args(["-d", "memory_limit=1G"]).arg(script).stdin(Stdio::null()).spawn().unwrap();
    let seen = snapshot_of("65s", 0, || {});
    consumer.kill().unwrap();
    consumer.wait().unwrap();
    let request = seen.php.requests.iter().find(|request| request.pid == consumer.id()).unwrap();
    let of = |growth: Option<i64>| growth.and_then(|growth| u64::try_from(growth).ok()).unwrap_or(0);
    let resident = of(request.rss_growth_bytes_per_minute);
    assert!(resident.abs_diff(120 * MIB) < 20 * MIB, "{request:?}");
    // Three of the strings are in a chunk of 2 MiB.
    let in_php = of(request.growth_bytes_per_minute);
    assert!(in_php.abs_diff(160 * MIB) < 20 * MIB, "{request:?}");
    let forecast = seen.forecast(request).unwrap();
    assert_eq!(forecast.limit, ForecastLimit::Php);
    let left = (1024 * MIB - request.memory_bytes.unwrap()) * 60 / in_php;
    assert_eq!(forecast.seconds, left);
}

#[test]
#[ignore = "needs root and PHP"]
fn the_function_that_takes_memory_has_the_growth_and_one_that_uses_it_again_has_none() {
    let _alone = alone();
    let fpm = one_worker(&FpmOptions::default().binary);
    let worker = fpm.workers("www")[0];
    let mut watch = Watch::start(99, fpm.site().path());
    let said: u64 = fpm.send("www", &taking("mib=100&again=4000")).body.parse().unwrap();
    watch.until("it is seen", |watch| !watch.finished.is_empty());
    watch.read();
    let with = |count: &StackCount, name: &str| count.stack.frames.iter().any(|frame| full_name(frame) == name);
    let again: u64 = watch.stacks_of(worker).filter(|c| with(c, "again")).map(|count| count.growth_bytes).sum();
    let alone = watch.stacks_of(worker).filter(|count| with(count, "take") && !with(count, "again"));
    let take: u64 = alone.map(|count| count.growth_bytes).sum();
    let all: u64 = watch.stacks_of(worker).map(|count| count.growth_bytes).sum();
    assert!(all > 95 * MIB && all < said, "{all} of {said}");
    assert!(take * 100 >= all * 95, "take {take}, again {again}, all {all}");
    // Charged to the request, and so to its route.
    let of_request = watch.stacks_of(worker).filter(|count| count.request.is_some());
    assert!(of_request.map(|count| count.growth_bytes).sum::<u64>() * 100 >= all * 99);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_request_that_exceeds_its_limit_is_named_with_its_place_and_its_peak() {
    let _alone = alone();
    let ini = vec![("memory_limit".to_owned(), "32M".to_owned())];
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ini, ..FpmOptions::default() });
    let mut watch = Watch::start(0, fpm.site().path());
    let mut exhausted = Vec::new();
    fpm.send("www", &taking("mib=8"));
    fpm.send("www", &taking("mib=100"));
    watch.until("both are seen", |watch| {
        exhausted.extend(watch.last.exhausted.iter().cloned());
        watch.finished.len() == 2
    });
    exhausted.dedup();
    assert_eq!(exhausted.len(), 1, "{exhausted:?}");
    let (request, place) = &exhausted[0];
    assert!(request.uri.ends_with("mib=100") && place.file.ends_with("memory.php") && place.line == 7, "{place:?}");
    let peak = request.memory.peak_bytes().unwrap();
    assert!((28 * MIB..=32 * MIB).contains(&peak), "{peak}");
}

/// What `tusktop snap` says, which looks for some seconds while `during` goes on.
fn snapshot(clients: usize, during: impl Fn() + Sync) -> Snapshot {
    snapshot_of("5s", clients, during)
}

/// As [`snapshot`], of so much time.
pub fn snapshot_of(time: &str, clients: usize, during: impl Fn() + Sync) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("snapshot.json");
    let snap = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
        command.env("HOME", "/nonexistent").stdin(Stdio::null());
        let status = command.args(["snap", "-d", time, "--format", "json", "-o"]).arg(&report).status().unwrap();
        assert!(status.success());
    };
    under_load(clients, during, snap);
    Snapshot::read(&fs::read(&report).unwrap()).unwrap()
}

fn pool<'a>(php: &'a Php, fpm: &PhpFpm) -> &'a PoolFacts {
    php.pools.iter().find(|pool| pool.board.master == fpm.master()).unwrap()
}

#[test]
#[ignore = "needs root and PHP"]
fn a_pool_whose_requests_need_60_mib_is_counted_with_60_mib_a_worker() {
    let _alone = alone();
    let pools = vec![Pool::new("www", 4)];
    let fpm = PhpFpm::start(FpmOptions { pools, ..FpmOptions::default() });
    let rest = snapshot(0, || {});
    let at_rest = pool(&rest.php, &fpm);
    assert_eq!((at_rest.fits, at_rest.fits_unknown), (None, Some(FitsUnknown::FewRequests)), "{at_rest:?}");
    // Two chunks more than the strings: PHP's own.
    let served = snapshot(2, || drop(fpm.send("www", &taking("mib=56"))));
    let at_work = pool(&served.php, &fpm);
    let (request, each) = (at_work.request_bytes.unwrap(), at_work.worker_bytes.unwrap());
    assert!(at_work.requests_seen >= 20 && request > 56 * MIB, "{at_work:?}");
    assert!(each >= request && each < request + 40 * MIB, "{at_work:?}");
    let available = served.system.memory_available_bytes.unwrap();
    let fits = u64::from(at_work.fits.unwrap());
    assert!(fits >= available / each && fits <= available / each + 8, "{fits} of {}", available / each);
    let route = at_work.route.as_ref().unwrap();
    assert_eq!((&*route.method, &*route.route), ("GET", "/memory.php"));
    let memory = served.php.routes.iter().find(|route| &*route.key.route == "/memory.php").unwrap().memory.clone();
    assert!(memory.is_some_and(|memory| memory.max_bytes.abs_diff(request) < 2 * MIB));
}
