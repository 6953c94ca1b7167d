//! `tusktop snap -- COMMAND`: the command is observed from its first opcode, and nothing else of it changes.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::servers::{FpmOptions, PATIENCE, PhpFpm, alone, daemon, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tusktop::model::{Request, Snapshot};

fn tusktop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    command.env("HOME", "/nonexistent").env_remove("USE_ZEND_DTRACE").env_remove("TUSKTOP_CONFIG").stdin(Stdio::null());
    command
}

/// A folder with scripts, and what `tusktop snap` says of one of them.
struct Scripts(TempDir);

impl Scripts {
    fn new(scripts: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in scripts {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// The snapshot goes to a file, so that nothing mixes with it.
    fn snap(&self, arguments: &[&str], command: &[&str]) -> (Output, Snapshot) {
        let report = self.path("snapshot.json");
        let output = tusktop()
            .args(["snap", "--format", "json", "-o", &report])
            .args(arguments)
            .arg("--")
            .args(command)
            .output()
            .unwrap();
        let text = fs::read_to_string(&report).unwrap_or_default();
        let snapshot = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text:?}\n{}", String::from_utf8_lossy(&output.stderr)));
        (output, snapshot)
    }
}

/// Finished requests by the name of their script.
fn scripts(snapshot: &Snapshot) -> Vec<(String, &Request)> {
    let name = |request: &Request| {
        let script = &snapshot.php.routes[request.route].key.script;
        script.rsplit('/').next().unwrap().to_owned()
    };
    let mut scripts: Vec<_> = snapshot
        .php
        .requests
        .iter()
        .filter(|request| request.finished)
        .map(|request| (name(request), request))
        .collect();
    scripts.sort_by(|a, b| a.0.cmp(&b.0));
    scripts
}

const BURN: &str = r#"<?php
function burn(float $seconds): void {
    $begin = getrusage();
    do { $now = getrusage(); $spent = ($now['ru_utime.tv_sec'] - $begin['ru_utime.tv_sec']) + ($now['ru_stime.tv_sec'] - $begin['ru_stime.tv_sec'])
        + ($now['ru_utime.tv_usec'] - $begin['ru_utime.tv_usec'] + $now['ru_stime.tv_usec'] - $begin['ru_stime.tv_usec']) / 1e6; }
    while ($spent < $seconds);
}
burn(0.2);
echo "done ", $argv[1] ?? '', "\n";
fwrite(STDERR, "warned\n");
"#;

#[test]
#[ignore = "needs root and PHP"]
fn a_script_is_one_request_with_its_time_and_its_samples_from_the_first_opcode() {
    let _alone = alone();
    let folder = Scripts::new(&[("burn.php", BURN)]);
    let script = folder.path("burn.php");
    let (output, snapshot) = folder.snap(&["--hz", "997"], &["php", "-n", &script, "a b"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"done a b\n"[..]));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "warned\n", "the report is in its file");
    let requests = scripts(&snapshot);
    assert_eq!(requests.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["burn.php"]);
    let request = requests[0].1;
    let cpu_ms = request.cpu_ms.unwrap();
    assert!((195.0..260.0).contains(&cpu_ms) && request.duration_ms >= cpu_ms * 0.98, "{request:?}");
    let samples: u64 = snapshot.php.stacks.iter().map(|stack| stack.samples).sum();
    let due = cpu_ms * 0.997;
    assert!((samples as f64 - due).abs() < due * 0.1 + 3.0, "{samples} samples in {cpu_ms} ms at 997 Hz");
    let hottest = snapshot.php.functions.iter().max_by_key(|function| function.total_samples).unwrap();
    assert!(hottest.total_samples == samples, "every stack is rooted in the script: {hottest:?}");
    assert_eq!(snapshot.php.targets.len(), 1);
    assert!(
        snapshot.notices.iter().all(|notice| notice.level == tusktop::model::Level::Info),
        "{:?}",
        snapshot.notices
    );
    assert_eq!(snapshot.drops, tusktop::model::Drops::default());
}

#[test]
#[ignore = "needs root and PHP"]
fn the_variable_is_set_unless_the_user_has_set_it() {
    let _alone = alone();
    let folder = Scripts::new(&[("env.php", "<?php echo getenv('USE_ZEND_DTRACE');")]);
    let (output, _) = folder.snap(&[], &["php", "-n", &folder.path("env.php")]);
    assert_eq!(output.stdout, b"1");
    let output = tusktop()
        .env("USE_ZEND_DTRACE", "0")
        .args(["snap", "-o", "/dev/null", "--", "php", "-n", &folder.path("env.php")])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"0");
}

#[test]
#[ignore = "needs root and PHP"]
fn exit_codes_pass_through_and_the_table_goes_to_standard_error() {
    let _alone = alone();
    let folder = Scripts::new(&[
        ("three.php", "<?php echo 'out'; exit(3);"),
        ("killed.php", "<?php posix_kill(getmypid(), 9);"),
        ("read.php", "<?php echo strrev(stream_get_contents(STDIN));"),
    ]);
    let output = tusktop().args(["snap", "--", "php", &folder.path("three.php")]).output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"out"[..]));
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(table.contains("\nGROUP ") && table.contains("three.php"), "{table}");
    let (output, snapshot) = folder.snap(&[], &["php", &folder.path("killed.php")]);
    assert_eq!(output.status.code(), Some(137));
    assert_eq!(scripts(&snapshot).len(), 1, "a request that was cut off is shown");
    let mut child = tusktop()
        .args(["snap", "-o", "/dev/null", "--", "php", "-n", &folder.path("read.php")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"abc").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"cba");
}

#[test]
#[ignore = "needs root and PHP"]
fn scripts_that_a_script_starts_belong_to_it_and_other_php_does_not() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions::default());
    let b = "<?php usleep(20000); echo 'b';";
    let a = r#"<?php
    passthru('php -n ' . __DIR__ . '/b.php');
    passthru('sleep 0; php -n ' . __DIR__ . '/c.php; true');
    $process = proc_open([PHP_BINARY, '-n', __DIR__ . '/d.php'], [], $pipes);
    proc_close($process);
    if (pcntl_fork() === 0) { exit(0); }
    pcntl_wait($status);
    "#;
    let folder =
        Scripts::new(&[("a.php", a), ("b.php", b), ("c.php", b), ("d.php", b), ("get.sh", "#!/bin/sh\nexec \"$@\"\n")]);
    let (output, snapshot) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for _ in 0..20 {
                fpm.get("www", "/post/1");
            }
        });
        let result = folder.snap(&["--hz", "99"], &["/bin/sh", &folder.path("get.sh"), "php", &folder.path("a.php")]);
        load.join().unwrap();
        result
    });
    assert_eq!(String::from_utf8_lossy(&output.stdout), "bbb");
    let requests: Vec<_> = scripts(&snapshot).into_iter().map(|(name, _)| name).collect();
    assert_eq!(requests, ["a.php", "b.php", "c.php", "d.php"]);
    assert_eq!(snapshot.php.targets.len(), 1, "php-fpm is not in it: {:?}", snapshot.php.targets);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_command_that_is_not_php_works_and_is_said_to_be_none() {
    let _alone = alone();
    let folder = Scripts::new(&[]);
    let (output, snapshot) = folder.snap(&[], &["sh", "-c", "echo $0; exit 5", "word"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(5), &b"word\n"[..]));
    assert!(snapshot.notices.iter().any(|notice| notice.text.contains("ran no PHP")), "{:?}", snapshot.notices);
    assert!(snapshot.php.targets.is_empty() && !snapshot.groups.is_empty());
}

#[test]
#[ignore = "needs root and PHP"]
fn signals_reach_the_command_and_the_report_is_still_written() {
    let _alone = alone();
    let folder =
        Scripts::new(&[("wait.php", "<?php file_put_contents($argv[1], getmypid()); while (true) usleep(1000);")]);
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let (started, report) = (folder.path("started"), folder.path("report"));
        let _ = fs::remove_file(&started);
        let mut child = tusktop()
            .args(["snap", "--format", "json", "-o", &report, "--", "php", "-n", &folder.path("wait.php"), &started])
            .spawn()
            .unwrap();
        let pid = || fs::read_to_string(&started).unwrap_or_default();
        wait_until(PATIENCE, || "the script runs".to_owned(), || !pid().is_empty());
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + number));
        assert!(!Path::new(&format!("/proc/{}", pid())).exists(), "the command has ended");
        let snapshot: Snapshot = serde_json::from_str(&fs::read_to_string(&report).unwrap()).unwrap();
        assert!(snapshot.php.requests.iter().any(|request| request.finished), "{:?}", snapshot.php.requests);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn a_duration_ends_the_observation_and_not_the_command() {
    let _alone = alone();
    // A busy machine may take most of a second until PHP runs the script.
    let folder = Scripts::new(&[("long.php", "<?php usleep(4000000); exit(4);")]);
    let (output, snapshot) = folder.snap(&["-d", "1s"], &["php", "-n", &folder.path("long.php")]);
    assert_eq!(output.status.code(), Some(4));
    assert!((1000..3900).contains(&snapshot.interval_ms), "{}", snapshot.interval_ms);
    let running: Vec<_> = snapshot.php.requests.iter().map(|request| request.finished).collect();
    assert_eq!(running, [false]);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_held_command_does_not_outlive_tusktop() {
    let _alone = alone();
    let mut child = tusktop().args(["snap", "--", "sleep", "1000"]).stderr(Stdio::null()).spawn().unwrap();
    let mut held = Vec::new();
    wait_until(
        PATIENCE,
        || "the command is held".to_owned(),
        || {
            held = daemon::descendants(child.id());
            held.iter().any(|process| {
                let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
                stat.contains(") T ")
            })
        },
    );
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    wait_until(PATIENCE, || "it has gone".to_owned(), || held.iter().all(|process| !process.runs()));
}
