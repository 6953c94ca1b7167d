//! CPUs that come and go while tusktop runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::servers::{PhpCli, alone};
use crate::watch::Watch;

/// A CPU that is offline until this is dropped or [`Offline::end`] is called.
struct Offline(PathBuf);

impl Offline {
    fn begin(cpu: usize) -> Self {
        let file = PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/online"));
        fs::write(&file, "0").unwrap_or_else(|error| panic!("{}: {error}; this needs a second CPU", file.display()));
        Self(file)
    }

    fn end(&self) {
        fs::write(&self.0, "1").unwrap();
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "1");
    }
}

/// Samples of a script that may run on one CPU only.
fn sampled_on(cpu: usize, php: &PhpCli, watch: &mut Watch) {
    let pinned = Command::new("taskset").args(["-pc", &cpu.to_string(), &php.pid().to_string()]).output().unwrap();
    assert!(pinned.status.success(), "{pinned:?}");
    let before = watch.stacks.len();
    watch.until("it is sampled", |watch| watch.stacks[before..].iter().any(|count| count.pid == php.pid()));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_cpu_that_comes_is_sampled_and_one_that_goes_and_comes_back_is_sampled_again() {
    let _alone = alone();
    let last = std::thread::available_parallelism().unwrap().get() - 1;
    let offline = Offline::begin(last);
    let php = PhpCli::start("forever.php", &[]);
    let mut watch = Watch::start(997, Path::new("/"));
    sampled_on(0, &php, &mut watch);
    offline.end();
    sampled_on(last, &php, &mut watch);
    drop(offline);
    let offline = Offline::begin(last);
    sampled_on(0, &php, &mut watch);
    offline.end();
    sampled_on(last, &php, &mut watch);
}
