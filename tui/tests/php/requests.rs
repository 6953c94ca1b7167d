//! Requests of real PHP: as many are seen as were sent, with the URI and the status that the client saw.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use crate::servers::{Apache, FpmOptions, Nginx, PhpCli, PhpFpm, PhpServer, Pool, Request, Response, alone, copies};
use crate::watch::Watch;

/// What the test site answers.
const PAGES: [(&str, u16); 12] = [
    ("/", 200),
    ("/post/1", 200),
    ("/post/2?page=3", 200),
    ("/post/77?x=1&y=%20", 200),
    ("/status/204", 204),
    ("/status/404", 404),
    ("/status/503", 503),
    ("/throw", 500),
    ("/caught", 200),
    ("/fatal", 500),
    ("/exit", 503),
    ("/nothing/here", 404),
];

/// Sends all pages `rounds` times and returns what should be seen.
pub fn send_pages(rounds: usize, send: impl Fn(&Request) -> Response) -> BTreeMap<(String, Option<u16>), usize> {
    let mut sent = BTreeMap::new();
    for _ in 0..rounds {
        for (uri, status) in PAGES {
            assert_eq!(send(&Request::get(uri)).status, status, "{uri}");
            *sent.entry((uri.to_owned(), Some(status))).or_default() += 1;
        }
    }
    sent
}

#[test]
#[ignore = "needs root and PHP"]
fn every_request_to_php_fpm_is_seen_with_its_uri_and_status() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let workers = fpm.workers("www");
    let mut watch = Watch::start(0, fpm.site().path());
    let sent = send_pages(20, |request| fpm.send("www", request));
    watch.until("all requests are seen", |watch| watch.requests() == sent);
    assert_eq!(watch.dropped, 0);
    let script = fpm.site().page("index.php");
    for finished in &watch.finished {
        assert!(workers.contains(&finished.request.pid));
        assert_eq!(finished.request.script, script.to_str().unwrap());
        assert_eq!((finished.request.method.as_str(), finished.request.pool.as_deref()), ("GET", Some("www")));
        assert!(!finished.aborted);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn no_request_is_missed_when_workers_come_and_go() {
    let _alone = alone();
    let pools =
        vec![Pool { max_requests: 3, ..Pool::new("short", 2) }, Pool { max_requests: 1, ..Pool::new("once", 1) }];
    let fpm = PhpFpm::start(FpmOptions { pools, ..FpmOptions::default() });
    let mut watch = Watch::start(0, fpm.site().path());
    let mut sent = send_pages(10, |request| fpm.send("short", request));
    for (page, count) in send_pages(3, |request| fpm.send("once", request)) {
        *sent.entry(page).or_default() += count;
    }
    watch.until("all requests are seen", |watch| watch.requests() == sent);
    assert_eq!(watch.dropped, 0);
    let pool_of = |name: &str| watch.finished.iter().filter(|f| f.request.pool.as_deref() == Some(name)).count();
    assert_eq!((pool_of("short"), pool_of("once")), (10 * PAGES.len(), 3 * PAGES.len()));
    let mut pids: Vec<_> = watch.finished.iter().map(|finished| finished.request.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert!(pids.len() >= 10 * PAGES.len() / 3, "{} workers served them", pids.len());
}

#[test]
#[ignore = "needs root and PHP"]
fn behind_nginx_and_a_front_controller_the_real_uri_is_seen() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let nginx = Nginx::start(&fpm, "www");
    let mut watch = Watch::start(0, fpm.site().path());
    let sent = send_pages(5, |request| nginx.send(request));
    watch.until("all requests are seen", |watch| watch.requests() == sent);
}

#[test]
#[ignore = "needs root and PHP"]
fn every_request_to_mod_php_is_seen_also_after_a_graceful_restart() {
    let _alone = alone();
    let apache = Apache::start(2);
    let mut watch = Watch::start(0, apache.site().path());
    let sent = send_pages(10, |request| apache.send(request));
    watch.until("all requests are seen", |watch| watch.requests() == sent);
    let target = watch.last.targets.iter().find(|target| target.pids.contains(&apache.pid())).unwrap();
    assert_eq!(&*target.sapi, "apache");
    assert!(target.exe.contains("libphp") && target.version.is_some());

    apache.restart();
    watch.finished.clear();
    let sent = send_pages(5, |request| apache.send(request));
    watch.until("all requests after the restart are seen", |watch| watch.requests() == sent);
    assert_eq!(watch.dropped, 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn the_built_in_server_and_scripts_are_seen() {
    let _alone = alone();
    let server = PhpServer::start();
    let mut watch = Watch::start(0, server.document_root().parent().unwrap());
    let sent = send_pages(3, |request| server.send(request));
    watch.until("all requests are seen", |watch| watch.requests() == sent);
    watch.stop();

    let mut watch = Watch::start(0, Path::new("/"));
    let script = PhpCli::start("spend.php", &["50"]);
    let pid = script.pid();
    watch.until("the script is seen", |watch| watch.finished.iter().any(|finished| finished.request.pid == pid));
    assert_eq!(script.output(), "done\n");
    let script = watch.finished.iter().find(|finished| finished.request.pid == pid).unwrap();
    assert!(script.request.script.ends_with("spend.php"));
    assert_eq!((script.request.uri.as_str(), script.request.method.as_str()), ("", ""));
    assert!(script.duration_ns >= 50_000_000, "it used 50 ms: {} ns", script.duration_ns);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_request_is_shown_while_it_runs_and_lasts_as_long_as_it_slept() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let mut watch = Watch::start(0, fpm.site().path());
    let began = Instant::now();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| fpm.get("www", "/slow?ms=700"));
        watch.until("the request runs", |watch| watch.last.running.iter().any(|request| request.uri == "/slow?ms=700"));
        assert_eq!(client.join().unwrap().status, 200);
    });
    watch.until("it has ended", |watch| !watch.finished.is_empty() && watch.last.running.is_empty());
    // PHP cleans up after the client has its answer, so the client's own time is no bound; the whole of it is.
    let duration = Duration::from_nanos(watch.finished[0].duration_ns);
    assert!(
        duration >= Duration::from_millis(700) && duration <= began.elapsed(),
        "{duration:?} of {:?}",
        began.elapsed()
    );
    let cpu = watch.finished[0].cpu_ns.expect("the kernel's layout is known");
    assert!(Duration::from_nanos(cpu) < duration / 2, "it slept");
}

#[test]
#[ignore = "needs root and PHP"]
fn shutdown_functions_and_destructors_belong_to_the_request_with_and_without_probes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("php-fpm");
    copies::without_probes(&FpmOptions::default().binary, &plain);
    for binary in [FpmOptions::default().binary, plain] {
        let fpm = PhpFpm::start(FpmOptions { binary: binary.clone(), ..FpmOptions::default() });
        let mut watch = Watch::start(0, fpm.site().path());
        assert_eq!(fpm.get("www", "/afterwards?ms=150").status, 503);
        watch.until("it has ended", |watch| !watch.finished.is_empty());
        let finished = &watch.finished[0];
        let duration = Duration::from_nanos(finished.duration_ns);
        assert_eq!(finished.status, Some(503), "{}", binary.display());
        assert!(duration >= Duration::from_millis(300), "{duration:?} in {}", binary.display());
        let waited = Duration::from_nanos(finished.request.wait_ns);
        assert!(waited >= Duration::from_millis(300), "{waited:?} in {}", binary.display());
        watch.read();
        assert_eq!(watch.finished.len(), 1);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn the_cpu_time_of_a_short_request_is_what_it_used() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let mut watch = Watch::start(0, fpm.site().path());
    for _ in 0..50 {
        // Shorter than a tick of the scheduler, which is when the kernel's own count is brought up to date.
        assert_eq!(fpm.get("www", "/recursive?depth=2&ms=2").status, 200);
    }
    watch.until("all have ended", |watch| watch.finished.len() == 50);
    for finished in &watch.finished {
        let cpu = finished.cpu_ns.expect("the kernel's layout is known");
        assert!(cpu >= 2_000_000 && cpu <= finished.duration_ns, "{cpu} ns of CPU in {} ns", finished.duration_ns);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn a_worker_killed_inside_a_request_leaves_no_ghost() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let mut watch = Watch::start(0, fpm.site().path());
    let killed = std::thread::scope(|scope| {
        let client = scope.spawn(|| std::panic::catch_unwind(|| fpm.get("www", "/slow?ms=60000")));
        watch.until("the request runs", |watch| !watch.last.running.is_empty());
        let pid = watch.last.running[0].pid;
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        watch.until("it is gone", |watch| watch.last.running.is_empty());
        let _ = client.join();
        pid
    });
    watch.until("it is forgotten", |watch| watch.last.processes.iter().all(|process| process.pid != killed));
    assert!(!watch.finished.is_empty() && watch.finished.iter().all(|finished| finished.aborted));
    let alive = fpm.workers("www");
    assert!(watch.last.processes.iter().any(|process| alive.contains(&process.pid)));
}
