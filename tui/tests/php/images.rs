//! Strange and broken PHP programs: each is said, none takes the others down, and no number is wrong.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use crate::servers::{FpmOptions, PhpCli, PhpFpm, alone, copies};
use crate::watch::Watch;
use tusktop::model::{SeenBy, Target, Tier, TierState};

/// Serves five pages from a copy of php-fpm, and returns what is known of it then. All five are seen, once each.
fn served(binary: &Path, started: impl FnOnce()) -> Target {
    let fpm = PhpFpm::start(FpmOptions { binary: binary.to_owned(), ..FpmOptions::default() });
    started();
    let mut watch = Watch::start(0, fpm.site().path());
    for _ in 0..5 {
        assert_eq!(fpm.get("www", "/post/1").status, 200);
    }
    watch.until("all requests are seen", |watch| watch.finished.len() >= 5);
    watch.read();
    assert_eq!(watch.requests().into_iter().collect::<Vec<_>>(), [(("/post/1".to_owned(), Some(200)), 5)]);
    watch.last.targets.iter().find(|target| target.pids.contains(&fpm.master())).unwrap().clone()
}

#[test]
#[ignore = "needs root and PHP"]
fn a_stripped_binary_is_observed_all_the_same() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("php-fpm");
    copies::stripped(&FpmOptions::default().binary, &binary);
    let target = served(&binary, || {});
    assert_eq!(
        (target.tiers[Tier::Requests].state, target.tiers[Tier::Sampling].state),
        (TierState::On, TierState::Off)
    );
    assert!(target.version.is_some() && !target.functions.is_empty());
}

#[test]
#[ignore = "needs root and PHP"]
fn probes_with_unknown_arguments_are_left_alone_and_functions_take_their_place() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("php-fpm");
    copies::copy(&FpmOptions::default().binary, &binary, |bytes| {
        copies::with_strange_arguments(bytes, "request__startup");
        copies::with_strange_arguments(bytes, "function__return");
    });
    let target = served(&binary, || {});
    assert_eq!(target.tiers[Tier::Requests].seen_by, Some(SeenBy::Symbol));
    let exact = &target.tiers[Tier::Exact];
    assert!(exact.state == TierState::Unavailable && exact.reason.contains("function__return"), "{exact:?}");
}

#[test]
#[ignore = "needs root and PHP"]
fn the_debugger_is_known_and_its_script_is_sampled() {
    let _alone = alone();
    let php = PhpCli::start_in_debugger("forever.php");
    let mut watch = Watch::start(99, php.page("forever.php").parent().unwrap());
    watch.until("its stack is sampled", |watch| watch.stacks.iter().any(|count| count.pid == php.pid()));
    let target = watch.last.targets.iter().find(|target| target.pids.contains(&php.pid())).unwrap();
    assert_eq!((&*target.sapi, target.version.is_some()), ("phpdbg", true));
    let process = watch.last.processes.iter().find(|process| process.pid == php.pid()).unwrap();
    assert_eq!(process.script.as_deref().map(Path::new), Some(&*php.page("forever.php")));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_deleted_executable_is_observed_and_its_master_read() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("php-fpm");
    fs::copy(FpmOptions::default().binary, &binary).unwrap();
    let target = served(&binary, || fs::remove_file(&binary).unwrap());
    assert_eq!(Path::new(&*target.exe), binary, "without the kernel's mark");
    assert_eq!(target.masters.len(), 1);
    assert_eq!(target.masters[0].dtrace, Some(false));
    assert!(target.masters[0].hint[0].contains("php-fpm") && !target.masters[0].hint.join("").contains("deleted"));
}

#[test]
#[ignore = "needs root and PHP"]
fn broken_programs_on_the_disk_are_named_each_with_its_reason() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let php = FpmOptions::default().binary;
    let path = |name: &str| folder.path().join(name);
    copies::copy(&php, &path("php7.1"), |bytes| bytes.truncate(bytes.len() / 2));
    copies::copy(&php, &path("php7.2"), |bytes| {
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
    });
    fs::write(path("php7.3"), "#!/bin/sh\n").unwrap();
    let huge = fs::File::create(path("php7.4")).unwrap();
    huge.set_len(1 << 30).unwrap();
    copies::copy(&php, &path("php8.0"), |bytes| bytes[16..64].fill(0xff));
    fs::create_dir(path("php8.1")).unwrap();
    std::os::unix::fs::symlink(path("nowhere"), path("php8.3")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
        .args(["doctor", "--json"])
        .env("PATH", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let notices = report["notices"].to_string();
    for (name, reason) in [
        ("php7.1", "cannot be read as an ELF file"),
        ("php7.3", "not a 64-bit little-endian ELF file"),
        ("php7.4", "not a 64-bit little-endian ELF file"),
        ("php8.0", "cannot be read as an ELF file: malformed"),
    ] {
        let about = report["notices"].as_array().unwrap().iter().find(|notice| notice.to_string().contains(name));
        assert!(about.is_some_and(|notice| notice.to_string().contains(reason)), "{name}: {notices}");
    }
    assert!(!notices.contains("php7.2"), "its names are found without the table of sections: {notices}");
    assert!(!report["php"].as_array().unwrap().is_empty(), "the others are examined: {report:#}");
}

#[test]
#[ignore = "needs root and PHP"]
fn a_program_that_may_not_be_read_is_named_to_a_user_without_rights() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let (tusktop, php) = (folder.path().join("tusktop"), folder.path().join("php8.9"));
    fs::copy(env!("CARGO_BIN_EXE_tusktop"), &tusktop).unwrap();
    fs::copy("/usr/bin/php", &php).unwrap();
    fs::set_permissions(&php, Permissions::from_mode(0o700)).unwrap();
    let output = Command::new(tusktop)
        .args(["doctor", "--json"])
        .env_clear()
        .env("PATH", folder.path())
        .current_dir("/")
        .uid(65534)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let notices = report["notices"].to_string();
    assert!(notices.contains("php8.9") && notices.contains("run as root"), "{notices}");
}
