//! What each PHP master was started with, and what `tusktop doctor` says about it.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::loaded;
use crate::servers::{Apache, FpmOptions, PATIENCE, PhpCli, PhpFpm, Root, alone, copies, php_fpm, wait_until};
use crate::watch::Watch;
use tusktop::model::{Master, Tier, TierState};

fn with_variable() -> Vec<(String, String)> {
    vec![("USE_ZEND_DTRACE".into(), "1".into())]
}

fn master(watch: &Watch, pid: u32) -> Option<&Master> {
    watch.last.targets.iter().flat_map(|target| &target.masters).find(|master| master.pid == pid)
}

#[test]
#[ignore = "needs root and PHP"]
fn masters_of_one_image_are_told_apart_by_what_they_were_started_with() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = own_fpm(&folder);
    let plain = PhpFpm::start(options.clone());
    let mut watch = Watch::start(0, Path::new("/"));
    let mut variable = PhpFpm::start(FpmOptions { env: with_variable(), ..options });
    let dtrace = |watch: &Watch, fpm: &PhpFpm| master(watch, fpm.master()).and_then(|master| master.dtrace);
    watch.until("both are read, the one that runs and the one that starts", |watch| {
        dtrace(watch, &plain).is_some() && dtrace(watch, &variable).is_some()
    });
    assert_eq!((dtrace(&watch, &plain), dtrace(&watch, &variable)), (Some(false), Some(true)));
    let hint = master(&watch, plain.master()).unwrap().hint.join("\n");
    assert!(hint.contains("USE_ZEND_DTRACE=1 php-fpm") && hint.contains("no JIT"), "{hint}");
    let exact = |watch: &Watch| {
        let target = watch.last.targets.iter().find(|target| target.pids.contains(&plain.master())).unwrap();
        target.tiers[Tier::Exact].clone()
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
    let folder = php_fpm::extension_dir(&Root::Here, Path::new("/usr/bin/php"));
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
    // As Debian configures it: it has room, so that it could be switched on, and is off.
    let configured_off = PhpCli::start_with(&[&jit[..], &["-d", "opcache.jit=off"]].concat(), "forever.php", &[]);
    let switched_off = PhpCli::start_with(&jit[..2], "forever.php", &[]);
    let facts =
        |watch: &Watch, php: &PhpCli| master(watch, php.pid()).and_then(|m| Some((m.dtrace?, m.opcache?, m.jit?)));
    watch.until("the JIT is seen", |watch| facts(watch, &with_jit) == Some((false, true, true)));
    watch.until("a JIT that is off is seen", |watch| facts(watch, &configured_off) == Some((false, true, false)));
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
    // Its processes that are masters, once all are followed; another Apache may run the same module.
    let read = |watch: &Watch| {
        let workers = apache.workers();
        let family: Vec<u32> = workers.iter().copied().chain([apache.pid()]).collect();
        let target = watch.last.targets.iter().find(|target| target.pids.contains(&apache.pid()))?;
        let masters = target.masters.iter().filter(|master| family.contains(&master.pid));
        let masters: Vec<_> = masters.map(|master| (master.pid, master.dtrace)).collect();
        (workers.len() == 2 && family.iter().all(|pid| target.pids.contains(pid))).then_some(masters)
    };
    watch.until("it is followed", |watch| read(watch) == Some(vec![(apache.pid(), Some(false))]));
    assert!(master(&watch, apache.pid()).unwrap().hint[0].contains("/etc/apache2/envvars"));
    apache.restart();
    apache.get("/post/1");
    watch.until("it is as before", |watch| read(watch) == Some(vec![(apache.pid(), Some(false))]));
}

fn doctor_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    command.env("HOME", "/nonexistent").env_remove("TUSKTOP_CONFIG").stdin(Stdio::null());
    command.arg("doctor").args(arguments);
    command
}

fn doctor(arguments: &[&str]) -> Output {
    doctor_command(arguments).output().unwrap()
}

/// The report and its exit code.
fn report() -> (serde_json::Value, Option<i32>) {
    let output = doctor(&["--json"]);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

fn tier<'a>(program: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    program["tiers"].as_array().unwrap().iter().find(|tier| tier["name"] == name).unwrap()
}

/// The findings about one file; other PHP may run on the machine.
fn program<'a>(report: &'a serde_json::Value, exe: &Path) -> &'a serde_json::Value {
    let found = report["php"].as_array().unwrap().iter().find(|program| program["exe"] == exe.to_str().unwrap());
    found.unwrap_or_else(|| panic!("{} is not in {report:#}", exe.display()))
}

/// A copy of php-fpm, whose processes are the test's alone.
fn own_fpm(folder: &tempfile::TempDir) -> FpmOptions {
    let binary = folder.path().join("php-fpm");
    std::fs::copy(FpmOptions::default().binary, &binary).unwrap();
    FpmOptions { binary, ..FpmOptions::default() }
}

#[test]
#[ignore = "needs root and PHP"]
fn the_machine_that_runs_the_tests_has_all_that_is_needed() {
    let _alone = alone();
    let (report, _) = report();
    assert_eq!(report["schema"], 1);
    for check in report["system"].as_array().unwrap() {
        assert_eq!(check["state"], "ok", "{check:#}");
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn the_report_tells_masters_apart_and_says_what_to_type() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = own_fpm(&folder);
    let with = PhpFpm::start(FpmOptions { env: with_variable(), ..options.clone() });
    let (first, _) = report();
    let fpm = program(&first, &options.binary);
    assert_eq!((&first["running"], &fpm["processes"]), (&true.into(), &3.into()));
    assert!(fpm["tiers"].as_array().unwrap().iter().all(|tier| tier["works"] == true), "{fpm:#}");

    let without = PhpFpm::start(options.clone());
    let (second, code) = report();
    assert_eq!((&second["complete"], code), (&false.into(), Some(1)));
    let fpm = program(&second, &options.binary);
    assert_eq!((fpm["masters"].as_array().unwrap().len(), &fpm["processes"]), (2, &6.into()));
    let master = |pid: u32| fpm["masters"].as_array().unwrap().iter().find(|master| master["pid"] == pid).unwrap();
    assert_eq!((&master(with.master())["dtrace"], &master(without.master())["dtrace"]), (&true.into(), &false.into()));
    assert!(master(with.master())["hint"].as_array().unwrap().is_empty());
    assert!(master(without.master())["hint"].to_string().contains("USE_ZEND_DTRACE=1"));
    for (name, works) in [("memory", true), ("requests", true), ("sampling", true), ("exact", false)] {
        assert_eq!(tier(fpm, name)["works"], works, "{name}");
    }
    assert_eq!(tier(fpm, "exact")["state"], "off", "it can be used for the other master");

    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("pid {}: started without USE_ZEND_DTRACE=1", without.master())), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_build_without_probes_is_told_who_ships_them_and_what_works_all_the_same() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("php-fpm");
    copies::without_probes(&FpmOptions::default().binary, &binary);
    let _fpm = PhpFpm::start(FpmOptions { binary: binary.clone(), ..FpmOptions::default() });
    let (report, code) = report();
    let fpm = program(&report, &binary);
    assert_eq!((code, fpm["probes"].as_array().unwrap().len()), (Some(1), 0));
    assert_eq!((&tier(fpm, "requests")["works"], &tier(fpm, "exact")["state"]), (&true.into(), &"unavailable".into()));
    assert!(fpm["masters"][0]["hint"].to_string().contains("Debian 13"), "{fpm:#}");
}

#[test]
#[ignore = "needs root and PHP"]
fn a_tool_that_is_attached_without_the_semaphore_is_named_as_the_reason() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let options = own_fpm(&folder);
    let mut ebpf = aya::Ebpf::load_file(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/tusktop.bpf.o")).unwrap();
    let program: &mut aya::programs::UProbe = ebpf.program_mut("request").unwrap().try_into().unwrap();
    program.load().unwrap();
    let offset = copies::site(&options.binary, "request__startup");
    // Before it runs, so that another observer of this machine is not there first.
    program.attach(offset, &options.binary, aya::programs::uprobe::UProbeScope::AllProcesses).unwrap();
    let fpm = PhpFpm::start(options);
    let (report, code) = report();
    let requests = tier(self::program(&report, fpm.binary()), "requests").clone();
    assert_eq!((code, &requests["works"]), (Some(1), &false.into()), "{report:#}");
    let reason = requests["reason"].as_str().unwrap();
    assert!(reason.contains("another tool is attached") && reason.contains("bpftool"), "{reason}");
    assert_eq!(fpm.get("www", "/post/1").status, 200, "PHP goes on");
}

#[test]
#[ignore = "needs root and PHP"]
fn nothing_stays_attached_after_the_report() {
    let _alone = alone();
    let _fpm = PhpFpm::start(FpmOptions::default());
    let mut doctor = doctor_command(&[]).stdout(Stdio::null()).spawn().unwrap();
    let mut its = BTreeSet::new();
    wait_until(
        PATIENCE * 3,
        || "the report is made".to_owned(),
        || {
            its.extend(loaded::held_by(doctor.id()).programs);
            doctor.try_wait().unwrap().is_some()
        },
    );
    assert!(!its.is_empty(), "it has loaded programs");
    wait_until(PATIENCE, || "all programs have gone".to_owned(), || loaded::programs(|_| true).is_disjoint(&its));
}
