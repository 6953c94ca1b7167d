//! What each PHP master was started with, and what `tusktop doctor` says about it.

mod servers;
mod watch;

use std::path::Path;

use rustix::process::Signal;
use servers::{Apache, FpmOptions, PATIENCE, PhpCli, PhpFpm, alone, wait_until};
use tusktop::model::{Master, TierState};
use watch::Watch;

fn with_variable() -> FpmOptions {
    FpmOptions { env: vec![("USE_ZEND_DTRACE".into(), "1".into())], ..FpmOptions::default() }
}

fn master(watch: &Watch, pid: u32) -> Option<&Master> {
    watch.last.targets.iter().flat_map(|target| &target.masters).find(|master| master.pid == pid)
}

#[test]
#[ignore = "needs root and PHP"]
fn masters_of_one_image_are_told_apart_by_what_they_were_started_with() {
    let _alone = alone();
    let plain = PhpFpm::start(FpmOptions::default());
    let mut watch = Watch::start(0, Path::new("/"));
    let mut variable = PhpFpm::start(with_variable());
    let dtrace = |watch: &Watch, fpm: &PhpFpm| master(watch, fpm.master()).and_then(|master| master.dtrace);
    watch.until("both are read, the one that runs and the one that starts", |watch| {
        dtrace(watch, &plain).is_some() && dtrace(watch, &variable).is_some()
    });
    assert_eq!((dtrace(&watch, &plain), dtrace(&watch, &variable)), (Some(false), Some(true)));
    let hint = master(&watch, plain.master()).unwrap().hint.join("\n");
    assert!(hint.contains("USE_ZEND_DTRACE=1 php-fpm") && hint.contains("no JIT"), "{hint}");
    let exact = |watch: &Watch| {
        let target = watch.last.targets.iter().find(|target| target.pids.contains(&plain.master())).unwrap();
        target.tiers.exact.clone()
    };
    assert_eq!(exact(&watch).state, TierState::Off);
    assert!(exact(&watch).reason.contains(&format!("pid {}:", plain.master())), "{:?}", exact(&watch));
    for fpm in [&plain, &variable] {
        assert!(fpm.workers("www").iter().all(|&pid| master(&watch, pid).is_none()), "workers are no masters");
        watch.until("opcache is seen", |watch| master(watch, fpm.master()).unwrap().opcache == Some(true));
        assert_eq!(master(&watch, fpm.master()).unwrap().jit, Some(false));
    }
    // A reload starts the same program again in the same process.
    variable.reload();
    watch.until("it is read again after its exec", |watch| dtrace(watch, &variable) == Some(true));
    variable.stop();
    watch.until("only the other one is left", |watch| {
        master(watch, variable.master()).is_none() && exact(watch).state == TierState::Unavailable
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn opcache_and_the_jit_of_a_command_line_are_seen() {
    let _alone = alone();
    let mut watch = Watch::start(0, Path::new("/"));
    let folder = servers::php_fpm::extension_dir(Path::new("/usr/bin/php"));
    let extension = format!("zend_extension={}/opcache.so", folder.display());
    let jit = [
        "-d",
        &*extension,
        "-d",
        "opcache.enable_cli=1",
        "-d",
        "opcache.jit=tracing",
        "-d",
        "opcache.jit_buffer_size=16M",
    ];
    let with_jit = PhpCli::start_with(&jit, "forever.php", &[]);
    let without_jit = PhpCli::start_with(&jit[..4], "forever.php", &[]);
    let switched_off = PhpCli::start_with(&jit[..2], "forever.php", &[]);
    let facts =
        |watch: &Watch, php: &PhpCli| master(watch, php.pid()).and_then(|m| Some((m.dtrace?, m.opcache?, m.jit?)));
    watch.until("the JIT is seen", |watch| facts(watch, &with_jit) == Some((false, true, true)));
    watch.until("opcache is seen", |watch| facts(watch, &without_jit) == Some((false, true, false)));
    watch.until("the script is read", |watch| facts(watch, &switched_off) == Some((false, false, false)));
    assert_eq!(master(&watch, with_jit.pid()).unwrap().variable, Some(false));
}

#[test]
#[ignore = "needs root and PHP"]
fn apache_has_one_master_also_after_a_graceful_restart() {
    let _alone = alone();
    let mut watch = Watch::start(0, Path::new("/"));
    let apache = Apache::start(2);
    let read = |watch: &Watch| {
        let target = watch.last.targets.iter().find(|target| &*target.sapi == "apache")?;
        let pids: Vec<_> = target.masters.iter().map(|master| (master.pid, master.dtrace)).collect();
        (target.pids.len() >= 3).then_some(pids)
    };
    watch.until("it is followed", |watch| read(watch) == Some(vec![(apache.pid(), Some(false))]));
    assert!(master(&watch, apache.pid()).unwrap().hint[0].contains("/etc/apache2/envvars"));
    let old = apache.workers();
    rustix::process::kill_process(rustix::process::Pid::from_raw(apache.pid() as i32).unwrap(), Signal::USR1).unwrap();
    wait_until(
        PATIENCE,
        || "new workers after a graceful restart".to_owned(),
        || apache.workers().len() == 2 && apache.workers().iter().all(|pid| !old.contains(pid)),
    );
    apache.get("/post/1");
    watch.until("it is as before", |watch| read(watch) == Some(vec![(apache.pid(), Some(false))]));
}
