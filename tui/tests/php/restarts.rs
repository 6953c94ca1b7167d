//! Servers that reload their configuration: all tiers go on with the new workers as with the old ones.

use std::collections::BTreeSet;

use crate::servers::{Apache, FpmOptions, PhpFpm, Pool, Response, alone};
use crate::watch::{Watch, full_name};
use tusktop::collect::php::FailureKind;

/// Asks for a page of every kind and waits until all that is to be seen of them is seen, from these workers alone.
fn all_tiers_work(watch: &mut Watch, workers: &[u32], get: impl Fn(&str) -> Response) {
    watch.finished.clear();
    watch.stacks.clear();
    watch.failures.clear();
    for (uri, status) in [("/slow?ms=200", 200), ("/burn?ms=400", 200), ("/caught", 200), ("/throw", 500)] {
        assert_eq!(get(uri).status, status, "{uri}");
    }
    watch.until("all requests are seen", |watch| watch.finished.len() >= 4);
    let leaf = |watch: &Watch, name: &str| -> (u64, u64) {
        let counts = watch.stacks.iter().filter(|c| c.stack.frames.first().is_some_and(|leaf| full_name(leaf) == name));
        counts.filter(|c| workers.contains(&c.pid)).fold((0, 0), |(s, w), c| (s + c.samples, w + c.wait_ns))
    };
    watch.until(&format!("the samples and the wait of workers {workers:?} are seen"), |watch| {
        leaf(watch, "burn").0 > 100 && leaf(watch, "usleep").1 > 190_000_000
    });
    let thrown = |watch: &Watch, class: &str| -> u64 {
        watch
            .failures
            .iter()
            .filter(|f| f.what.kind == FailureKind::Thrown && &*f.what.class == class)
            .map(|f| f.count)
            .sum()
    };
    watch.until("both exceptions are seen", |watch| {
        thrown(watch, "LengthException") >= 1 && thrown(watch, "DomainException") >= 1
    });
    watch.read();
    let seen: BTreeSet<_> = watch.finished.iter().map(|f| (f.request.uri.as_str(), f.status)).collect();
    let wanted =
        [("/burn?ms=400", Some(200)), ("/caught", Some(200)), ("/slow?ms=200", Some(200)), ("/throw", Some(500))];
    assert_eq!((watch.finished.len(), seen), (4, BTreeSet::from(wanted)));
    assert!(watch.finished.iter().all(|f| workers.contains(&f.request.pid) && !f.aborted));
    assert_eq!((thrown(watch, "LengthException"), thrown(watch, "DomainException"), watch.dropped), (1, 1, 0));
}

#[test]
#[ignore = "needs root and PHP"]
fn after_a_reload_of_php_fpm_every_tier_goes_on() {
    let _alone = alone();
    let mut fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 2)], ..FpmOptions::default() });
    let mut watch = Watch::start(997, fpm.site().path());
    let old = fpm.workers("www");
    all_tiers_work(&mut watch, &old, |uri| fpm.get("www", uri));
    for _ in 0..2 {
        let before = fpm.workers("www");
        fpm.reload();
        let workers = fpm.workers("www");
        assert!(workers.iter().all(|pid| !before.contains(pid)));
        all_tiers_work(&mut watch, &workers, |uri| fpm.get("www", uri));
        let target = watch.last.targets.iter().find(|target| target.pids.contains(&fpm.master())).unwrap();
        let ours =
            target.masters.iter().map(|master| master.pid).filter(|pid| old.contains(pid) || before.contains(pid));
        assert_eq!(ours.collect::<Vec<_>>(), [0; 0], "workers that have ended are no masters");
        assert!(target.masters.iter().any(|master| master.pid == fpm.master()));
    }
    watch.until("the old workers are forgotten", |watch| watch.last.processes.iter().all(|p| !old.contains(&p.pid)));
}

#[test]
#[ignore = "needs root and PHP"]
fn after_a_graceful_restart_of_apache_every_tier_goes_on() {
    let _alone = alone();
    let apache = Apache::start(2);
    let mut watch = Watch::start(997, apache.site().path());
    all_tiers_work(&mut watch, &apache.workers(), |uri| apache.get(uri));
    for _ in 0..2 {
        let workers = apache.restart();
        all_tiers_work(&mut watch, &workers, |uri| apache.get(uri));
    }
}
