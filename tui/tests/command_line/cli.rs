//! The binary as a shell sees it: what it prints where, and how it ends.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tusktop::model::{PssUnknown, Snapshot};

pub fn tusktop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    // Nothing of the user's own configuration.
    command.env_clear().env("HOME", "/nonexistent").env("TERM", "xterm-256color").stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    tusktop().args(arguments).output().unwrap()
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn help_names_every_command_and_option() {
    let output = run(&["--help"]);
    assert!(output.status.success() && output.stderr.is_empty());
    for word in [
        "live",
        "snap",
        "record",
        "doctor",
        "groups",
        "--config",
        "--process-exporter-config",
        "--interval",
        "--hz",
        "--theme",
        "--color",
        "--ascii",
        "--no-mouse",
        "--no-php",
        "--default-config",
        "--version",
    ] {
        assert!(stdout(&output).contains(word), "{word}");
    }
    assert!(run(&["-h"]).stdout.len() < output.stdout.len());
    let snap = run(&["snap", "--help"]);
    for word in ["--duration", "--format", "--output", "COMMAND", "USE_ZEND_DTRACE"] {
        assert!(stdout(&snap).contains(word), "{word}");
    }
    assert!(stdout(&run(&["doctor", "--help"])).contains("--json"));
    assert!(!stdout(&output).contains("become"), "what is not for people is not shown");
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(stdout(&run(&["--version"])), format!("tusktop {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_says_why_on_stderr() {
    for arguments in
        [&["--nope"][..], &["snapp"], &["snap", "-d", "x"], &["--hz", "5000"], &["snap", "--format", "xml"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}

#[test]
fn an_unknown_theme_or_action_is_wrong_even_where_nothing_is_drawn() {
    let output = run(&["snap", "--no-php", "--theme", "drak"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("drak") && stderr(&output).contains("dark"), "{}", stderr(&output));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[keys]\n\"ctrl+f\" = \"filtre\"\n").unwrap();
    let output = run(&["snap", "--no-php", "--config", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("filtre") && stderr(&output).contains("filter"), "{}", stderr(&output));
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_file_line_key_and_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, "# mine\nhz = 50\ncolour = \"256\"\n").unwrap();
    let output = tusktop().arg("--config").arg(&path).arg("snap").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        format!("tusktop: {}:3: unknown key `colour`; did you mean `color`?\n", path.display())
    );
    assert!(output.stdout.is_empty());

    let output = tusktop().args(["--config", "/nonexistent/c.toml", "snap"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/nonexistent/c.toml"));
}

#[test]
fn the_default_configuration_is_printed_and_can_be_used() {
    let output = run(&["--default-config"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    fs::write(&path, &output.stdout).unwrap();
    let output = tusktop().env("TUSKTOP_CONFIG", &path).args(["snap", "--no-php", "-d", "100ms"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_snapshot_as_json_is_one_line_that_reads_back_and_holds_the_program_itself() {
    // The program itself grows between the readings of RSS and PSS; this one does not.
    let mut quiet = Command::new("sleep").arg("300").stdin(Stdio::null()).spawn().unwrap();
    let child = tusktop()
        .args(["snap", "--no-php", "--format", "json", "-d", "200ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    quiet.kill().unwrap();
    quiet.wait().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(stdout(&output).matches('\n').count(), 1);
    let snapshot: Snapshot = serde_json::from_str(stdout(&output)).unwrap();
    let own = snapshot.processes.iter().find(|process| process.pid == pid).unwrap();
    assert_eq!((&*own.comm, own.memory.rss_bytes.is_some()), ("tusktop", true));
    assert_eq!(snapshot.cost.rss_bytes, own.memory.rss_bytes);
    assert!((200..2000).contains(&snapshot.interval_ms));
    assert!(snapshot.php.targets.is_empty());
    let memory = &snapshot.processes.iter().find(|process| process.pid == quiet.id()).unwrap().memory;
    assert!(memory.uss_bytes <= memory.pss_bytes && memory.pss_bytes <= memory.rss_bytes, "{memory:?}");
    let json: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(json["schema"], 1);
    assert!(json["cost"]["bpf_ratio"].is_null(), "what is not measured is null");
}

#[test]
fn a_table_shows_the_groups_without_escapes() {
    let output = run(&["snap", "--no-php", "-d", "0.1"]);
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.contains("\nGROUP ") && text.contains("processes"), "{text}");
    assert!(!text.contains('\x1b') && text.lines().all(|line| line == line.trim_end()));
}

#[test]
fn without_a_terminal_the_plain_command_prints_a_table_and_ends() {
    for arguments in [&["--no-php"][..], &["--no-php", "live"], &["--no-php", "--color", "always"]] {
        let output = run(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("\nGROUP ") && !stdout(&output).contains('\x1b'));
    }
}

#[test]
fn hostile_process_titles_do_not_reach_the_output() {
    // The shell becomes a process whose title is an escape sequence.
    let folder = tempfile::tempdir().unwrap();
    let hostile = "php-fpm: pool \x1b[2J\x1b]0;owned\x07\u{202e}";
    let mut child = Command::new("bash")
        .args(["-c", "exec -a \"$0\" sleep 1000", hostile])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let cmdline = format!("/proc/{}/cmdline", child.id());
    while !fs::read(&cmdline).unwrap().starts_with(b"php-fpm: pool") {
        std::thread::yield_now();
    }
    let output = run(&["snap", "--no-php", "-d", "100ms"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let text = stdout(&output);
    assert!(text.contains("php-fpm: ·[2J·]0;owned··"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn groups_are_listed_and_explained_by_the_rules_of_both_files() {
    let folder = tempfile::tempdir().unwrap();
    let (config, yaml) = (folder.path().join("c.toml"), folder.path().join("pe.yml"));
    fs::write(&config, "[[groups.rules]]\nname = 'mine'\ncomm = 'nobody-has-this'\n").unwrap();
    fs::write(&yaml, "process_names:\n- name: 'exporter {{.Comm}}'\n  exe: [tusktop]\n").unwrap();
    let groups = |arguments: &[&str]| {
        let mut command = tusktop();
        command.arg("groups").arg("--config").arg(&config).arg("--process-exporter-config").arg(&yaml).args(arguments);
        command.output().unwrap()
    };
    let table = groups(&[]);
    assert!(table.status.success(), "{}", stderr(&table));
    assert!(stdout(&table).contains("exporter tusktop") && stdout(&table).contains("c.toml:1"), "{}", stdout(&table));
    let json: serde_json::Value = serde_json::from_str(stdout(&groups(&["--format", "json"]))).unwrap();
    let rule = json["rules"].as_array().unwrap().iter().find(|rule| rule["name"] == "pe.yml:2").unwrap();
    assert_eq!((&rule["group_name"], &rule["children"]), (&"exporter {{.Comm}}".into(), &true.into()));
    assert!(rule["processes"].as_u64().unwrap() >= 1);

    let own = std::process::id().to_string();
    let explained = groups(&["--explain", &own]);
    let text = stdout(&explained);
    assert!(explained.status.success() && text.contains("not `nobody-has-this`") && text.contains("\nyes "), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(stdout(&groups(&["--explain", &own, "--format", "json"]))).unwrap();
    assert_eq!(json["pid"].to_string(), own);

    let missing = groups(&["--explain", "4194304"]);
    assert_eq!((missing.status.code(), stdout(&missing)), (Some(1), ""));
    assert!(stderr(&missing).starts_with("tusktop: there is no process 4194304"), "{}", stderr(&missing));

    fs::write(&yaml, "process_names:\n- name: x\n").unwrap();
    let refused = groups(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).starts_with(&format!("tusktop: {}:2: no matchers", yaml.display())),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = tusktop()
        .args(["snap", "--no-php", "--format", "json", "-d", "300ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut messages = String::new();
    child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
    assert_eq!((status.code(), &*messages), (Some(0), ""));

    let mut child = tusktop().args(["snap", "--no-php", "-d", "100ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("Linux") && child.wait().unwrap().success());
}

#[test]
fn signals_end_it_with_their_number_and_what_it_saw_is_printed() {
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let mut child = tusktop().args(["snap", "--no-php", "-d", "1h"]).stdout(Stdio::piped()).spawn().unwrap();
        // It sleeps in its runtime with handlers in place once it has its sampler thread.
        let tasks = format!("/proc/{}/task", child.id());
        let deadline = Instant::now() + Duration::from_secs(60);
        let has_sampler = || {
            fs::read_dir(&tasks).is_ok_and(|mut tasks| {
                tasks.any(|task| {
                    fs::read_to_string(task.unwrap().path().join("comm")).is_ok_and(|name| name == "proc\n")
                })
            })
        };
        while !has_sampler() {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let mut printed = String::new();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        assert!(printed.contains("memory by group") && printed.contains("tusktop"), "{printed}");
    }
}

/// The program as a user without rights. Root, who may read everything, becomes another user for it; the program is
/// copied to where that user can reach it.
fn without_rights(folder: &TempDir) -> Command {
    let program = folder.path().join("tusktop");
    // By another process: children that this one starts meanwhile would hold the copy open for writing, and a file that
    // is written cannot be run.
    assert!(Command::new("cp").args([env!("CARGO_BIN_EXE_tusktop").as_ref(), &*program]).status().unwrap().success());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(65534);
    }
    command
}

#[test]
fn a_file_that_may_not_be_read_ends_with_77() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    let output = without_rights(&folder).arg("--config").arg(&path).args(["snap", "-d", "100ms"]).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    assert!(stderr(&output).contains("c.toml"));
}

#[test]
fn without_rights_memory_is_shown_and_a_notice_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let output = without_rights(&folder).args(["snap", "-d", "100ms", "--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let snapshot: Snapshot = serde_json::from_str(stdout(&output)).unwrap();
    assert!(!snapshot.groups.is_empty());
    let init = snapshot.processes.iter().find(|process| process.pid == 1).unwrap();
    assert_eq!((init.pss_unknown, init.memory.pss_bytes), (Some(PssUnknown::Refused), None));
    let notice = snapshot.notices.iter().find(|notice| notice.text.contains("CAP_BPF")).unwrap();
    assert_eq!(notice.hint, "sudo tusktop");
}

#[test]
fn a_command_runs_with_its_own_output_and_code_also_when_php_is_not_observed() {
    let folder = tempfile::tempdir().unwrap();
    let command = ["snap", "--no-php", "--", "sh", "-c", "echo out; echo err >&2; exit 7"];
    for mut tusktop in [tusktop(), without_rights(&folder)] {
        let output = tusktop.args(command).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output)), (Some(7), "out\n"), "{}", stderr(&output));
        assert!(stderr(&output).starts_with("err\n") && stderr(&output).contains("\nGROUP "), "{}", stderr(&output));
    }
    let file = folder.path().join("report");
    let output = without_rights(&folder).args(["snap", "--", "sh", "-c", "kill -9 $$"]).output().unwrap();
    assert_eq!(output.status.code(), Some(137));
    assert!(stderr(&output).contains("CAP_BPF") && stderr(&output).contains("sudo tusktop"), "{}", stderr(&output));
    let output = tusktop().args(["snap", "--no-php", "-o"]).arg(&file).args(["--", "true"]).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{}", stderr(&output));
    assert!(fs::read_to_string(&file).unwrap().contains("\nGROUP "));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_command_gets_the_environment_and_name_that_were_meant_for_it() {
    let output = tusktop()
        .env_clear()
        .env("A", "b")
        .args(["snap", "--no-php", "-o", "/dev/null", "--", "/usr/bin/env"])
        .output()
        .unwrap();
    let mut lines: Vec<_> = stdout(&output).lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=b", "USE_ZEND_DTRACE=1"]);
    let output = run(&["snap", "--no-php", "-o", "/dev/null", "--", "sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline"]);
    assert!(stdout(&output).starts_with("sh -c tr "), "{}", stdout(&output));
}

#[test]
fn a_command_that_cannot_run_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    for (command, code, message) in [
        ("no-such-program", 127, "cannot run no-such-program: it is not in any folder of PATH"),
        ("/nonexistent/php", 127, "cannot run /nonexistent/php: there is no such file"),
        ("/etc/passwd", 126, "cannot run /etc/passwd: it is not an executable file"),
    ] {
        let output = tusktop().env("PATH", "/usr/bin:/bin").args(["snap", "--no-php", "--", command]).output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(code), &b""[..]), "{}", stderr(&output));
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    let output = tusktop().args(["snap", "-o", "/nonexistent/report", "--", "touch"]).arg(&made).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write /nonexistent/report") && !made.exists(), "{}", stderr(&output));
    assert_eq!(run(&["snap", "php", "x.php"]).status.code(), Some(2), "a command comes after two dashes");
}

#[test]
fn a_command_that_is_signalled_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let script = "trap 'echo bye; exit 5' TERM; touch \"$0\"; while :; do sleep 0.01; done";
    let child = tusktop()
        .args(["snap", "--no-php", "-o", "/dev/null", "--", "sh", "-c", script])
        .arg(&ready)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready.exists() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(5), "bye\n"));
}

#[test]
fn doctor_without_rights_ends_with_77_and_says_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let output = without_rights(&folder).arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("missing  privileges") && text.contains("> sudo tusktop doctor"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80) && !text.contains('\x1b'), "{text}");
    let output = without_rights(&folder).args(["doctor", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!((&report["schema"], &report["complete"]), (&1.into(), &false.into()));
}

#[test]
fn a_report_follows_no_link_leaves_nothing_behind_when_it_fails_and_a_dash_is_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("kept"), "kept").unwrap();
    std::os::unix::fs::symlink(path("kept"), path("link")).unwrap();
    let output = run(&["snap", "--no-php", "-d", "100ms", "-o", &path("link")]);
    assert!(!output.status.success() && stderr(&output).contains("it is a link"), "{}", stderr(&output));
    // The command cannot start: what was there before stays.
    let output = run(&["snap", "--no-php", "-o", &path("kept"), "--", "/nonexistent/program"]);
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(std::fs::read(path("kept")).unwrap(), b"kept");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let output = run(&["snap", "--no-php", "-d", "100ms", "--format", "json", "-o", "-"]);
    assert!(output.status.success() && stdout(&output).starts_with('{'));
}

#[test]
fn what_is_compared_with_is_for_a_screen_and_has_to_be_a_recording() {
    let output = run(&["--compare", "a.tusk", "snap"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--compare comes behind"), "{}", stderr(&output));
}
