//! Programs that show themselves as PHP and are hostile to who observes them (`php.c`), beside a real php-fpm. Whatever they do,
//! tusktop goes on, the counts of php-fpm stay exact, what is lost is counted, and nothing stays attached.
//!
//! They belong to root, so that they are observed at all. What belongs to another user is left alone.

mod recorder;

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tusktop::model::{Function, NoticeKind, Snapshot, Target, Tier, TierState};

use self::recorder::Recorder;
use crate::{
    servers::{FpmOptions, PATIENCE, PhpFpm, Pool, alone, daemon::Daemon, wait_until},
    watch::Watch,
};

/// Any user that the machine has and that is not root.
const NOBODY: u32 = 65534;
/// The pool of the real php-fpm; no other server on the machine has one of this name.
const POOL: &str = "beside";
/// The script that an impostor says it runs.
const SCRIPT: &str = "/srv/impostor.php";
/// Requests to the real php-fpm.
const REQUESTS: usize = 300;
/// Numbers that tusktop has for files.
const IMAGES: usize = 64;

/// A folder that everybody can enter, and where programs are built.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Builds `php.c`.
fn build(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php/impostor/php.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-rdynamic", "-pthread", "-o"]).arg(&path).arg(source).args(options);
    assert!(compiler.status().expect("cc is there, as every build of Rust needs it").success());
    path
}

fn start(folder: &Path, program: &Path, arguments: &[&str]) -> Daemon {
    let mut command = Command::new(program);
    command.args(arguments);
    Daemon::start(command, &folder.join("log"), Signal::TERM)
}

/// A php-fpm with a file of its own: what else happens on the machine to the usual one does not matter.
fn php_fpm(folder: &Path) -> PhpFpm {
    let binary = folder.join("real-php-fpm");
    fs::copy(FpmOptions::default().binary, &binary).unwrap();
    PhpFpm::start(FpmOptions { binary, pools: vec![Pool::new(POOL, 2)], ..FpmOptions::default() })
}

fn target<'a>(snapshot: &'a Snapshot, exe: &Path) -> Option<&'a Target> {
    snapshot.php.targets.iter().find(|target| Path::new(&*target.exe) == exe)
}

/// A real php-fpm, and tusktop that records the machine.
struct Beside {
    fpm: PhpFpm,
    recorder: Recorder,
}

impl Beside {
    /// Starts tusktop when php-fpm and the impostors run, and waits until it has found php-fpm.
    fn start(folder: &Path) -> Self {
        Self::start_with_silent(folder, &[])
    }

    /// The same, with files that do not answer.
    fn start_with_silent(folder: &Path, silent: &[PathBuf]) -> Self {
        let fpm = php_fpm(folder);
        let mut recorder = Recorder::start(&folder.join("recording.tusk"), silent);
        let master = fpm.master();
        recorder.until("php-fpm is found", |snapshots| {
            let mut targets = snapshots.last().into_iter().flat_map(|snapshot| &snapshot.php.targets);
            targets.any(|target| target.pids.contains(&master) && target.tiers.is_on(Tier::Requests))
        });
        Self { fpm, recorder }
    }

    /// Sends requests to php-fpm, and waits until each of them is counted, once.
    fn counts_every_request(&mut self) {
        for number in 0..REQUESTS {
            assert_eq!(self.fpm.get(POOL, &format!("/post/{number}")).status, 200);
        }
        let site = self.fpm.site().path().to_str().unwrap().to_owned();
        let counted = |snapshots: &[Snapshot]| -> u64 {
            let routes = snapshots.iter().flat_map(|snapshot| &snapshot.php.routes);
            let own = routes.filter(|r| r.key.script.starts_with(&site) && r.key.route.starts_with("/post/"));
            own.map(|route| route.requests).sum()
        };
        let what = format!("{REQUESTS} requests are counted");
        self.recorder.until(&what, |snapshots| counted(snapshots) >= REQUESTS as u64);
        let snapshots = self.recorder.next(2);
        assert_eq!(counted(&snapshots), REQUESTS as u64, "none is counted twice");
    }

    /// Ends tusktop, and asks that it did not need more memory than it may.
    fn end(self) -> Vec<Snapshot> {
        let snapshots = self.recorder.end();
        assert_eq!(self.fpm.get(POOL, "/post/1").status, 200, "php-fpm goes on");
        snapshots
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn threads_that_end_inside_a_request_take_no_room_from_others() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-threads", &[]);
    let mut hostile = start(folder.path(), &program, &["threads"]);
    let mut beside = Beside::start(folder.path());
    let ended = || hostile.log().lines().filter(|line| line.ends_with(" threads")).count() * 128;
    let before = ended();
    beside.recorder.until("they are seen", |snapshots| {
        let mut routes = snapshots.iter().flat_map(|snapshot| &snapshot.php.routes);
        // The map of requests has room for 4 096.
        ended() - before > 10_000 && routes.any(|route| &*route.key.script == SCRIPT)
    });
    beside.counts_every_request();
    assert!(hostile.runs());
    beside.end();
}

#[test]
#[ignore = "needs root and PHP"]
fn a_flood_of_requests_exceptions_and_files_is_cut_and_said_and_hides_no_other_request() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-flood", &[]);
    let mut hostile = start(folder.path(), &program, &["flood"]);
    let mut beside = Beside::start(folder.path());
    beside
        .recorder
        .until("what does not fit is counted", |snapshots| snapshots.iter().any(|snapshot| snapshot.drops.events > 0));
    beside.counts_every_request();
    assert!(hostile.runs());
    let snapshots = beside.end();
    let last = snapshots.last().unwrap();
    assert!(last.php.routes.len() <= 1000 && last.php.exceptions.as_ref().is_none_or(|list| list.len() <= 10_000));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_storm_of_requests_is_not_counted_in_full_and_says_so_while_those_of_others_are() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-storm", &[]);
    // More than it can make in the time of the test, also of those that are not observed yet.
    let mut hostile = start(folder.path(), &program, &["requests", &i64::MAX.to_string()]);
    let mut beside = Beside::start(folder.path());
    let rests = |snapshot: &Snapshot| {
        target(snapshot, &program).is_some_and(|target| target.tiers[Tier::Requests].counted_percent.is_some())
    };
    beside.recorder.until("its requests rest", |snapshots| snapshots.iter().any(rests));
    beside.counts_every_request();
    assert!(hostile.runs());
    let snapshots = beside.end();
    let said = |snapshot: &Snapshot| snapshot.notices.iter().any(|notice| notice.kind == NoticeKind::TooManyToCount);
    assert!(snapshots.iter().filter(|snapshot| rests(snapshot)).any(said));
}

#[test]
#[ignore = "needs root and PHP"]
fn memory_that_lies_about_itself_changes_nothing_for_others() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-forged", &[]);
    let mut hostile = start(folder.path(), &program, &["forged"]);
    let pid = hostile.pid();
    let mut beside = Beside::start(folder.path());
    beside.recorder.until("its requests are seen", |snapshots| {
        let mut workers = snapshots.iter().flat_map(|snapshot| &snapshot.php.workers);
        workers.any(|worker| worker.pid == pid && worker.requests > Some(0))
    });
    beside.counts_every_request();
    assert_eq!(beside.fpm.get(POOL, "/burn?ms=2000").status, 200);
    let site = beside.fpm.site().path().to_str().unwrap().to_owned();
    let burn = |function: &&Function| &*function.key.name == "burn" && function.key.file.starts_with(&site);
    beside.recorder.until("php-fpm's own functions are named, with their lines", |snapshots| {
        let functions = || snapshots.iter().flat_map(|snapshot| &snapshot.php.functions).filter(burn);
        functions().any(|f| f.self_samples > 0) && functions().any(|f| !f.hot_lines.is_empty())
    });
    assert!(hostile.runs());
    let master = beside.fpm.master();
    let snapshots = beside.end();
    for function in snapshots.iter().flat_map(|snapshot| &snapshot.php.functions) {
        assert!(function.hot_lines.lines.len() <= 16, "{function:?}");
        let mut lines = function.hot_lines.lines.iter().map(|line| line.line);
        // It has 11 lines.
        assert!(!burn(&function) || lines.all(|line| (function.key.line..function.key.line + 11).contains(&line)));
    }
    let last = snapshots.last().unwrap();
    let own: Vec<_> = last.php.pools.iter().filter(|pool| pool.board.master == master).collect();
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!((&*own[0].board.name, own[0].board.max_children), (POOL, 2));
    let forged = last.php.pools.iter().filter(|pool| pool.board.master == pid).count();
    // As many as are kept of one master.
    assert!((1..=1024).contains(&forged), "{forged} of 1300");
    assert!(last.processes.iter().filter(|process| process.pool.as_deref() == Some(POOL)).count() == 2);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_process_whose_memory_never_answers_is_named_and_all_others_are_observed() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-silent", &[]);
    let hostile = start(folder.path(), &program, &["wait"]);
    let pid = hostile.pid();
    let name = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    let silent = ["maps", "mem", "environ", "cmdline"].map(name);
    let mut beside = Beside::start_with_silent(folder.path(), &silent);
    beside.counts_every_request();
    let snapshots = beside.recorder.until("it is named", |snapshots| {
        let mut notices = snapshots.iter().flat_map(|snapshot| &snapshot.notices);
        notices.any(|notice| notice.text.contains("not answering") && notice.text.contains(&format!("({pid})")))
    });
    assert!(snapshots.last().unwrap().processes.iter().any(|process| process.pid == pid));
    beside.end();
}

#[test]
#[ignore = "needs root and PHP"]
fn a_probe_with_512_places_is_not_attached_and_takes_no_room_from_others() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-notes", &["-DNOTES=512"]);
    let mut hostile = start(folder.path(), &program, &["wait"]);
    let mut beside = Beside::start(folder.path());
    beside.recorder.until("it is found", |snapshots| snapshots.last().is_some_and(|s| target(s, &program).is_some()));
    beside.counts_every_request();
    assert!(hostile.runs());
    let probes = beside.recorder.descriptors();
    let snapshots = beside.end();
    let target = target(snapshots.last().unwrap(), &program).unwrap();
    assert!(target.tiers[Tier::Requests].reason.contains("more than 4 places") || target.tiers.is_on(Tier::Requests));
    assert!(probes < 300, "{probes} descriptors");
}

#[test]
#[ignore = "needs root and PHP"]
fn files_in_great_number_that_come_and_go_leave_room_for_the_next() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-0", &[]);
    let fpm = php_fpm(folder.path());
    let mut watch = Watch::start(0, fpm.site().path());
    let of = |watch: &Watch, pid: u32| watch.last.targets.iter().find(|t| t.pids.contains(&pid)).cloned();
    // The same file, changed each time, as an upgrade or a user who wants to fill the list would do it.
    for number in 1..=IMAGES + 6 {
        let path = folder.path().join(format!("php-{number}"));
        fs::copy(&program, &path).unwrap();
        fs::File::options().append(true).open(&path).unwrap().write_all(&number.to_le_bytes()).unwrap();
        let process = start(folder.path(), &path, &["wait"]);
        let pid = process.pid();
        watch.until(&format!("copy {number} is observed"), |watch| {
            of(watch, pid).is_some_and(|target| target.tiers.is_on(Tier::Requests))
        });
        drop(process);
    }
    assert_eq!(fpm.get(POOL, "/post/1").status, 200);
    watch.until("php-fpm is still observed", |watch| watch.finished.len() == 1);
    assert!(watch.last.notices.iter().all(|notice| notice.kind != NoticeKind::PhpLeftOut));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_library_that_is_overwritten_while_it_runs_is_let_go_and_observed_anew() {
    let _alone = alone();
    let folder = folder();
    let loader = build(folder.path(), "loader", &["-DLOADER", "-ldl"]);
    let library = build(folder.path(), "libphp8.so", &["-shared", "-fPIC"]);
    let shifted = build(folder.path(), "shifted", &["-shared", "-fPIC", "-DSHIFT=\"4097\""]);
    let run = |count: &str| {
        let log = folder.path().join(format!("log-{count}"));
        let mut command = Command::new(&loader);
        command.arg(&library).args(["requests", count]);
        let process = Daemon::start(command, &log, Signal::TERM);
        wait_until(PATIENCE, || "it has run".to_owned(), || process.log().contains("done"));
        process
    };
    let mut watch = Watch::start(0, Path::new(SCRIPT));
    let is_known = |watch: &Watch| watch.last.targets.iter().any(|t| Path::new(&*t.exe) == library);
    let count = |watch: &Watch, pid: u32| watch.finished.iter().filter(|f| f.request.pid == pid).count();
    let mut first = run("0");
    watch.until("it is found", |watch| is_known(watch));
    let second = run("70");
    watch.until("its requests are counted", |watch| count(watch, second.pid()) == 70);
    // `cp` writes over a library that others run; the system refuses that only for programs.
    let bytes = fs::read(&shifted).unwrap();
    fs::File::options().write(true).truncate(true).open(&library).unwrap().write_all(&bytes).unwrap();
    watch.until("it is let go", |watch| !is_known(watch));
    let third = run("80");
    watch.until("the new code is found", |watch| is_known(watch));
    let mut fourth = run("90");
    watch.until("requests in the new code are counted", |watch| count(watch, fourth.pid()) == 90);
    watch.read();
    assert_eq!((count(&watch, second.pid()), count(&watch, fourth.pid())), (70, 90));
    assert!(first.runs() && fourth.runs(), "nobody died of it");
    drop(third);
}

#[test]
#[ignore = "needs root and PHP"]
fn an_impostor_of_another_user_is_left_alone() {
    let _alone = alone();
    let folder = folder();
    let program = build(folder.path(), "php-theirs", &[]);
    chown(&program, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut hostile: Vec<_> = ["threads", "flood", "forged"]
        .into_iter()
        .map(|what| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program).arg(what);
            Daemon::start(command, &folder.path().join(format!("log-{what}")), Signal::TERM)
        })
        .collect();
    let mut beside = Beside::start(folder.path());
    beside.recorder.until("it is listed", |snapshots| snapshots.last().is_some_and(|s| target(s, &program).is_some()));
    beside.counts_every_request();
    assert!(hostile.iter_mut().all(Daemon::runs));
    let snapshots = beside.end();
    let target = target(snapshots.last().unwrap(), &program).unwrap();
    assert!(target.not_observed.as_ref().is_some_and(|why| why.contains("belongs to nobody")), "{target:?}");
    assert!(Tier::ALL.into_iter().all(|tier| target.tiers[tier].state == TierState::Unavailable));
    let lost: u64 = snapshots.iter().map(|snapshot| snapshot.drops.events).sum();
    assert_eq!(lost, 0, "it takes no room");
    let mut routes = snapshots.iter().flat_map(|snapshot| &snapshot.php.routes);
    assert!(routes.all(|route| &*route.key.script != SCRIPT), "none of its requests is counted");
}
