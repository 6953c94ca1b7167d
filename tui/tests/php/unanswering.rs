//! PHP whose files do not answer, which happens when its memory is locked or a file system behind it is gone: a pipe without a
//! writer, mounted over one of its files in a mount namespace of the test's own, behaves the same.
#![expect(unsafe_code, reason = "unshare(2) of one thread has no safe wrapper")]

use std::{
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tusktop::model::{Master, NoticeKind, Snapshot, Tier};

use crate::servers::{FpmOptions, PATIENCE, PhpCli, PhpFpm, alone, copies, wait_until};
use crate::watch::Watch;

/// Runs a test in a thread with mounts of its own.
fn with_own_mounts(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        // SAFETY: it takes a number, and changes what this thread and those that it starts see mounted.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "this needs root");
        command("mount", &["--make-rprivate", "/"]);
        test();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn command(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

/// A file of a process that does not answer until this is dropped.
struct Silence {
    file: PathBuf,
    folder: TempDir,
}

impl Silence {
    fn over(pid: u32, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let silence = Self { file: format!("/proc/{pid}/{name}").into(), folder };
        let (pipe, file) = (silence.pipe(), silence.file.clone());
        command("mkfifo", &[pipe.to_str().unwrap()]);
        command("mount", &["--bind", pipe.to_str().unwrap(), file.to_str().unwrap()]);
        silence
    }

    fn pipe(&self) -> PathBuf {
        self.folder.path().join("pipe")
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        command("umount", &["--lazy", self.file.to_str().unwrap()]);
        // Whoever waits for it reads its end.
        drop(File::options().read(true).write(true).open(self.pipe()).unwrap());
    }
}

fn master(watch: &Watch, pid: u32) -> Option<&Master> {
    watch.last.targets.iter().flat_map(|target| &target.masters).find(|master| master.pid == pid)
}

fn names(watch: &Watch, pid: u32) -> bool {
    let kind = NoticeKind::PhpProcessesNotAnswering;
    watch.last.notices.iter().any(|notice| notice.kind == kind && notice.text.contains(&format!("({pid})")))
}

fn is_seen(watch: &Watch, pid: u32) -> bool {
    watch.last.targets.iter().any(|target| target.pids.contains(&pid))
}

/// PHP that sleeps.
fn sleeper() -> PhpCli {
    let php = PhpCli::start("sleeper.php", &[]);
    let cmdline = format!("/proc/{}/cmdline", php.pid());
    wait_until(PATIENCE, || "it is PHP".into(), || fs::read_to_string(&cmdline).unwrap().contains("sleeper.php"));
    php
}

/// All of php-fpm is seen, with requests that are sent now.
fn is_whole(watch: &mut Watch, fpm: &PhpFpm) {
    let before = watch.finished.len();
    for _ in 0..10 {
        fpm.get("www", "/post/1");
    }
    watch.until("requests are counted", |watch| watch.finished.len() >= before + 10);
    assert_eq!(watch.finished.len(), before + 10);
    watch.until("the master and the pool are read", |watch| {
        let pool = watch.last.pools.iter().any(|pool| pool.master == fpm.master() && &*pool.name == "www");
        pool && master(watch, fpm.master()).is_some_and(|master| master.dtrace == Some(false))
    });
    let target = watch.last.targets.iter().find(|target| target.pids.contains(&fpm.master())).unwrap();
    assert!(target.tiers.is_on(Tier::Requests) && target.pids.len() >= 3, "{target:?}");
}

#[test]
#[ignore = "needs root and PHP"]
fn php_that_does_not_answer_is_named_and_all_others_are_seen_until_it_answers() {
    let _alone = alone();
    with_own_mounts(|| {
        let fpm = PhpFpm::start(FpmOptions::default());
        for name in ["cmdline", "maps"] {
            let php = sleeper();
            let silence = Silence::over(php.pid(), name);
            let mut watch = Watch::start(0, fpm.site().path());
            assert!(names(&watch, php.pid()), "{name}: {:?}", watch.last.notices);
            is_whole(&mut watch, &fpm);
            assert!(names(&watch, php.pid()) && !is_seen(&watch, php.pid()), "{name}");
            drop(silence);
            watch.until("it is observed when it answers", |watch| is_seen(watch, php.pid()));
            assert!(!names(&watch, php.pid()), "{name}");
            is_whole(&mut watch, &fpm);
        }
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn memory_that_does_not_answer_is_named_and_read_when_it_does() {
    let _alone = alone();
    with_own_mounts(|| {
        let fpm = PhpFpm::start(FpmOptions::default());
        let php = sleeper();
        let silence = Silence::over(php.pid(), "mem");
        let mut watch = Watch::start(0, fpm.site().path());
        assert!(names(&watch, php.pid()), "{:?}", watch.last.notices);
        let known = master(&watch, php.pid()).unwrap();
        assert_eq!((known.dtrace, &*known.reason), (None, "its memory does not answer"));
        is_whole(&mut watch, &fpm);
        drop(silence);
        watch.until("its memory is read", |watch| {
            master(watch, php.pid()).is_some_and(|master| master.dtrace == Some(false))
        });
        assert!(!names(&watch, php.pid()));
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn nothing_is_attached_to_a_file_while_a_process_that_runs_it_does_not_answer() {
    let _alone = alone();
    with_own_mounts(|| {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("php-fpm");
        copies::copy(&FpmOptions::default().binary, &binary, |_| {});
        let fpm = PhpFpm::start(FpmOptions { binary, ..FpmOptions::default() });
        let silence = Silence::over(fpm.workers("www")[0], "environ");
        let mut watch = Watch::start(0, fpm.site().path());
        let requests = |watch: &Watch| {
            let target = watch.last.targets.iter().find(|target| target.pids.contains(&fpm.master())).unwrap();
            target.tiers[Tier::Requests].clone()
        };
        assert!(requests(&watch).reason.contains("is not answering"), "{:?}", requests(&watch));
        drop(silence);
        watch.until("it is attached", |watch| requests(watch).reason.is_empty());
        is_whole(&mut watch, &fpm);
    });
}

/// `tusktop` as a process of its own.
fn tusktop(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    command.args(arguments).env("HOME", "/nonexistent").stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
#[ignore = "needs root and PHP"]
fn a_snapshot_ends_in_time_and_signals_end_it_while_php_does_not_answer() {
    let _alone = alone();
    with_own_mounts(|| {
        let fpm = PhpFpm::start(FpmOptions::default());
        let php = sleeper();
        let _silence = Silence::over(php.pid(), "mem");
        let output = tusktop(&["snap", "-d", "1s", "--format", "json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
        let kind = NoticeKind::PhpProcessesNotAnswering;
        let notice = snapshot.notices.iter().find(|notice| notice.kind == kind).unwrap();
        assert!(notice.text.contains(&format!("({})", php.pid())), "{}", notice.text);
        assert!(snapshot.php.targets.iter().any(|target| target.pids.contains(&fpm.master())));
        let output = tusktop(&["doctor"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("php ({}) is not answering", php.pid())), "{text}");

        for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
            let mut snap = tusktop(&["snap", "-d", "1h"]).spawn().unwrap();
            let pid = snap.id();
            // One that reads memory was given up for the silent one, and another reads that of php-fpm.
            wait_until(PATIENCE, || "it waits".into(), || readers_of(pid).len() == 2);
            kill_process(Pid::from_child(&snap), signal).unwrap();
            let mut text = String::new();
            snap.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(snap.wait().unwrap().code(), Some(code), "{text}");
        }
    });
}

/// The processes of a tusktop that read memory, those that were given up and have not ended among them.
fn readers_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    children.flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}
