//! Recordings compared, cut and redacted as a shell does it, and the one that comes with the program.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use jiff::SignedDuration;
use portable_pty::CommandBuilder;
use serde_json::Value;
use tusktop::{
    model::{Route, Snapshot},
    recording::Writer,
};

use crate::{
    cli::{run, stderr, stdout, tusktop},
    terminal::Terminal,
};

/// A busy server, as a test of the screens has it.
fn web01() -> Snapshot {
    Snapshot::read(include_bytes!("../fixtures/web01.json")).unwrap()
}

/// A recording of two minutes: in the second one, one route takes three times as long and the memory of php-fpm doubles.
fn recording(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let mut writer = Writer::new(fs::File::create(&path).unwrap()).unwrap();
    let start = web01().at;
    for second in 0..120 {
        let mut snapshot = web01();
        snapshot.at = start + SignedDuration::from_secs(second);
        let is_after = second >= 60;
        let mut php = (*snapshot.php).clone();
        php.routes = ["/cart", "/checkout"].map(|path| route(&php.routes[0], path, second as u64, is_after)).into();
        php.requests.clear();
        php.stacks.clear();
        snapshot.php = php.into();
        if is_after {
            let group = snapshot.groups.iter_mut().find(|group| &*group.name == "php-fpm: www").unwrap();
            group.footprint_bytes = group.memory.rss_bytes.map(|bytes| bytes * 2);
        } else {
            snapshot.groups.iter_mut().for_each(|group| group.footprint_bytes = group.memory.rss_bytes);
        }
        writer.push(&snapshot).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn route(like: &Route, path: &str, second: u64, is_after: bool) -> Route {
    let mut key = (*like.key).clone();
    (key.route, key.method) = (path.into(), "GET".into());
    let mut route = Route::seen(key.into());
    let times = if is_after && path == "/checkout" { 3 } else { 1 };
    for ms in [90, 100, 110 + second % 7] {
        route.histogram.record(ms * times * 1_000_000);
    }
    route.requests = 3;
    route
}

fn diff(file: &Path, arguments: &[&str]) -> Output {
    run(&[&["diff", file.to_str().unwrap()], arguments].concat())
}

/// `--from` for the second minute.
const SECOND_MINUTE: &str = "2026-11-22T14:06:33Z";

#[test]
fn diff_prints_what_changed_between_two_spans_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "a.tusk");
    let output = diff(&file, &["--from", SECOND_MINUTE]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let text = stdout(&output);
    assert!(text.starts_with("before  2026-11-22T14:05:33Z to 2026-11-22T14:06:32Z"), "{text}");
    let line = |word: &str| text.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {text}"));
    assert!(line("/checkout").contains("+200 %") || line("/checkout").contains("+20"), "{}", line("/checkout"));
    assert!(line("/cart").contains('(') && !line("/cart").contains("+2"), "{}", line("/cart"));
    assert!(line("php-fpm: www").contains("+100 %"), "{}", line("php-fpm: www"));
    assert!(!text.contains('\x1b') && text.lines().all(|line| line == line.trim_end()));
    let against = diff(&file, &["--from", SECOND_MINUTE, "--against", "2026-11-22T14:05:33Z..2026-11-22T14:06:32Z"]);
    assert_eq!(stdout(&against), text);
    let mut piped = tusktop();
    piped.args(["diff", "-", "--from", SECOND_MINUTE]).stdin(fs::File::open(&file).unwrap());
    assert_eq!(stdout(&piped.output().unwrap()), text);
}

#[test]
fn diff_as_json_has_the_sign_of_each_difference_and_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "a.tusk");
    let output = diff(&file, &["--from", SECOND_MINUTE, "--format", "json", "--fail-on", "route /cart p95 +20%"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).matches('\n').count(), 1);
    let json: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!((&json["before"]["snapshots"], &json["after"]["requests"]), (&60.into(), &360.into()));
    let first = &json["routes"][0];
    assert_eq!((&first["route"], &first["p95_ms"]["verdict"]), (&"/checkout".into(), &"changed".into()));
    assert!(first["p95_ms"]["difference"].as_f64().unwrap() > 100.0);
    assert_eq!(json["limits"][0]["outcome"], "kept");
    assert_eq!(json["groups"][0]["group"], "php-fpm: www");
}

#[test]
fn limits_decide_over_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "a.tusk");
    let limits = |limits: &[&str]| {
        let limits: Vec<&str> = limits.iter().flat_map(|limit| ["--fail-on", limit]).collect();
        diff(&file, &[&["--from", SECOND_MINUTE], &limits[..]].concat())
    };
    let exceeded = limits(&["route /cart p95 +20%", "route /checkout p95 +20%"]);
    assert_eq!(exceeded.status.code(), Some(3));
    assert!(stderr(&exceeded).starts_with("tusktop: exceeded: route /checkout p95 +20%: "), "{}", stderr(&exceeded));
    assert!(stdout(&exceeded).contains("kept: route /cart p95 +20%"));
    assert_eq!(limits(&["route /cart p95 +20%"]).status.code(), Some(0));
    let missing = limits(&["route /chekout p95 +20%"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("did you mean /checkout?"), "{}", stderr(&missing));
    assert_eq!(limits(&["route /chekout p95 +20%", "group php-fpm: www memory +50%"]).status.code(), Some(3));
    let wrong = limits(&["route /checkout p95 20%"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("expected a bound such as +20%"), "{}", stderr(&wrong));
    assert!(stdout(&run(&["diff", "--help"])).contains("3 a limit is exceeded"));
}

#[test]
fn diff_does_not_add_up_machines_whose_recordings_are_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("joined.tusk");
    let mut writer = Writer::new(fs::File::create(&path).unwrap()).unwrap();
    for second in 0..20 {
        let mut snapshot = web01();
        snapshot.at += SignedDuration::from_secs(second);
        snapshot.host.name = if second < 10 { "web01" } else { "db\u{1b}[2J" }.to_owned();
        writer.push(&snapshot).unwrap();
    }
    writer.finish().unwrap();
    let at = |second| (web01().at + SignedDuration::from_secs(second)).to_string();
    let output = diff(&path, &["--from", &at(5)]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(said.contains("web01 and db") && said.contains("--from and --to") && !said.contains('\u{1b}'), "{said}");
    let output = diff(&path, &["--from", &at(5), "--to", &at(9)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn diff_says_which_recording_or_span_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "a.tusk");
    let name = file.to_str().unwrap();
    let alone = diff(&file, &[]);
    assert!(alone.status.code() == Some(2) && stderr(&alone).contains("AFTER"), "{}", stderr(&alone));
    let same = diff(&file, &[name]);
    assert_eq!(same.status.code(), Some(0));
    assert!(!stdout(&same).contains("+200 %"));
    for (arguments, said) in [
        (&["--from", "2030-01-01T00:00:00Z"][..], "there is no snapshot in the span to compare"),
        (&["--from", "2000-01-01T00:00:00Z"], "there is no snapshot in the span to compare with"),
        (&[name, "--from", "2030-01-01T00:00:00Z"], "there is no snapshot in the span that is asked for"),
        (&["/nonexistent/b.tusk"], "/nonexistent/b.tusk"),
        (&["-"], "this is no recording"),
    ] {
        let mut command = tusktop();
        let mut child = command
            .args(["diff", name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended without reading.
        let _ = child.stdin.take().unwrap().write_all(b"this is something else");
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

fn cat(file: &Path) -> Vec<Snapshot> {
    let output = run(&["cat", file.to_str().unwrap()]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    stdout(&output).lines().map(|line| Snapshot::read(line.as_bytes()).unwrap()).collect()
}

#[test]
fn cut_writes_a_part_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "a.tusk");
    let (name, part) = (file.to_str().unwrap(), folder.path().join("part.tusk"));
    let cut = ["cut", name, "--from", SECOND_MINUTE, "--to", "2026-11-22T14:06:42Z", "-o", part.to_str().unwrap()];
    let output = run(&cut);
    assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{}", stderr(&output));
    assert_eq!(cat(&part), cat(&file)[60..70]);
    assert_eq!(fs::metadata(&part).unwrap().permissions().mode() & 0o7777, 0o600);
    let again = run(&cut);
    assert!(again.status.code() == Some(1) && stderr(&again).contains("--force"), "{}", stderr(&again));
    assert!(run(&[&cut[..], &["--force"]].concat()).status.success());
    let mut piped = tusktop();
    piped.args(["cut", "-", "--from", SECOND_MINUTE, "--to", "2026-11-22T14:06:42Z", "-o", "-"]);
    let piped = piped.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    assert_eq!(piped.stdout, fs::read(&part).unwrap());
    let none = folder.path().join("none.tusk");
    let nothing = run(&["cut", name, "--from", "2030-01-01T00:00:00Z", "-o", none.to_str().unwrap()]);
    assert!(
        nothing.status.code() == Some(1) && stderr(&nothing).contains("there is no snapshot"),
        "{}",
        stderr(&nothing)
    );
    assert!(!none.exists(), "nothing is left of it");
}

#[test]
fn a_redacted_part_has_other_names_and_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "a.tusk");
    let out = folder.path().join("redacted.tusk");
    let output = run(&["cut", file.to_str().unwrap(), "--redact", "-o", out.to_str().unwrap()]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let decoded = String::from_utf8(zstd::decode_all(&fs::read(&out).unwrap()[..]).unwrap()).unwrap();
    for word in ["web01", "checkout", "/cart", "WC_Cart", "guzzle", "pay.example.org", "product 1882", "wp-content"] {
        assert!(!decoded.contains(word), "{word}");
    }
    let (redacted, original) = (cat(&out), cat(&file));
    let first = redacted[0].php.routes[1].key.clone();
    assert_eq!(redacted.len(), original.len());
    for (redacted, original) in redacted.iter().zip(&original) {
        assert_eq!((redacted.at, redacted.groups.len()), (original.at, original.groups.len()));
        assert!(
            redacted.processes.iter().zip(&original.processes).all(|(a, b)| (a.pid, a.memory) == (b.pid, b.memory))
        );
        assert_eq!(redacted.php.routes[1].key, first, "the same text is the same pseudonym");
        assert_eq!(redacted.php.routes[1].histogram, original.php.routes[1].histogram);
    }
}

#[test]
fn snap_prints_a_moment_of_a_pipe_and_says_where_nothing_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gap.tusk");
    let mut writer = Writer::new(fs::File::create(&path).unwrap()).unwrap();
    let start = web01().at;
    for second in (0..90).chain(3600..3630) {
        let mut snapshot = web01();
        snapshot.at = start + SignedDuration::from_secs(second);
        writer.push(&snapshot).unwrap();
    }
    writer.finish().unwrap();
    let snap = |file: &str, arguments: &[&str]| {
        let mut command = tusktop();
        command.args(["snap", file, "--format", "json"]).args(arguments);
        command.stdin(fs::File::open(&path).unwrap()).output().unwrap()
    };
    for arguments in [
        &[][..],
        &["--at", "2026-11-22T14:06:00Z"],
        &["--at", "2026-11-22T14:06:00Z", "--window", "10s"],
        &["--at", "2026-11-22T15:05:35Z", "--window", "1m"],
    ] {
        let (of_file, of_pipe) = (snap(path.to_str().unwrap(), arguments), snap("-", arguments));
        assert!(of_file.status.success() && of_file.stderr.is_empty(), "{}", stderr(&of_file));
        assert_eq!((of_pipe.stdout, of_pipe.stderr), (of_file.stdout, of_file.stderr), "{arguments:?}");
    }
    let window = snap("-", &["--at", "2026-11-22T14:06:00Z", "--window", "10s"]);
    let ten = Snapshot::read(&window.stdout).unwrap();
    let requests = |snapshot: &Snapshot| snapshot.php.routes.iter().map(|route| route.requests).sum::<u64>();
    assert_eq!((ten.php.interval_ms, requests(&ten)), (10_000, 10 * requests(&web01())));
    for file in [path.to_str().unwrap(), "-"] {
        let gap = snap(file, &["--at", "2026-11-22T14:30:00Z"]);
        assert_eq!(Snapshot::read(&gap.stdout).unwrap().at, start + SignedDuration::from_secs(89));
        assert!(stderr(&gap).contains("this is from 2026-11-22T14:07:02Z, 22m 58s before it"), "{}", stderr(&gap));
    }
    let before = snap("-", &["--at", "2001-01-01T00:00:00Z"]);
    assert!(before.status.code() == Some(1) && stderr(&before).contains("no snapshot before this moment"));
}

#[test]
fn the_demo_plays_on_the_screen_and_is_written_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.tusk");
    let piped = run(&["demo"]);
    assert!(piped.status.code() == Some(1) && stderr(&piped).contains("needs a terminal"), "{}", stderr(&piped));
    assert!(run(&["demo", "-o", file.to_str().unwrap()]).status.success());
    assert_eq!(run(&["demo", "-o", "-"]).stdout, fs::read(&file).unwrap());
    let bytes = fs::metadata(&file).unwrap().len();
    assert!(bytes < 300 * 1024, "{bytes} bytes");
    let snapshots = cat(&file);
    let texts: String = snapshots.iter().map(|snapshot| serde_json::to_string(snapshot).unwrap()).collect();
    for word in ["/admin/report", "RuntimeException", "Catalog", "/srv/shop", "php-fpm: www", "php-fpm: admin"] {
        assert!(texts.contains(word), "{word}");
    }
    for word in ["/work", "/root", "/tmp", "/home", "tusktop-demo"] {
        assert!(!texts.contains(word), "{word}");
    }
    assert!(snapshots.len() > 60 && snapshots.iter().all(|snapshot| &*snapshot.host.name == "shop"));
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tusktop"));
    command.arg("demo");
    let mut terminal = Terminal::start(command, &[], 120, 36);
    terminal.wait_for("the demo", |screen| screen.contents().contains("php-fpm: www"));
    terminal.press("q");
    terminal.ends_with(0);
}

#[test]
fn snap_exports_a_recording_in_every_format_to_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web01.tusk");
    let mut writer = Writer::new(fs::File::create(&path).unwrap()).unwrap();
    writer.push(&web01()).unwrap();
    writer.finish().unwrap();
    let path = path.to_str().unwrap();
    let snap = |arguments: &[&str]| tusktop().arg("snap").args(arguments).output().unwrap();
    for format in ["csv", "folded", "speedscope", "pprof", "svg", "firefox"] {
        let file = folder.path().join(format);
        let output = snap(&[path, "--format", format, "-o", file.to_str().unwrap()]);
        assert!(output.status.success() && output.stderr.is_empty(), "{format}: {}", stderr(&output));
        let written = fs::metadata(&file).unwrap();
        assert!(written.len() > 500, "{format}");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&written.permissions()) & 0o777, 0o600);
        let piped = snap(&[path, "--format", format]);
        assert_eq!(piped.stdout, fs::read(&file).unwrap(), "{format}: a pipe gets the same");
        if format != "pprof" {
            assert!(!piped.stdout.iter().any(|byte| byte.is_ascii_control() && !b"\n\r".contains(byte)), "{format}");
        }
    }
}
