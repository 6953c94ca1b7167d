//! The servers that the tests of real PHP stand on do what they say: they start, answer, come back and go.

use crate::servers::daemon::{descendants, title};
use crate::servers::{
    Apache, FpmOptions, Nginx, PATIENCE, PhpCli, PhpFpm, PhpServer, Pool, ProcessManager, Request, alone, wait_until,
};

/// URI and status of each page of the test site.
const PAGES: [(&str, u16); 20] = [
    ("/", 200),
    ("/post/1", 200),
    ("/post/2?page=3", 200),
    ("/post/77?x=1&y=%20", 200),
    ("/status/200", 200),
    ("/status/204", 204),
    ("/status/301", 301),
    ("/status/404", 404),
    ("/status/500", 500),
    ("/status/503", 503),
    ("/slow?ms=5", 200),
    ("/burn?ms=20", 200),
    ("/recursive?depth=16&ms=1", 200),
    ("/names?ms=10", 200),
    ("/memory?mib=8&ms=1", 200),
    ("/throw", 500),
    ("/caught", 200),
    ("/fatal", 500),
    ("/exit", 503),
    ("/nothing/here", 404),
];

#[test]
#[ignore = "needs root and PHP"]
fn php_fpm_answers_reloads_restarts_and_leaves_no_process() {
    let _alone = alone();
    let pools = vec![Pool::new("www", 2), Pool { max_requests: 3, ..Pool::new("short", 1) }];
    let mut fpm = PhpFpm::start(FpmOptions { pools, ..FpmOptions::default() });
    assert_eq!(title(fpm.workers("www")[0]), "php-fpm: pool www");
    for (uri, status) in PAGES {
        assert_eq!(fpm.get("www", uri).status, status, "{uri}");
    }
    assert_eq!(fpm.send("www", &Request::post("/post/5", "a=1")).body, "post 5\n");
    assert_eq!(fpm.send("www", &Request::get("/any").script("alpha.php")).body, "alpha\n");

    let master = fpm.master();
    let before = fpm.family();
    assert_eq!(before.len(), 4, "a master and three workers");
    fpm.reload();
    assert_eq!(fpm.master(), master, "a reload keeps the master");
    assert!(before.iter().filter(|process| process.pid != master).all(|worker| !worker.runs()));
    assert_eq!(fpm.get("www", "/post/1").status, 200);

    fpm.restart();
    assert_ne!(fpm.master(), master);
    assert_eq!(fpm.get("short", "/post/1").status, 200);

    let after = fpm.family();
    assert!(fpm.stop().is_empty(), "php-fpm ends when it is asked to");
    assert!(before.iter().chain(&after).all(|process| !process.runs()));
}

#[test]
#[ignore = "needs root and PHP"]
fn workers_of_php_fpm_come_and_go_as_the_pool_says() {
    let _alone = alone();
    let short = Pool { max_requests: 3, ..Pool::new("short", 1) };
    let lazy = Pool { process_manager: ProcessManager::Ondemand, ..Pool::new("lazy", 2) };
    let busy = Pool { process_manager: ProcessManager::Dynamic, ..Pool::new("busy", 3) };
    let fpm = PhpFpm::start(FpmOptions { pools: vec![short, lazy, busy], ..FpmOptions::default() });
    let first = fpm.workers("short");
    for post in 0..12 {
        assert_eq!(fpm.get("short", &format!("/post/{post}")).body, format!("post {post}\n"));
    }
    assert!(!fpm.workers("short").contains(&first[0]), "twelve requests are more than one worker's three");
    assert!(fpm.workers("lazy").is_empty());
    assert_eq!(fpm.get("lazy", "/").status, 200);
    assert_eq!(fpm.workers("lazy").len(), 1);
    // It has its title a little later than its life.
    wait_until(PATIENCE, || "a dynamic pool has one".to_owned(), || fpm.workers("busy").len() == 1);
}

#[test]
#[ignore = "needs root and PHP"]
fn without_opcache_php_fpm_compiles_each_request_and_with_it_not() {
    let _alone = alone();
    for opcache in [false, true] {
        let fpm = PhpFpm::start(FpmOptions { opcache, ..FpmOptions::default() });
        fpm.site().write_page("state.php", "<?php echo json_encode((bool) (function_exists('opcache_get_status') ? opcache_get_status(false) : null));");
        let request = Request::get("/state.php").script("state.php");
        assert_eq!(fpm.send("www", &request).body, opcache.to_string());
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn nginx_passes_every_path_to_the_front_controller() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let mut nginx = Nginx::start(&fpm, "www");
    for (uri, status) in PAGES {
        assert_eq!(nginx.get(uri).status, status, "{uri}");
    }
    assert!(nginx.stop().is_empty());
    assert!(descendants(nginx.pid()).is_empty());
}

#[test]
#[ignore = "needs root and PHP"]
fn apache_passes_every_path_to_the_front_controller() {
    let _alone = alone();
    let mut apache = Apache::start(2);
    assert_eq!(apache.workers().len(), 2);
    for (uri, status) in PAGES {
        assert_eq!(apache.get(uri).status, status, "{uri}");
    }
    assert!(apache.stop().is_empty());
    assert!(apache.workers().is_empty());
}

#[test]
#[ignore = "needs root and PHP"]
fn the_built_in_server_passes_every_path_to_its_router() {
    let _alone = alone();
    let mut server = PhpServer::start();
    for (uri, status) in PAGES {
        assert_eq!(server.get(uri).status, status, "{uri}");
    }
    assert!(server.stop().is_empty());
}

#[test]
#[ignore = "needs root and PHP"]
fn a_script_on_the_command_line_runs_to_its_end_or_until_it_is_dropped() {
    let _alone = alone();
    let output = PhpCli::run("spend.php", &["50"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n");
    assert!(output.status.success());
    let mut script = PhpCli::start("forever.php", &["16"]);
    script.daemon().wait_ready("the script's first line", || true);
    wait_until(PATIENCE, || "started".into(), || script.output() == "started\n");
    assert!(script.daemon().runs());
    let pid = script.pid();
    drop(script);
    assert_eq!(title(pid), "");
}
