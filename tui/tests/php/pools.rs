//! Pools of real php-fpm: what their scoreboards say is what they are set to and what they do.

use std::process::{Command, Stdio};

use crate::servers::{
    FpmOptions, PATIENCE, PhpFpm, Pool, ProcessManager, Request, alone, free_port, under_load, wait_until,
};
use crate::watch::Watch;
use tusktop::model::{self, EndedBy, NoticeKind, PoolEvent, PoolEventKind, Scoreboard, Snapshot};

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

/// What `tusktop snap` says of PHP.
fn snap() -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
        .args(["snap", "--duration", "1s", "--format", "json"])
        .output()
        .unwrap();
    let snapshot: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    snapshot["php"].clone()
}

/// The pools of a master in a snapshot.
fn of_master(php: &serde_json::Value, master: u32) -> Vec<&serde_json::Value> {
    php["pools"].as_array().unwrap().iter().filter(|pool| pool["master"] == master).collect()
}

#[test]
#[ignore = "needs root and PHP"]
fn pools_of_any_name_have_their_workers() {
    let _alone = alone();
    let names = ["customer-0042.shop.long-domain-name.example", "shop 1", "bücher.example"];
    let pools = names.iter().map(|name| Pool::new(name, 1));
    let fpm = PhpFpm::start(FpmOptions { pools: pools.collect(), ..FpmOptions::default() });
    let php = snap();
    let pools = of_master(&php, fpm.master());
    let mut found: Vec<_> =
        pools.iter().map(|pool| (pool["name"].as_str().unwrap(), pool["workers"].as_u64().unwrap())).collect();
    found.sort_unstable();
    assert_eq!(found, [("bücher.example", 1), (names[0], 1), ("shop 1", 1)]);
    assert!(pools.iter().all(|pool| pool["group"].as_str().is_some_and(|group| group.starts_with("php-fpm: "))));
}

#[test]
#[ignore = "needs root and PHP"]
fn pools_of_one_name_of_two_masters_are_two_groups() {
    let _alone = alone();
    let start =
        |children| PhpFpm::start(FpmOptions { pools: vec![Pool::new("twice", children)], ..FpmOptions::default() });
    let (first, second) = (start(2), start(5));
    let php = snap();
    let group = |fpm: &PhpFpm| {
        let pool = of_master(&php, fpm.master())[0].clone();
        (pool["workers"].as_u64().unwrap(), pool["group"].as_str().unwrap().to_owned())
    };
    let ((of_first, one), (of_second, other)) = (group(&first), group(&second));
    assert_eq!((of_first, of_second), (2, 5));
    assert!(one != other && [&one, &other].iter().all(|name| name.starts_with("php-fpm: twice")), "{one} {other}");
}

#[test]
#[ignore = "needs root and PHP"]
fn forty_masters_and_three_hundred_pools_are_all_there() {
    let _alone = alone();
    let rare = |name: String| Pool { process_manager: ProcessManager::Ondemand, ..Pool::new(&name, 2) };
    let many = PhpFpm::start(FpmOptions {
        pools: (0..300).map(|at| rare(format!("p{at}"))).collect(),
        ..FpmOptions::default()
    });
    let masters: Vec<_> = (0..40)
        .map(|at| PhpFpm::start(FpmOptions { pools: vec![rare(format!("u{at}"))], ..FpmOptions::default() }))
        .collect();
    let mut watch = Watch::start(0, many.site().path());
    let all = |watch: &Watch| {
        let of = |fpm: &PhpFpm| watch.last.pools.iter().filter(|pool| pool.master == fpm.master()).count();
        of(&many) == 300 && masters.iter().all(|fpm| of(fpm) == 1)
    };
    watch.until("all pools are there", all);
}

#[test]
#[ignore = "needs root and PHP"]
fn connections_that_wait_are_counted_at_unix_and_tcp_sockets_and_busy_workers_are_those_in_requests() {
    let _alone = alone();
    let tcp = vec![("listen".to_owned(), format!("127.0.0.1:{}", free_port()))];
    let pools = vec![Pool::new("unix", 1), Pool { settings: tcp, ..Pool::new("tcp", 1) }];
    let fpm = PhpFpm::start(FpmOptions { pools, ..FpmOptions::default() });
    let mut watch = Watch::start(0, fpm.site().path());
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| fpm.get("unix", "/slow?ms=4000").status)).collect();
        let queue = |watch: &Watch, name: &str| pool(watch, &fpm, name).and_then(|pool| pool.listen_queue);
        watch.until("one is served and three wait", |watch| queue(watch, "unix") == Some(3));
        assert_eq!(queue(&watch, "tcp"), Some(0));
        watch.until("it is known for how long", |watch| {
            let since = pool(watch, &fpm, "unix").and_then(|pool| pool.queue_since);
            since.is_some_and(|since| watch.last.now.at.duration_since(since).as_secs_f64() > 0.5)
        });
        let php = snap();
        let pools = of_master(&php, fpm.master());
        let unix = pools.iter().find(|pool| pool["name"] == "unix").unwrap();
        let tcp = pools.iter().find(|pool| pool["name"] == "tcp").unwrap();
        assert_eq!((&unix["active"], &unix["idle"]), (&1.into(), &0.into()), "{unix:#}");
        assert_eq!((&tcp["active"], &tcp["idle"]), (&0.into(), &1.into()), "{tcp:#}");
        assert!(unix["listen_queue"].as_u64().is_some_and(|queue| queue > 0) && unix["queue_since"].is_string());
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    });
    watch.until("nothing waits any more", |watch| {
        pool(watch, &fpm, "unix").is_some_and(|pool| pool.listen_queue == Some(0) && pool.queue_since.is_none())
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn workers_that_are_ended_in_a_request_or_crash_idle_are_events_with_their_signal() {
    let _alone = alone();
    let limited = Pool { settings: vec![("request_terminate_timeout".into(), "1s".into())], ..Pool::new("www", 1) };
    let fpm = PhpFpm::start(FpmOptions {
        pools: vec![limited, Pool::new("idle", 1), Pool::new("other", 1)],
        ..FpmOptions::default()
    });
    let idle = fpm.workers("idle")[0];
    let mut tusktop = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    tusktop.env("HOME", "/nonexistent").args(["snap", "--duration", "120s", "--format", "json"]);
    let tusktop = tusktop.stdout(Stdio::piped()).spawn().unwrap();
    let output = under_load(
        1,
        || drop(fpm.send("www", &Request::get("/slow?ms=60000"))),
        || {
            // The kernel's load of programs is behind it when one of their files is open.
            wait_until(
                PATIENCE,
                || "tusktop is attached".to_owned(),
                || !crate::loaded::held_by(tusktop.id()).programs.is_empty(),
            );
            for _ in 0..2 {
                let before = fpm.workers("www");
                wait_until(
                    PATIENCE,
                    || "a worker is ended and another comes".to_owned(),
                    || fpm.workers("www").first().is_some_and(|worker| !before.contains(worker)),
                );
            }
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(idle.cast_signed()).unwrap(),
                rustix::process::Signal::SEGV,
            )
            .unwrap();
            wait_until(PATIENCE, || "it is gone".to_owned(), || !fpm.workers("idle").contains(&idle));
            // It is ended early, and prints what it has seen.
            let pid = rustix::process::Pid::from_raw(tusktop.id().cast_signed()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
            tusktop.wait_with_output().unwrap()
        },
    );
    let snapshot = Snapshot::read(&output.stdout).unwrap();
    let of = |group: &str| -> Vec<&PoolEvent> {
        snapshot.pool_events.iter().filter(|event| event.group.starts_with(group)).collect()
    };
    let ended = of("php-fpm: www");
    assert!(!ended.is_empty(), "{:?}", snapshot.pool_events);
    for event in ended {
        let request = event.request.as_ref().unwrap();
        assert_eq!((event.kind, event.signal), (PoolEventKind::WorkerDied, Some(15)), "{event:?}");
        assert_eq!(event.ended_by, Some(EndedBy::RequestTerminateTimeout), "{event:?}");
        assert_eq!((&*request.method, &*request.route), ("GET", "/slow"));
        let lasted = event.duration_ms.unwrap();
        assert!((900.0..6_000.0).contains(&lasted) && event.at <= snapshot.at, "{event:?}");
    }
    let crashed: Vec<_> = of("php-fpm: idle").iter().map(|event| (event.pid, event.signal)).collect();
    assert_eq!(crashed, [(Some(idle), Some(11))], "{:?}", snapshot.pool_events);
    let said = snapshot.notices.iter().filter(|notice| notice.kind == NoticeKind::WorkerDied);
    assert!(said.map(|notice| &notice.text).any(|text| text.contains("by request_terminate_timeout in GET /slow")));
}
