//! PHP that moves its own code (`opcache.huge_code_pages`) does not die of being watched, and is said not to be observed by probes.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use tusktop::model::{Tier, TierState};

use crate::{
    servers::{FpmOptions, PATIENCE, PhpFpm, Pool, Root, alone, php_fpm::extension_dir, wait_until},
    watch::Watch,
};

const POOL: &str = "moving";

/// php-fpm with one pool that moves its code to huge pages where the place at which it was loaded lets it.
fn moving() -> PhpFpm {
    let ini = vec![("opcache.huge_code_pages".to_owned(), "1".to_owned())];
    PhpFpm::start(FpmOptions { pools: vec![Pool::new(POOL, 2)], ini, ..FpmOptions::default() })
}

fn answers(fpm: &PhpFpm) {
    for _ in 0..20 {
        assert_eq!(fpm.get(POOL, "/burn?ms=1").status, 200);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn a_command_that_moves_its_code_ends_as_if_nothing_watched_it() {
    let _alone = alone();
    let opcache =
        format!("zend_extension={}/opcache.so", extension_dir(&Root::Here, Path::new("/usr/bin/php")).display());
    // About every second start moves the code: the place in memory is chosen by chance.
    for _ in 0..12 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
        command.args(["snap", "-o", "/dev/null", "--", "php", "-n", "-d", &opcache, "-d", "opcache.enable_cli=1"]);
        command.args(["-d", "opcache.huge_code_pages=1", "-r", "echo \"ok\\n\";"]).stdin(Stdio::null());
        let output = command.env("HOME", "/nonexistent").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("ok"), "{:?} {said}", output.status);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn servers_that_move_their_code_serve_on_whether_they_start_before_or_after() {
    let _alone = alone();
    let before = moving();
    let mut watch = Watch::start(99, Path::new("/"));
    answers(&before);
    for _ in 0..6 {
        let after = moving();
        answers(&after);
        let master = after.master();
        watch.until("its probes are said not to be there", |watch| {
            let mut targets = watch.last.targets.iter();
            targets.find(|target| target.pids.contains(&master)).is_some_and(|target| {
                let requests = &target.tiers[Tier::Requests];
                requests.state == TierState::Unavailable && requests.reason.contains("huge_code_pages")
            })
        });
        answers(&after);
        assert_eq!(after.workers(POOL).len(), 2);
    }
    answers(&before);
    // Stacks are taken without a trap.
    wait_until(
        PATIENCE,
        || "samples".to_owned(),
        || {
            answers(&before);
            watch.read();
            !watch.stacks.is_empty()
        },
    );
}
