//! Stacks of real PHP: shares are what they are by construction, and names are never another function's.

use std::fs;

use crate::servers::{FpmOptions, PhpCli, PhpFpm, Pool, Request, alone};
use crate::watch::{Watch, full_name};

/// Samples that make a share of 80 % good to 5 points: the standard error is 1.3 points.
const ENOUGH: u64 = 900;

#[test]
#[ignore = "needs root and PHP"]
fn a_function_that_burns_80_percent_of_the_time_has_80_percent_of_the_samples() {
    let _alone = alone();
    for opcache in [true, false] {
        let pools = vec![Pool::new("www", 1)];
        let fpm = PhpFpm::start(FpmOptions { pools, opcache, ..FpmOptions::default() });
        let worker = fpm.workers("www")[0];
        let mut watch = Watch::start(997, fpm.site().path());
        assert_eq!(fpm.get("www", "/burn?ms=2000").status, 200);
        watch.until("there are enough samples", |watch| watch.self_samples(worker).values().sum::<u64>() > ENOUGH);
        // The clock is a function of its own; it is read by both in the same proportion.
        let samples = watch.self_samples(worker);
        let (burn, rest) = (samples["burn"] as f64, samples["rest"] as f64);
        let share = burn / (burn + rest);
        assert!((share - 0.8).abs() <= 0.05, "{share:.3} of {samples:?}");
        assert_eq!(watch.dropped, 0);
        let all: u64 = watch.stacks_of(worker).map(|count| count.samples).sum();
        let inside = watch
            .stacks_of(worker)
            .filter(|count| count.request.as_ref().is_some_and(|request| request.uri == "/burn?ms=2000"));
        assert_eq!(inside.map(|count| count.samples).sum::<u64>(), all, "every sample belongs to the request");
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn without_opcache_two_scripts_in_turn_never_swap_names() {
    let _alone = alone();
    let pools = vec![Pool::new("www", 1)];
    let fpm = PhpFpm::start(FpmOptions { pools, opcache: false, ..FpmOptions::default() });
    let worker = fpm.workers("www")[0];
    let mut watch = Watch::start(997, fpm.site().path());
    for _ in 0..40 {
        for script in ["alpha", "beta"] {
            let page = format!("{script}.php");
            let request = Request::get(&format!("/{page}?ms=20")).script(&page);
            assert_eq!(fpm.send("www", &request).body, format!("{script}\n"));
        }
    }
    watch.until("both are sampled", |watch| {
        ["alpha", "beta"].iter().all(|script| {
            watch.stacks_of(worker).any(|count| count.request.as_ref().is_some_and(|r| r.uri.contains(script)))
        })
    });
    let mut named = 0;
    for count in watch.stacks_of(worker) {
        let Some(request) = &count.request else { continue };
        let (own, other) = if request.uri.contains("alpha") { ("alpha", "beta") } else { ("beta", "alpha") };
        for frame in &count.stack.frames {
            let name = full_name(frame).to_lowercase();
            assert!(!name.contains(other) && !frame.file.contains(other), "{name} {} in {own}", frame.file);
            named += u64::from(name.contains(own)) * count.samples;
        }
    }
    // Forty times two requests of 20 ms at 997 Hz make about 1 600 samples, each with one such frame.
    assert!(named > 800, "{named} samples carried a name of their script");
}

#[test]
#[ignore = "needs root and PHP"]
fn after_a_restart_of_opcache_names_are_those_of_the_new_code() {
    let _alone = alone();
    let ini = vec![("opcache.revalidate_freq".to_owned(), "0".to_owned())];
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ini, ..FpmOptions::default() });
    let worker = fpm.workers("www")[0];
    let root = fpm.site().document_root();
    fs::write(root.join("reset.php"), "<?php\necho opcache_reset() ? 'reset' : 'no';\n").unwrap();
    let mut watch = Watch::start(997, fpm.site().path());
    // Both are of one length, so that after a restart everything comes to the same addresses.
    for round in 0..10 {
        let name = ["alpha", "gamma"][round % 2];
        let code = format!(
            "<?php\nfunction {name}(): void {{ $end = hrtime(true) + 50e6; while (hrtime(true) < $end); }}\n{name}();\necho '{name}';\n"
        );
        fs::write(root.join("named.php"), code).unwrap();
        let reset = Request::get("/reset.php").script("reset.php");
        assert_eq!(fpm.send("www", &reset).body, "reset");
        for _ in 0..4 {
            let request = Request::get(&format!("/named.php?{name}")).script("named.php");
            assert_eq!(fpm.send("www", &request).body, name);
        }
    }
    watch.until("all are sampled", |watch| {
        watch.finished.iter().filter(|request| request.request.uri.starts_with("/named.php")).count() == 40
    });
    watch.read();
    let (mut named, mut all) = (0, 0);
    for count in watch.stacks_of(worker) {
        let Some(request) = count.request.as_ref().filter(|request| request.uri.starts_with("/named.php")) else {
            continue;
        };
        all += count.samples;
        let (own, other) = if request.uri.ends_with("alpha") { ("alpha", "gamma") } else { ("gamma", "alpha") };
        for frame in &count.stack.frames {
            let name = full_name(frame);
            assert!(!name.contains(other), "{name} in {own}");
            named += u64::from(name.contains(own)) * count.samples;
        }
    }
    // Forty times 50 ms at 997 Hz are 2 000 samples, less where others take the CPU; a few are taken outside of the function.
    assert!(named > 200 && named * 10 > all * 8, "{named} of {all} samples carried a name of their script");
}

#[test]
#[ignore = "needs root and PHP"]
fn every_kind_of_function_has_its_name() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    let worker = fpm.workers("www")[0];
    let mut watch = Watch::start(997, fpm.site().path());
    let response = fpm.get("www", "/names?ms=2000");
    assert_eq!(response.status, 200);
    let seen = |watch: &Watch| -> Vec<String> {
        watch.stacks_of(worker).flat_map(|count| &count.stack.frames).map(|frame| full_name(frame)).collect()
    };
    watch.until("all kinds are sampled", |watch| {
        let seen = seen(watch);
        response
            .body
            .lines()
            .all(|name| seen.iter().any(|seen| seen == name || seen.starts_with(&name.replace('}', ":"))))
    });
    assert!(!seen(&watch).iter().any(|name| name == "?"));
    // What waits before and after the script has no function.
    let sampled = watch.stacks_of(worker).filter(|count| count.samples > 0);
    let mut roots = sampled.filter_map(|count| count.stack.frames.last());
    assert!(roots.all(|root| &*root.name == "{main}" && root.file.ends_with("index.php")));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_stack_deeper_than_the_limit_says_that_it_is_cut() {
    let _alone = alone();
    for (depth, truncated) in [("16", false), ("126", false), ("4000", true)] {
        let script = PhpCli::start("forever.php", &[depth]);
        let mut watch = Watch::start(99, script.page("forever.php").parent().unwrap());
        let deep = |watch: &Watch| {
            watch.stacks.iter().find(|count| count.pid == script.pid() && count.stack.frames.len() >= 16).cloned()
        };
        watch.until("its stack is sampled", |watch| deep(watch).is_some());
        let stack = deep(&watch).unwrap().stack;
        assert_eq!(stack.truncated, truncated, "depth {depth}: {} frames", stack.frames.len());
        assert!(stack.frames.iter().any(|frame| &*frame.name == "descend"));
    }
}
