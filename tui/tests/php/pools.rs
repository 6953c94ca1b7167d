//! Pools of real php-fpm: what their scoreboards say is what they are set to and what they do.

use crate::servers::{FpmOptions, PhpFpm, Pool, ProcessManager, Request, alone, under_load};
use crate::watch::Watch;
use tusktop::model::{self, Scoreboard};

/// The pool of this php-fpm; others may run on the machine.
fn pool<'a>(watch: &'a Watch, fpm: &PhpFpm, name: &str) -> Option<&'a Scoreboard> {
    watch.last.pools.iter().find(|pool| pool.master == fpm.master() && &*pool.name == name)
}

#[test]
#[ignore = "needs root and PHP"]
fn pools_are_read_as_they_are_set_and_after_a_reload_as_they_are_set_then() {
    let _alone = alone();
    let pools = vec![
        Pool::new("www", 4),
        Pool { process_manager: ProcessManager::Dynamic, ..Pool::new("admin", 40) },
        Pool { process_manager: ProcessManager::Ondemand, ..Pool::new("rare", 300) },
    ];
    let mut fpm = PhpFpm::start(FpmOptions { pools, ..FpmOptions::default() });
    let mut watch = Watch::start(0, fpm.site().path());
    for round in ["start", "reload"] {
        watch.until(round, |watch| pool(watch, &fpm, "rare").is_some());
        let set: Vec<_> = ["www", "admin", "rare"]
            .map(|name| pool(&watch, &fpm, name).map(|pool| (pool.max_children, pool.process_manager)))
            .to_vec();
        let expected = [
            Some((4, model::ProcessManager::Static)),
            Some((40, model::ProcessManager::Dynamic)),
            Some((300, model::ProcessManager::OnDemand)),
        ];
        assert_eq!(set, expected, "{round}");
        fpm.reload();
    }
    let master = fpm.master();
    fpm.stop();
    watch.until("a php-fpm that has ended has no pools", |watch| {
        watch.last.pools.iter().all(|pool| pool.master != master)
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn requests_busy_workers_and_a_full_pool_are_counted_by_php_fpm_itself() {
    let _alone = alone();
    let dynamic = Pool { process_manager: ProcessManager::Dynamic, ..Pool::new("www", 3) };
    let fpm = PhpFpm::start(FpmOptions { pools: vec![dynamic], ..FpmOptions::default() });
    let mut watch = Watch::start(0, fpm.site().path());
    let full = |watch: &Watch| pool(watch, &fpm, "www").is_some_and(|pool| pool.active == 3 && pool.idle == 0);
    let reached = |watch: &Watch| pool(watch, &fpm, "www").is_some_and(|pool| pool.max_children_reached > 0);
    under_load(
        6,
        || drop(fpm.send("www", &Request::get("/slow?ms=300"))),
        || {
            watch.until("all workers are busy", full);
            watch.until("more were wanted", reached);
        },
    );
    watch.until("all have rest", |watch| pool(watch, &fpm, "www").is_some_and(|pool| pool.active == 0));
    let before = pool(&watch, &fpm, "www").unwrap().requests;
    for _ in 0..10 {
        fpm.get("www", "/post/1");
    }
    watch.until("ten more were served", |watch| {
        pool(watch, &fpm, "www").is_some_and(|pool| pool.requests == before + 10)
    });
    assert_eq!(pool(&watch, &fpm, "www").unwrap().max_active, 3);
}
