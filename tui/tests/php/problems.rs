//! Problems of real PHP by route and by message: the same place in several routes, and several messages at one place.

use std::sync::Arc;

use crate::servers::{FpmOptions, PhpFpm, Pool, Request, alone};
use crate::watch::Watch;
use tusktop::{
    aggregate::php::{PhpAggregate, Placed},
    collect::php::PhpSample,
    model::{ExceptionCount, Php, PhpError, ProblemRoutes},
};

/// One place for each of what can go wrong, in whatever route.
const SCRIPT: &str = r#"<?php
function fail(string $message): void
{
    throw new RuntimeException($message);
}
foreach (explode(',', $_GET['messages'] ?? '') as $message) {
    try {
        fail(str_starts_with($message, 'user') ? "user {$message} not found" : $message);
    } catch (RuntimeException) {
    }
}
for ($i = 0; $i < (int) ($_GET['warnings'] ?? 0); $i++) {
    echo $undefined;
}
for ($i = 0; $i < (int) ($_GET['silenced'] ?? 0); $i++) {
    @hex2bin('abc');
}
if (isset($_GET['uncaught'])) {
    fail('uncaught');
}
"#;

fn start(pools: &[&str]) -> (PhpFpm, Watch) {
    let pools = pools.iter().map(|pool| Pool::new(pool, 1)).collect();
    let fpm = PhpFpm::start(FpmOptions { pools, ..FpmOptions::default() });
    fpm.site().write_page("problems.php", SCRIPT);
    let watch = Watch::start(0, fpm.site().path());
    (fpm, watch)
}

fn send(fpm: &PhpFpm, pool: &str, uri: &str) -> u16 {
    fpm.send(pool, &Request::get(uri).script("problems.php")).status
}

/// Reads until `requests` requests have ended, and once more for what was counted meanwhile.
fn settle(watch: &mut Watch, requests: usize) {
    watch.until("all requests have ended", |watch| watch.finished.len() >= requests);
    watch.read();
    assert_eq!((watch.finished.len(), watch.dropped), (requests, 0));
}

/// Everything that was counted, as a snapshot has it, with each worker in the group of its pool.
fn php(watch: &Watch) -> Arc<Php> {
    let processes = watch.last.processes.clone();
    let pools: Vec<_> = processes.iter().filter_map(|process| Some((process.pid, process.pool.clone()?))).collect();
    let placed = |pid: u32| {
        let (_, pool) = pools.iter().find(|(known, _)| *known == pid)?;
        Some(Placed { group: format!("php-fpm: {pool}").into(), pool: Some(pool.clone()) })
    };
    let sample = PhpSample {
        targets: watch.last.targets.clone(),
        failures: watch.failures.clone(),
        finished: watch.finished.clone(),
        processes,
        ..PhpSample::default()
    };
    PhpAggregate::default().update(sample, 1.0, &placed).php
}

fn thrown(php: &Php) -> &ExceptionCount {
    let all = php.exceptions.as_ref().expect("exceptions are collected");
    assert_eq!(all.len(), 1, "{all:#?}");
    &all[0]
}

/// Group, method and path of each route, with how often, uncaught and silenced.
fn routes<'a>(php: &'a Php, routes: &ProblemRoutes) -> Vec<(&'a str, String, [u64; 3])> {
    let list = routes.list.as_ref().expect("routes are known");
    let named = list.iter().map(|of| {
        let key = &php.routes[of.route].key;
        (&*key.group, format!("{} {}", key.method, key.route), [of.count, of.uncaught, of.silenced])
    });
    named.collect()
}

#[test]
#[ignore = "needs root and PHP"]
fn two_routes_that_fail_at_one_place_are_told_apart_and_so_are_those_of_two_pools() {
    let _alone = alone();
    let (fpm, mut watch) = start(&["www", "shop"]);
    for _ in 0..3 {
        assert_eq!(send(&fpm, "www", "/cart?messages=a,a,a&warnings=2"), 200);
        assert_eq!(send(&fpm, "shop", "/cart?messages=a&silenced=5"), 200);
    }
    assert_eq!(send(&fpm, "www", "/checkout/17?messages=a,a&uncaught=1&silenced=1"), 500);
    assert_eq!(send(&fpm, "www", "/checkout/18?uncaught=1&warnings=1"), 500);
    assert_eq!(send(&fpm, "www", "/fine?messages="), 200);
    settle(&mut watch, 9);
    let php = php(&watch);
    let of = |group, route: &str, counts| (group, route.to_owned(), counts);
    let exception = thrown(&php);
    // An empty message is thrown in the routes, too, that name none.
    let expected = [
        of("php-fpm: www", "GET /cart", [9, 0, 0]),
        of("php-fpm: www", "GET /checkout/:n", [5, 2, 0]),
        of("php-fpm: shop", "GET /cart", [3, 0, 0]),
        of("php-fpm: www", "GET /fine", [1, 0, 0]),
    ];
    assert_eq!(routes(&php, &exception.routes), expected);
    assert_eq!((exception.count, exception.uncaught), (18, Some(2)));
    let errors = php.errors.as_ref().expect("errors are collected");
    let error = |text: &str| errors.iter().find(|error| error.message.contains(text)).expect(text);
    let warned = error("undefined");
    let expected = [of("php-fpm: www", "GET /cart", [6, 0, 0]), of("php-fpm: www", "GET /checkout/:n", [1, 0, 0])];
    assert_eq!((routes(&php, &warned.routes), warned.count), (expected.to_vec(), 7));
    let silenced = error("hex2bin");
    let expected = [of("php-fpm: shop", "GET /cart", [15, 0, 15]), of("php-fpm: www", "GET /checkout/:n", [1, 0, 1])];
    assert_eq!((routes(&php, &silenced.routes), silenced.silenced), (expected.to_vec(), Some(16)));
    let sums = |error: &PhpError| error.routes.list.iter().flatten().map(|of| of.count).sum::<u64>() == error.count;
    assert!(errors.iter().all(sums), "nothing is missing: {errors:#?}");
}

#[test]
#[ignore = "needs root and PHP"]
fn of_several_messages_at_one_place_the_most_frequent_are_kept_with_their_counts() {
    let _alone = alone();
    let (fpm, mut watch) = start(&["www"]);
    let list = |text: &str, times: usize| vec![text; times].join(",");
    send(&fpm, "www", &format!("/a?messages={},{}", list("often", 30), list("rarely", 2)));
    send(&fpm, "www", &format!("/b?messages={}", list("often", 4)));
    settle(&mut watch, 2);
    let first = php(&watch);
    let said = |php: &Php| -> Vec<(String, u64)> {
        thrown(php).messages.iter().map(|message| (message.text.to_string(), message.count)).collect()
    };
    assert_eq!(said(&first), [("often".to_owned(), 34), ("rarely".to_owned(), 2)]);
    assert_eq!((&*thrown(&first).message, thrown(&first).count), ("often", 36));
    // Hundreds of which each comes once take the room, and give it back to what comes often.
    watch.failures.clear();
    let users: Vec<String> = (0..400).map(|number| format!("user{number}")).collect();
    users.chunks(50).for_each(|users| _ = send(&fpm, "www", &format!("/c?messages={}", users.join(","))));
    settle(&mut watch, 10);
    for requests in 11..14 {
        send(&fpm, "www", &format!("/d?messages={}", list("often", 40)));
        settle(&mut watch, requests);
    }
    let then = php(&watch);
    let (messages, all) = (said(&then), thrown(&then));
    assert_eq!((&*all.message, all.count, messages[0].0.as_str()), ("often", 520, "often"));
    assert!((80..=120).contains(&messages[0].1) && messages.len() > 1, "{messages:?}");
    assert!(messages.iter().map(|(_, count)| count).sum::<u64>() <= all.count, "none is counted too often");
}
