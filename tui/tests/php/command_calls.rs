//! `tusktop snap --exact -- php SCRIPT`: every call of a command is counted, and nothing else of it changes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::servers::{alone, copies};
use tusktop::model::{ExactKind, ExactState, LineCalls, Snapshot};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/php/scripts/calls.php");

/// Traces a command. The script waits for the file of its first argument, which is there from the start.
fn snap(exact: &str, command: &[&str]) -> (Output, Snapshot) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
        // No timer: these are claims about calls, and a sample that falls into an exec is one that is lost and counted.
        .args(["snap", "--hz", "0", exact, "--format", "json", "-o"])
        .arg(&report)
        .arg("--")
        .args(command)
        .env("HOME", "/nonexistent")
        .env_remove("USE_ZEND_DTRACE")
        .env_remove("TUSKTOP_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = fs::read_to_string(&report).unwrap_or_default();
    let snapshot = serde_json::from_str(&text);
    (output, snapshot.unwrap_or_else(|error| panic!("{error}: {text:?}")))
}

fn calls_of(snapshot: &Snapshot, class: &str, name: &str) -> u64 {
    let functions = snapshot.php.functions.iter().filter(|f| &*f.key.class == class && &*f.key.name == name);
    functions.filter_map(|function| function.calls).sum()
}

#[test]
#[ignore = "needs root and PHP"]
fn every_function_of_a_command_has_its_calls_from_the_first_opcode() {
    let _alone = alone();
    let (output, snapshot) = snap("--exact", &["php", "-n", SCRIPT, SCRIPT, "everything"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.starts_with(b"spent "), "its own output: {}", String::from_utf8_lossy(&output.stdout));
    for (class, name, calls) in [
        ("", "{main}", 1),
        ("", "everything", 1),
        ("", "fibonacci", 4650),
        ("", "even", 110),
        ("", "odd", 100),
        ("Shape", "make", 10),
        ("Square", "__construct", 10),
        ("Square", "side", 20),
        ("Shape", "__call", 10),
        ("", "numbers", 90),
        ("", "catches", 10),
        ("", "fails", 50),
    ] {
        assert_eq!(calls_of(&snapshot, class, name), calls, "{class} {name}");
    }
    let exact = snapshot.php.exact.as_ref().unwrap();
    assert_eq!((exact.kind, exact.budget_ratio), (ExactKind::Functions, None));
    let counted: u64 = snapshot.php.functions.iter().filter_map(|function| function.calls).sum();
    assert_eq!(exact.calls, counted, "all that were entered have ended");
    let all = snapshot.php.functions.iter().find(|function| &*function.key.name == "{main}").unwrap();
    let selfs: u64 = snapshot.php.functions.iter().filter_map(|function| function.self_ns).sum();
    // What runs at the shutdown is called by no script.
    let shutdown =
        snapshot.php.functions.iter().filter(|f| &*f.key.name == "{closure}").filter_map(|f| f.total_ns).sum::<u64>();
    assert!(selfs >= all.total_ns.unwrap() && selfs <= all.total_ns.unwrap() + shutdown, "{selfs} {shutdown} {all:?}");
    assert_eq!(snapshot.drops, tusktop::model::Drops::default());
}

#[test]
#[ignore = "needs root and PHP"]
fn the_exit_code_passes_and_what_exit_left_open_is_counted() {
    let _alone = alone();
    for (arguments, code, leaf) in [(["exit"], 3, 1), (["fatal"], 255, 3)] {
        let (output, snapshot) = snap("--exact=functions", &[&["php", "-n", SCRIPT, SCRIPT][..], &arguments].concat());
        assert_eq!(output.status.code(), Some(code));
        assert_eq!((calls_of(&snapshot, "", "leaf"), calls_of(&snapshot, "", "{main}")), (leaf, 1));
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn built_in_functions_and_files_of_a_command_have_their_lines() {
    let _alone = alone();
    let (output, snapshot) = snap("--exact=lines", &["php", "-n", SCRIPT, SCRIPT, "everything"]);
    assert_eq!(output.status.code(), Some(0));
    let text = fs::read_to_string(SCRIPT).unwrap();
    let line = |code: &str| 1 + text.lines().position(|line| line.contains(code)).unwrap() as u32;
    let lines = snapshot.php.lines.as_ref().unwrap();
    let at = |name: &str, line: u32| -> Option<&LineCalls> {
        lines
            .iter()
            .find(|calls| &*calls.name == name && calls.line == line && Path::new(&*calls.file) == Path::new(SCRIPT))
    };
    for (name, code, calls) in
        [("usleep", "usleep(1);", 10), ("random_int", "(float) random_int", 20), ("array_map", "array_map(", 70)]
    {
        assert_eq!(at(name, line(code)).map(|calls| calls.calls), Some(calls), "{name}: {lines:#?}");
    }
    let mut included: Vec<_> = lines.iter().filter(|calls| calls.included).collect();
    included.sort_by_key(|calls| calls.name.clone());
    assert_eq!(
        included.iter().map(|calls| (&*calls.name, Path::new(&*calls.file), calls.calls)).collect::<Vec<_>>(),
        [("{compile}", Path::new(SCRIPT), 1), ("{main}", Path::new(SCRIPT), 1)]
    );
    assert_eq!(snapshot.php.exact.as_ref().unwrap().kind, ExactKind::Lines);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_command_that_becomes_another_program_is_traced_in_every_form_that_is_php() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let page = |name: &str, text: &str| -> String {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let work = "for ($i = 0; $i < 100; $i++) { work(); }";
    let second = page("second.php", &format!("<?php function work() {{}} function second() {{ {work} }} second();"));
    let then_php = page(
        "then_php.php",
        &format!(
            "<?php function work() {{}} function first($f) {{ {work} pcntl_exec(PHP_BINARY, ['-n', $f]); }} first('{second}');"
        ),
    );
    let then_other = page(
        "then_other.php",
        &format!(
            "<?php function work() {{}} function first() {{ {work} pcntl_exec('/bin/sh', ['-c', 'echo other; exit 9']); }} first();"
        ),
    );
    let (output, snapshot) = snap("--exact", &["sh", "-c", &format!("exec php -n {then_php}")]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let names = ["work", "first", "second", "{main}"].map(|name| calls_of(&snapshot, "", name));
    assert_eq!((names, snapshot.drops), ([200, 1, 1, 2], tusktop::model::Drops::default()));

    let (output, snapshot) = snap("--exact", &["php", "-n", &then_other]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(9), &b"other\n"[..]));
    let names = ["work", "first", "{main}"].map(|name| calls_of(&snapshot, "", name));
    assert_eq!((names, snapshot.drops), ([100, 1, 1], tusktop::model::Drops::default()));
    assert!(snapshot.php.requests.iter().all(|request| request.finished), "{:?}", snapshot.php.requests);
}

#[test]
#[ignore = "needs root and PHP"]
fn php_that_the_command_starts_is_traced_from_its_start() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = folder.path().join("work.php");
    fs::write(&script, "<?php function work() {} function many() { for ($i = 0; $i < 100; $i++) work(); } many();")
        .unwrap();
    let script = script.to_str().unwrap();
    let wrapper = folder.path().join("wrapper");
    fs::write(&wrapper, format!("#!/bin/sh\nphp -n {script} &\nwait\n/usr/bin/env php -n {script}\ntrue\n")).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    for (command, runs) in [
        (vec!["sh", "-c", &format!("php -n {script}; true")[..]], 1),
        (vec!["timeout", "60", "php", "-n", script], 1),
        (vec![wrapper.to_str().unwrap()], 2),
        (vec!["setpriv", "--reuid=65534", "--clear-groups", "php", "-n", script], 1),
    ] {
        // Where no CPU is free in time, a call may be missing, but then it is said.
        let all_seen = (0..20).any(|_| {
            let (output, snapshot) = snap("--exact", &command);
            assert_eq!(output.status.code(), Some(0), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            let names = ["work", "many", "{main}"].map(|name| calls_of(&snapshot, "", name));
            let exact = snapshot.php.exact.as_ref().unwrap();
            assert!(names == [100 * runs, runs, runs] || !exact.reason.is_empty(), "{command:?}: {names:?} {exact:?}");
            names == [100 * runs, runs, runs]
        });
        assert!(all_seen, "{command:?}");
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn php_that_cannot_be_traced_says_why() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("php");
    copies::without_probes(&fs::canonicalize("/usr/bin/php").unwrap(), &plain);
    let plain = plain.to_str().unwrap();
    // Each runs for long enough to be looked at: of one that has ended by then nothing is known (docs/probes.md).
    for (command, reason) in [
        (vec!["env", "-i", "/usr/bin/php", "-n", "-r", "usleep(500000);"], "without USE_ZEND_DTRACE=1"),
        (vec!["sh", "-c", "env -i /usr/bin/php -n -r 'usleep(500000);'; true"], "without USE_ZEND_DTRACE=1"),
        (vec![plain, "-n", "-r", "usleep(500000);"], "no USDT probes"),
        (vec!["sh", "-c", &format!("{plain} -n -r 'usleep(500000);'; true")[..]], "no USDT probes"),
    ] {
        let (output, snapshot) = snap("--exact", &command);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let exact = snapshot.php.exact.as_ref().unwrap();
        assert_eq!((exact.state, exact.calls), (ExactState::Unavailable, 0), "{command:?}: {exact:?}");
        assert!(exact.reason.contains(reason), "{command:?}: {exact:?}");
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn a_budget_that_is_none_is_refused_before_anything_runs() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    for budget in ["0%", "-1%", "101%", "2", "two%", "%", "nan%", "inf%", "1e999%", ""] {
        let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
            .args(["snap", "--exact", &format!("--budget={budget}"), "--", "touch"])
            .arg(&ran)
            .env("HOME", "/nonexistent")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{budget:?}: {message}");
        assert!(
            message.contains("--budget")
                && (message.contains("2%") || message.contains("above 0%") || message.contains("value")),
            "{message}"
        );
        assert!(!ran.exists());
    }
}
