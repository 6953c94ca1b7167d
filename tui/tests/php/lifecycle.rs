//! PHP and tusktop come and go: what starts later is seen, and nothing stays attached.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::loaded::{held_by, programs};
use crate::servers::{FpmOptions, PATIENCE, PhpCli, PhpFpm, Pool, alone, copies, wait_until};
use crate::watch::Watch;
use tusktop::model;

/// What we load. Every attached probe and timer holds its program.
const PROGRAMS: [&str; 6] = ["fork", "exec", "exit", "switch", "request", "sample"];

/// Waits until a process holds a program of each of our names, and returns them; another tusktop may have some, too.
fn loaded_by(pid: u32) -> BTreeSet<u32> {
    let its = || &programs(|name| PROGRAMS.contains(&name)) & &held_by(pid).programs;
    wait_until(PATIENCE, || "tusktop loads its programs".to_owned(), || its().len() == PROGRAMS.len());
    its()
}

fn assert_gone(programs_of_ours: &BTreeSet<u32>) {
    wait_until(
        PATIENCE,
        || format!("{:?} are still in the kernel", programs_of_ours),
        || programs(|_| true).is_disjoint(programs_of_ours),
    );
}

#[test]
#[ignore = "needs root and PHP"]
fn a_php_fpm_started_later_is_seen_and_one_restarted_is_seen_again() {
    let _alone = alone();
    let mut watch = Watch::start(0, Path::new("/"));
    let mut fpm = PhpFpm::start(FpmOptions::default());
    let page = fpm.site().page("index.php");
    let seen = |watch: &Watch, uri: &str| {
        watch.finished.iter().any(|finished| finished.request.uri == uri && Path::new(&finished.request.script) == page)
    };
    let followed = |watch: &Watch, family: &[u32]| {
        watch
            .last
            .targets
            .iter()
            .any(|target| &*target.sapi == "fpm" && family.iter().all(|pid| target.pids.contains(pid)))
    };
    let family = |fpm: &PhpFpm| fpm.family().iter().map(|process| process.pid).collect::<Vec<_>>();
    watch.until("the new php-fpm is followed, master and workers", |watch| followed(watch, &family(&fpm)));
    fpm.get("www", "/post/1");
    watch.until("its first request is seen", |watch| seen(watch, "/post/1"));
    fpm.restart();
    fpm.get("www", "/post/2");
    watch.until("it is seen after a restart", |watch| seen(watch, "/post/2"));
    fpm.reload();
    fpm.get("www", "/post/3");
    watch.until("it is seen after a reload", |watch| seen(watch, "/post/3"));
    let family = family(&fpm);
    watch.until("its processes are followed", |watch| followed(watch, &family));
    fpm.stop();
    watch.until("its processes are forgotten", |watch| {
        watch.last.targets.iter().all(|target| target.pids.iter().all(|pid| !family.contains(pid)))
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn a_replaced_binary_is_watched_in_its_old_and_its_new_form() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("php-fpm");
    let options = FpmOptions::default();
    std::fs::copy(&options.binary, &binary).unwrap();
    let old = PhpFpm::start(FpmOptions { binary: binary.clone(), ..options.clone() });
    // As a package manager does: another file takes the name, and the running processes keep the old one.
    let next = folder.path().join("php-fpm.new");
    std::fs::copy(&options.binary, &next).unwrap();
    std::fs::rename(&next, &binary).unwrap();
    let mut watch = Watch::start(0, Path::new("/"));
    let new = PhpFpm::start(FpmOptions { binary, ..options });
    let workers = [old.workers("www"), new.workers("www")].concat();
    watch.until("both are followed", |watch| {
        let targets = &watch.last.targets;
        workers.iter().all(|pid| targets.iter().any(|target| target.pids.contains(pid)))
    });
    for _ in 0..5 {
        old.get("www", "/post/old");
        new.get("www", "/post/new");
    }
    watch.until("both are seen", |watch| {
        let count = |uri: &str| {
            let finished = watch.finished.iter().filter(|finished| workers.contains(&finished.request.pid));
            finished.filter(|finished| finished.request.uri == uri).count()
        };
        (count("/post/old"), count("/post/new")) == (5, 5)
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn the_first_requests_of_a_replaced_program_are_counted_after_a_reload() {
    const REQUESTS: usize = 20;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("php-fpm");
    let options = FpmOptions::default();
    std::fs::copy(&options.binary, &binary).unwrap();
    let mut fpm = PhpFpm::start(FpmOptions { binary: binary.clone(), ..options.clone() });
    let mut watch = Watch::start(0, fpm.site().path());
    for round in 0..3 {
        let next = folder.path().join("php-fpm.new");
        copies::stripped(&options.binary, &next);
        std::fs::rename(&next, &binary).unwrap();
        // What is in the place of a program is looked at once a tick.
        watch.read();
        fpm.reload();
        let uri = format!("/post/{round}");
        for _ in 0..REQUESTS {
            assert_eq!(fpm.get("www", &uri).status, 200);
        }
        let count = |watch: &Watch| watch.finished.iter().filter(|finished| finished.request.uri == uri).count();
        watch.until("all are seen", |watch| count(watch) >= REQUESTS);
        watch.read();
        assert_eq!(count(&watch), REQUESTS);
    }
    assert_eq!(watch.dropped, 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_build_without_usdt_is_watched_through_its_functions() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = FpmOptions::default();
    let binary = folder.path().join("php-fpm");
    copies::without_probes(&options.binary, &binary);
    let fpm = PhpFpm::start(FpmOptions { binary, ..options });
    let worker = fpm.workers("www");
    let mut watch = Watch::start(997, fpm.site().path());
    for (uri, status) in [("/post/7?x=1", 200), ("/status/404", 404), ("/throw", 500), ("/burn?ms=300", 200)] {
        assert_eq!(fpm.get("www", uri).status, status);
    }
    watch.until("all requests are seen", |watch| watch.finished.len() == 4);
    let target = watch.last.targets.iter().find(|target| target.pids.contains(&worker[0])).unwrap();
    assert_eq!(target.tiers[model::Tier::Requests].seen_by, Some(model::SeenBy::Symbol));
    // A request ends after its answer, so those of two workers may end in any order.
    let mut seen: Vec<_> = watch.finished.iter().map(|f| (f.request.uri.as_str(), f.status)).collect();
    seen.sort_unstable();
    let ended = [("/burn?ms=300", 200), ("/post/7?x=1", 200), ("/status/404", 404), ("/throw", 500)];
    assert_eq!(seen, ended.map(|(uri, status)| (uri, Some(status))));
    assert!(watch.finished.iter().all(|finished| finished.request.method == "GET"));
    let script = fpm.site().page("index.php");
    assert!(watch.finished.iter().all(|finished| finished.request.script == script.to_str().unwrap()));
    let burned: u64 = worker.iter().filter_map(|&pid| watch.self_samples(pid).get("burn").copied()).sum();
    assert!(burned > 100, "{burned} samples of burn()");
}

#[test]
#[ignore = "needs root and PHP"]
fn two_paths_of_one_file_count_once() {
    let _alone = alone();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = FpmOptions::default();
    let (first, second) = (folder.path().join("php-fpm-a"), folder.path().join("php-fpm-b"));
    std::fs::copy(&options.binary, &first).unwrap();
    std::fs::hard_link(&first, &second).unwrap();
    let a = PhpFpm::start(FpmOptions { binary: first, ..options.clone() });
    let b = PhpFpm::start(FpmOptions { binary: second, ..options });
    let mut watch = Watch::start(0, Path::new("/"));
    a.get("www", "/post/1");
    b.get("www", "/post/2");
    let pids: Vec<_> = [a.workers("www"), b.workers("www")].concat();
    let seen = |watch: &Watch| watch.finished.iter().filter(|finished| pids.contains(&finished.request.pid)).count();
    watch.until("both are seen", |watch| seen(watch) >= 2);
    watch.read();
    assert_eq!(seen(&watch), 2);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_pid_that_becomes_another_program_is_no_longer_php() {
    let _alone = alone();
    let script = PhpCli::start_traceable("becomes.php", &["/bin/sh", "-c", "echo became; while :; do :; done"]);
    let pid = script.pid();
    let mut watch = Watch::start(997, script.page("").as_path());
    watch.until("it is sampled as PHP", |watch| watch.self_samples(pid).get("busy").is_some_and(|&n| n > 20));
    script.go();
    wait_until(PATIENCE, || "it has become a shell".to_owned(), || script.output().contains("became"));
    watch.until("it is forgotten", |watch| watch.last.processes.iter().all(|process| process.pid != pid));
    let samples: u64 = watch.stacks_of(pid).map(|count| count.samples).sum();
    let cpu = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let began = cpu();
    watch.until("the shell has used 200 ms of CPU time", |_| cpu() > began + 200_000_000);
    assert_eq!(watch.stacks_of(pid).map(|count| count.samples).sum::<u64>(), samples);
    assert!(watch.last.running.iter().all(|request| request.pid != pid));
    assert!(watch.last.targets.iter().all(|target| !target.pids.contains(&pid)));
    assert_eq!(watch.dropped, 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn nothing_stays_attached_when_the_collector_ends() {
    let _alone = alone();
    let _fpm = PhpFpm::start(FpmOptions::default());
    let watch = Watch::start(99, Path::new("/"));
    let ours = loaded_by(std::process::id());
    watch.stop();
    assert_gone(&ours);
}

/// `tusktop snap` that runs for long; its child is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn nothing_stays_attached_after_a_kill() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let mut tusktop = Running(
        Command::new(env!("CARGO_BIN_EXE_tusktop")).args(["snap", "-d", "60s"]).stdout(Stdio::null()).spawn().unwrap(),
    );
    let ours = loaded_by(tusktop.0.id());
    tusktop.0.kill().unwrap();
    tusktop.0.wait().unwrap();
    assert_gone(&ours);
    assert_eq!(fpm.get("www", "/post/1").status, 200, "PHP goes on");
}

#[test]
#[ignore = "needs root and PHP"]
fn a_snapshot_of_the_command_line_holds_the_requests_and_the_hot_function() {
    let _alone = alone();
    // No other server on the machine has a pool of this name.
    const POOL: &str = "snapped";
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new(POOL, 2)], ..FpmOptions::default() });
    let mut tusktop = Command::new(env!("CARGO_BIN_EXE_tusktop"))
        .args(["snap", "-d", "3s", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    loaded_by(tusktop.id());
    let mut line = String::new();
    let output = tusktop.stdout.take().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fpm.get(POOL, "/burn?ms=20");
            }
        });
        BufReader::new(output).read_line(&mut line).unwrap();
        done.store(true, Ordering::Relaxed);
        load.join().unwrap();
    });
    assert!(tusktop.wait().unwrap().success());
    let snapshot = model::Snapshot::read(line.as_bytes()).unwrap();
    let name = format!("php-fpm: {POOL}");
    let group = snapshot.groups.iter().find(|group| *group.name == *name).expect("the pool is a group");
    assert_eq!(group.processes, 2);
    let mut routes = snapshot.php.routes.iter().filter(|route| *route.key.group == *name);
    let route = routes.find(|route| &*route.key.route == "/burn").expect("the route is there");
    assert_eq!(&*route.key.method, "GET");
    // Other PHP on the machine may be hotter.
    let site = fpm.site().path().to_str().unwrap();
    let functions = snapshot.php.functions.iter().filter(|function| function.key.file.starts_with(site));
    let hottest = functions.max_by_key(|function| function.self_samples).unwrap();
    assert_eq!(&*hottest.key.name, "burn");
    let workers = snapshot.php.workers.iter().filter(|worker| fpm.workers(POOL).contains(&worker.pid));
    let served = workers.filter_map(|worker| worker.requests).sum::<u64>();
    assert!(route.requests >= 5 && served >= route.requests, "{served} of {}", route.requests);
}
