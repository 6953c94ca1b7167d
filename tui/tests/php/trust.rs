//! Whose PHP is observed, what a program is by its file, and when it is let go.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::servers::{FpmOptions, PhpFpm, Pool, alone, copies};
use crate::watch::Watch;
use tempfile::TempDir;
use tusktop::{
    collect::php,
    model::{NoticeKind, Snapshot, Target, Tier, TierState},
};

/// Any user that the machine has and that is not root.
const NOBODY: u32 = 65534;

/// A program that waits until it is ended.
struct Waiting(Child);

impl Waiting {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// PHP that reads its script from a pipe to which nothing is written.
    fn php(binary: &Path) -> Self {
        Self::start(Command::new(binary).arg("-n"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that everybody can enter.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A copy of PHP for the command line, with this owner and mode.
fn copy(folder: &TempDir, name: &str, owner: u32, mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    fs::copy("/usr/bin/php", &path).unwrap();
    chown(&path, Some(owner), None).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn of(watch: &Watch, pid: u32) -> Option<&Target> {
    watch.last.targets.iter().find(|target| target.pids.contains(&pid))
}

fn found(watch: &mut Watch, pid: u32) -> Target {
    watch.until("it is found", |watch| of(watch, pid).is_some());
    of(watch, pid).unwrap().clone()
}

#[test]
#[ignore = "needs root and PHP"]
fn php_of_another_user_is_observed_only_where_its_owner_is_named() {
    let _alone = alone();
    let folder = folder();
    let theirs = Waiting::php(&copy(&folder, "php", NOBODY, 0o755));
    let open = Waiting::php(&copy(&folder, "php-open", 0, 0o757));
    let ours = Waiting::php(&copy(&folder, "php-ours", 0, 0o755));

    let mut watch = Watch::start(0, Path::new("/"));
    let reason = found(&mut watch, theirs.pid()).not_observed.unwrap();
    assert_eq!(&*reason, "belongs to nobody; --php-owner nobody (or php_owners) allows it");
    assert!(found(&mut watch, open.pid()).not_observed.unwrap().contains("written by others"));
    for pid in [theirs.pid(), open.pid()] {
        let target = of(&watch, pid).unwrap();
        assert!(Tier::ALL.into_iter().all(|tier| target.tiers[tier].state == TierState::Unavailable));
        assert!(target.version.is_none() && target.masters.is_empty(), "its memory is not read");
    }
    let notices: Vec<_> = watch.last.notices.iter().filter(|n| n.kind == NoticeKind::PhpNotTrusted).collect();
    assert!(notices.iter().any(|notice| notice.text.contains("belongs to nobody")), "{notices:?}");
    assert!(found(&mut watch, ours.pid()).tiers.is_on(Tier::Requests));
    drop(open);
    let path = folder.path().join("php-open");
    watch.until("what nobody runs is forgotten", |watch| {
        watch.last.targets.iter().all(|target| Path::new(&*target.exe) != path)
    });
    watch.stop();

    let owners = vec![NOBODY];
    let mut watch = Watch::start_with(php::Options { owners, ..php::Options::default() }, Path::new("/"));
    let target = found(&mut watch, theirs.pid());
    assert!(target.not_observed.is_none() && target.tiers.is_on(Tier::Requests), "{target:?}");
}

#[test]
#[ignore = "needs root and PHP"]
fn a_place_that_others_control_does_not_hide_the_file_elsewhere() {
    let _alone = alone();
    let folder = folder();
    let path = copy(&folder, "php", 0, 0o755);
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(&path, open.join("php")).unwrap();
    let elsewhere = Waiting::php(&open.join("php"));
    let mut watch = Watch::start(0, Path::new("/"));
    assert!(found(&mut watch, elsewhere.pid()).not_observed.unwrap().contains("others than its owner can write"));
    let php = Waiting::php(&path);
    let target = found(&mut watch, php.pid());
    assert!(target.tiers.is_on(Tier::Requests) && Path::new(&*target.exe) == path, "{target:?}");
    watch.until("it is one file", |watch| of(watch, elsewhere.pid()).is_some_and(|other| other.image == target.image));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_command_of_the_user_who_typed_sudo_is_observed() {
    let _alone = alone();
    let folder = folder();
    let php = copy(&folder, "php", NOBODY, 0o755);
    let snap = |sudo_uid: Option<u32>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
        command.args(["snap", "--format", "json", "-o"]).arg(folder.path().join("report")).arg("--").arg(&php);
        command.args(["-n", "-r", "usleep(1000);"]).env_remove("SUDO_UID").env("HOME", "/nonexistent");
        command.envs(sudo_uid.map(|uid| ("SUDO_UID", uid.to_string())));
        assert!(command.status().unwrap().success());
        let report = fs::read_to_string(folder.path().join("report")).unwrap();
        serde_json::from_str::<Snapshot>(&report).unwrap()
    };
    let path = php.display().to_string();
    let observed = snap(Some(NOBODY));
    assert!(observed.php.targets.iter().any(|target| *target.exe == *path && target.not_observed.is_none()));
    assert!(observed.php.requests.iter().any(|request| request.finished), "{:?}", observed.php.requests);
    let unobserved = snap(None);
    assert!(unobserved.php.requests.is_empty());
    let mut notices = unobserved.notices.iter().filter(|notice| notice.kind == NoticeKind::PhpNotTrusted);
    assert!(notices.any(|notice| notice.text.contains(&path) && notice.hint.contains("--php-owner nobody")));
}

#[test]
#[ignore = "needs root and PHP"]
fn doctor_names_php_that_it_does_not_observe_and_the_option_that_allows_it() {
    let _alone = alone();
    let folder = folder();
    let php = Waiting::php(&copy(&folder, "php", NOBODY, 0o755));
    let doctor = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tusktop")).arg("doctor").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = doctor(&[]);
    let path = folder.path().join("php").display().to_string();
    let about = text.split("\n\n").find(|part| part.starts_with("PHP ") && part.contains(&path)).unwrap();
    assert!(about.contains("not observed: belongs to nobody; --php-owner nobody"), "{about}");
    let report: serde_json::Value = serde_json::from_str(&doctor(&["--json", "--php-owner", "nobody"])).unwrap();
    let programs = report["php"].as_array().unwrap();
    let program = programs.iter().find(|program| program["exe"] == *path).unwrap();
    assert!(program["not_observed"].is_null() && program["version"].is_string(), "{program}");
    drop(php);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_program_is_what_its_file_says_whatever_it_is_called() {
    let _alone = alone();
    let folder = folder();
    let binary = folder.path().join("webworker");
    fs::copy(FpmOptions::default().binary, &binary).unwrap();
    let fpm = PhpFpm::start(FpmOptions { binary, ..FpmOptions::default() });
    let php = Waiting::php(&copy(&folder, "php-fpm8.2", 0, 0o755));
    let mut watch = Watch::start(0, fpm.site().path());
    assert_eq!(&*found(&mut watch, fpm.master()).sapi, "fpm");
    assert_eq!(&*found(&mut watch, php.pid()).sapi, "cli");

    // A program of any name that has PHP as a library, started before and after.
    let library = folder.path().join("libphp8.2.so");
    fs::copy(FpmOptions::default().binary, &library).unwrap();
    let script = "import mmap,os,sys;f=os.open(sys.argv[1],os.O_RDONLY);\
                  m=mmap.mmap(f,0,flags=mmap.MAP_PRIVATE,prot=mmap.PROT_READ|mmap.PROT_EXEC);sys.stdin.read()";
    let program = || Waiting::start(Command::new("python3").args(["-c", script]).arg(&library));
    let after = program();
    assert_eq!(Path::new(&*found(&mut watch, after.pid()).exe), library);
    watch.stop();
    let mut watch = Watch::start(0, fpm.site().path());
    assert_eq!(Path::new(&*found(&mut watch, after.pid()).exe), library);
}

#[test]
#[ignore = "needs root and PHP"]
fn the_title_of_a_stranger_names_a_pool_of_his_own() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("titled", 1)], ..FpmOptions::default() });
    let mut sleep = Command::new("/bin/sleep");
    let stranger = Waiting::start(sleep.arg0("php-fpm: pool titled").arg("1000").uid(NOBODY).gid(NOBODY));
    let output =
        Command::new(env!("CARGO_BIN_EXE_tusktop")).args(["snap", "-d", "100ms", "--format", "json"]).output().unwrap();
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    let group = |pid: u32| {
        let process = snapshot.processes.iter().find(|process| process.pid == pid).unwrap();
        (snapshot.groups[process.group].name.to_string(), process.pool.as_deref().map(str::to_owned))
    };
    assert_eq!(group(fpm.workers("titled")[0]), ("php-fpm: titled".into(), Some("titled".into())));
    let own = "titled 1000 (nobody)";
    assert_eq!(group(stranger.pid()), (format!("php-fpm: {own}"), Some(own.into())));
    let worker = snapshot.php.workers.iter().find(|worker| worker.pid == fpm.workers("titled")[0]).unwrap();
    assert_eq!((&*worker.pool, worker.group.as_deref()), ("titled", Some("php-fpm: titled")));
}

#[test]
#[ignore = "needs root and PHP"]
fn php_that_exports_no_names_is_named() {
    let _alone = alone();
    let folder = folder();
    let path = folder.path().join("php8.2");
    copies::copy(Path::new("/usr/bin/php"), &path, |bytes| {
        let name = b"\0php_request_startup\0";
        let at = place_of(bytes, name);
        bytes[at + 1] = b'x';
    });
    let stripped = Command::new("objcopy").arg("--remove-section=.note.stapsdt").arg(&path).status();
    assert!(stripped.expect("objcopy is installed (binutils)").success());
    let _php = Waiting::php(&path);
    let mut watch = Watch::start(0, Path::new("/"));
    let path = path.display().to_string();
    watch.until("it is named", |watch| {
        let mut notices = watch.last.notices.iter().filter(|notice| notice.kind == NoticeKind::ProgramUnread);
        notices.any(|notice| notice.text.contains(&path) && notice.text.contains("exports no names"))
    });
}

/// Where a text is.
fn place_of(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|part| part == text).unwrap()
}

#[test]
#[ignore = "needs root and PHP"]
fn a_file_that_is_changed_in_place_is_let_go_at_once_and_found_again() {
    let _alone = alone();
    let folder = folder();
    let path = copy(&folder, "php-copy", 0, 0o755);
    let first = Waiting::php(&path);
    let mut watch = Watch::start(0, Path::new("/"));
    assert!(found(&mut watch, first.pid()).tiers.is_on(Tier::Requests));
    let ended = first.pid();
    drop(first);
    let listed = |watch: &Watch| watch.last.targets.iter().any(|target| Path::new(&*target.exe) == path);
    watch.until("the process has ended", |watch| of(watch, ended).is_none());
    assert!(listed(&watch), "it is kept for a while");
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"more").unwrap();
    drop(file);
    watch.until("it is let go", |watch| !listed(watch));
    let second = Waiting::php(&path);
    assert!(found(&mut watch, second.pid()).tiers.is_on(Tier::Requests));
    // A new name is no change of the file.
    fs::hard_link(&path, folder.path().join("php-link")).unwrap();
    let third = Waiting::php(&folder.path().join("php-link"));
    let image = found(&mut watch, second.pid()).image;
    fs::rename(&path, folder.path().join("php-moved")).unwrap();
    assert_eq!(found(&mut watch, third.pid()).image, image, "one file is attached once");
}
