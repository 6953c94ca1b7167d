//! What happens far too often to be counted each time: it costs PHP little, the numbers say that they are too low, and when it
//! is over everything is counted again.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use crate::servers::{FpmOptions, PhpCli, PhpFpm, Pool, Request, alone};
use crate::watch::Watch;
use tusktop::model::{NoticeKind, Tier, TierState, TierStatus};

const STORM: u64 = 1_000_000;

fn start() -> (PhpFpm, Watch) {
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], opcache: false, ..FpmOptions::default() });
    fs::write(fpm.site().document_root().join("empty.php"), "<?php\n").unwrap();
    let watch = Watch::start(0, fpm.site().path());
    (fpm, watch)
}

fn run(fpm: &PhpFpm, case: &str, count: u64) {
    let request = Request::get(&format!("/storm.php?case={case}&count={count}")).script("storm.php");
    assert_eq!(fpm.send("www", &request).status, 200);
}

/// The tier of the php-fpm of the test.
fn status<'a>(watch: &'a Watch, fpm: &PhpFpm, tier: Tier) -> &'a TierStatus {
    let worker = fpm.workers("www")[0];
    let target = watch.last.targets.iter().find(|target| target.pids.contains(&worker));
    &target.expect("php-fpm is observed").tiers[tier]
}

/// A storm of `count` is not counted in full, and says so; a few that come after it are all counted.
fn is_governed(case: &str, tier: Tier, count: u64, counted: impl Fn(&Watch) -> u64) {
    let _alone = alone();
    let (fpm, mut watch) = start();
    run(&fpm, case, 10);
    watch.until("what comes before is counted", |watch| counted(watch) == 10);
    assert_eq!(status(&watch, &fpm, tier).counted_percent, None);
    run(&fpm, case, count);
    watch.until("the tier has rested", |watch| status(watch, &fpm, tier).counted_percent.is_some());
    watch.until("the tier counts again", |watch| status(watch, &fpm, tier).state == TierState::On);
    // What was counted before it rested is there by now.
    watch.read();
    let stormed = counted(&watch);
    assert!(stormed > 10 && stormed < count / 2, "{stormed} of {count} were counted");
    run(&fpm, case, 100);
    watch.until("what comes afterwards is counted", |watch| counted(watch) == stormed + 100);
}

fn failures(watch: &Watch) -> u64 {
    watch.failures.iter().map(|failure| failure.count).sum()
}

#[test]
#[ignore = "needs root and PHP"]
fn a_storm_of_errors_is_not_counted_in_full_and_says_so() {
    is_governed("errors", Tier::Errors, STORM, failures);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_storm_of_exceptions_is_not_counted_in_full_and_says_so() {
    is_governed("exceptions", Tier::Exceptions, STORM, failures);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_storm_of_compiled_files_is_not_counted_in_full_and_says_so() {
    let compiled = |watch: &Watch| -> u64 {
        let of_test = watch.compiles.iter().filter(|compile| compile.what.file.ends_with("/empty.php"));
        of_test.map(|compile| compile.count).sum()
    };
    is_governed("compiles", Tier::Compiles, STORM / 5, compiled);
}

#[test]
#[ignore = "needs root and PHP"]
fn of_a_storm_of_waits_some_are_noted_and_the_time_of_all_is_right() {
    let _alone = alone();
    let (fpm, mut watch) = start();
    let mut estimated = false;
    while !estimated {
        let before = watch.finished.len();
        run(&fpm, "waits", 20_000);
        watch.until("the request has ended", |watch| watch.finished.len() > before);
        estimated = watch.last.notices.iter().any(|notice| notice.kind == NoticeKind::WaitsEstimated);
    }
    let request = watch.finished.last().expect("it has ended");
    // Each wait ends when the thread is on the CPU again. The kernel counts its CPU time from the moment at which it was woken up,
    // some microseconds earlier: waits and CPU time together may be more than the duration, the waits alone may not.
    let least = request.duration_ns - request.cpu_ns.expect("the CPU time is known");
    let wait_ns = request.request.wait_ns;
    assert!(wait_ns <= request.duration_ns, "{wait_ns} of {} ns", request.duration_ns);
    assert!(wait_ns as f64 > 0.8 * least as f64, "{wait_ns} of at least {least} ns");
}

/// A shell that starts programs without end.
struct Starter(Child);

impl Starter {
    fn start() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do /bin/true; done"]).stdin(Stdio::null());
        Self(command.spawn().expect("there is a shell"))
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn php_that_starts_in_a_storm_of_programs_is_found() {
    let _alone = alone();
    let (_fpm, mut watch) = start();
    let _storm: Vec<Starter> = (0..8).map(|_| Starter::start()).collect();
    watch.until("not each start is looked at", |watch| {
        watch.last.notices.iter().any(|notice| notice.kind == NoticeKind::StartsMissed)
    });
    let php = PhpCli::start("sleeper.php", &[]);
    watch.until("it is found", |watch| watch.last.processes.iter().any(|process| process.pid == php.pid()));
}

#[test]
#[ignore = "needs root and PHP"]
fn workers_that_are_forked_in_a_storm_leave_nothing_behind() {
    let _alone = alone();
    let (fpm, mut watch) = start();
    let php = PhpCli::start_traceable("forks.php", &["3000"]);
    watch.until("the script is found", |watch| watch.last.processes.iter().any(|process| process.pid == php.pid()));
    php.go();
    watch.until("all its children have ended", |_| php.output().contains("forked 3000"));
    let script = |watch: &Watch| {
        watch
            .last
            .processes
            .iter()
            .filter(|p| p.alive && p.script.as_deref().is_some_and(|s| s.ends_with("forks.php")))
            .count()
    };
    watch.until("only the script itself is left", |watch| script(watch) == 1);
    run(&fpm, "errors", 10);
    watch.until("others are counted as before", |watch| failures(watch) == 10);
}
