//! Recordings as a shell makes and reads them.

use std::{
    fs,
    io::{BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use portable_pty::CommandBuilder;
use rustix::process::{Pid, Signal, kill_process};
use tusktop::{
    model::Snapshot,
    recording::{Event, Recording, Stream},
};

use crate::{
    cli::{run, stderr, stdout, tusktop},
    terminal::{self, Terminal},
};

/// Time for what takes a moment on an idle machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn record(arguments: &[&str]) -> Command {
    let mut command = tusktop();
    command.args(["record", "--no-php", "-i", "100ms"]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Snapshots and damages of a file.
pub fn read(path: &Path) -> (Vec<Snapshot>, Vec<String>) {
    let recording = Recording::open(path).unwrap_or_else(|error| panic!("{error}"));
    let mut damage: Vec<_> = recording.damage().iter().map(ToString::to_string).collect();
    let mut snapshots = Vec::new();
    for &minute in recording.minutes() {
        let each = |event: Event| match event {
            Event::Snapshot(snapshot) => snapshots.push(*snapshot),
            Event::Damage(found) => damage.push(found.to_string()),
        };
        recording.read(minute, each).unwrap();
    }
    (snapshots, damage)
}

pub fn wait_until(what: &str, child: &mut Child, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before {what}");
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

/// Number of snapshots in a file that is being written.
pub fn written(path: &Path) -> usize {
    let Ok(bytes) = fs::read(path) else { return 0 };
    let mut decoded = Vec::new();
    if let Ok(mut decoder) = zstd::Decoder::new(&bytes[..]) {
        // The end of the frame is missing.
        let _ = decoder.read_to_end(&mut decoded);
    }
    decoded.iter().filter(|&&byte| byte == b'\n').count()
}

pub fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_recording_is_json_lines_in_zstd_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    let output = record(&["-d", "1s", "-o", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "it says nothing without a terminal");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let decoded = zstd::decode_all(&fs::read(&path).unwrap()[..]).unwrap();
    let lines: Vec<_> = decoded.split_inclusive(|&byte| byte == b'\n').collect();
    let (snapshots, damage) = read(&path);
    assert!(snapshots.len() > 2 && damage.is_empty(), "{damage:?}");
    assert_eq!(snapshots[0], Snapshot::read(lines[0]).unwrap(), "the first line is a snapshot");
    assert_eq!(snapshots.len(), lines.len());
    for (snapshot, line) in snapshots.iter().zip(lines).skip(1) {
        let line: serde_json::Value = serde_json::from_slice(line).unwrap();
        let at = &line["tables"][""]["columns"]["at"];
        assert_eq!(at[1][0].as_str().unwrap(), snapshot.at.to_string(), "the others say what changed: {line}");
    }
    assert!(snapshots.windows(2).all(|pair| pair[0].at < pair[1].at));
}

#[test]
fn signals_end_the_file_properly() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let path = folder.path().join(format!("{code}.tusk"));
        let mut child = record(&["-o", path.to_str().unwrap()]).spawn().unwrap();
        wait_until("the second snapshot", &mut child, || written(&path) >= 2);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let (snapshots, damage) = read(&path);
        assert!(snapshots.len() >= 2 && damage.is_empty(), "{damage:?}");
    }
}

#[test]
fn tiers_are_for_files_that_begin_with_their_first_step() {
    let refused = |arguments: &[&str], code, said: &str| {
        let output = record(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    };
    refused(&["--tiers", "100ms:1h,1m", "-o", "-"], 1, "a pipe does not permit");
    refused(&["--tiers", "10s:1h,1m", "-o", "/nonexistent/a.tusk"], 1, "add --interval 10s");
    refused(&["--tiers", "1s"], 2, "1s:1h,1m");
    refused(&["--tiers", "1s:1h,1m", "--keep-last", "1m"], 2, "cannot be used with");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    let output = record(&["--tiers", "100ms:1h,1m", "-d", "500ms", "-o", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(read(&path).0.len() > 2);
}

#[test]
fn files_with_tiers_follow_each_other_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let name = path("a.tusk");
    let arguments = ["--tiers", "100ms:1s,500ms", "--max-size", "16k", "-o", name.to_str().unwrap()];
    let mut child = record(&arguments).spawn().unwrap();
    wait_until("the third file", &mut child, || written(&path("a-3.tusk")) > 1);
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut snapshots = Vec::new();
    for name in ["a.tusk", "a-2.tusk", "a-3.tusk"] {
        let (read, damage) = read(&path(name));
        assert!(damage.is_empty(), "{name}: {damage:?}");
        snapshots.extend(read);
    }
    let is_late = |pair: &[Snapshot]| {
        let since = pair[1].at.duration_since(pair[0].at).as_millis();
        // An interval is measured by another clock, and rounded.
        since.abs_diff(pair[1].interval_ms.into()) > 20
    };
    let gaps: Vec<_> = snapshots.windows(2).filter(|pair| is_late(pair)).map(|pair| pair[1].at).collect();
    assert!(gaps.is_empty(), "{gaps:?}");
}

#[test]
fn what_was_written_before_a_kill_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.tusk");
    let mut child = record(&["-o", path.to_str().unwrap()]).spawn().unwrap();
    wait_until("the third snapshot", &mut child, || written(&path) >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let (snapshots, damage) = read(&path);
    assert!(snapshots.len() >= 3 && snapshots.len() == written(&path));
    assert!(damage.iter().any(|text| text.contains("ends within a minute")), "{damage:?}");
}

#[test]
fn a_key_on_the_screen_starts_and_stops_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tusktop"));
    command.args(["--no-php", "-i", "200ms"]);
    command.cwd(folder.path());
    let mut terminal = Terminal::start(command, &[], 160, 30);
    terminal.wait_for("the first snapshot", |screen| screen.contents().contains("LIVE"));
    terminal.press("R");
    terminal.wait_for("a recording", |screen| screen.contents().contains("REC "));
    let recorded = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).next();
    let path = recorded().unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    terminal.wait_for("the name of the file", |screen| screen.contents().contains(&name));
    while written(&path) < 3 {
        std::thread::yield_now();
    }
    terminal.press("R");
    terminal.wait_for("its end", |screen| !screen.contents().contains("REC "));
    let (snapshots, damage) = read(&path);
    assert!(snapshots.len() >= 3 && damage.is_empty(), "{damage:?}");
    fs::remove_file(&path).unwrap();
    terminal.press("R");
    terminal.wait_for("another recording", |screen| screen.contents().contains("REC "));
    let path = recorded().unwrap();
    while written(&path) < 1 {
        std::thread::yield_now();
    }
    terminal.press("q");
    terminal.ends_with(0);
    assert!(read(&path).1.is_empty(), "leaving ends it properly");
}

#[test]
fn a_file_that_exists_is_replaced_only_when_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    fs::write(&path, "precious").unwrap();
    let name = path.to_str().unwrap();
    let output = record(&["-d", "100ms", "-o", name]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--force") && stderr(&output).contains(name), "{}", stderr(&output));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert!(record(&["-d", "100ms", "--force", "-o", name]).status().unwrap().success());
    assert!(!read(&path).0.is_empty());
    let nowhere = record(&["-d", "100ms", "-o", "/nonexistent/a.tusk"]).output().unwrap();
    assert!(nowhere.status.code() == Some(1) && stderr(&nowhere).contains("/nonexistent/a.tusk"));
}

#[test]
fn without_a_name_it_is_called_by_host_and_time() {
    let folder = tempfile::tempdir().unwrap();
    assert!(record(&["-d", "200ms"]).current_dir(folder.path()).status().unwrap().success());
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 1);
    let name = names[0].file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with(".tusk") && name.contains("-20"), "{name}");
    assert!(!read(&names[0]).0.is_empty());
}

#[test]
fn files_follow_each_other_and_old_ones_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let name = path("a.tusk");
    let mut child = record(&["--max-size", "16k", "--keep", "2", "-o", name.to_str().unwrap()]).spawn().unwrap();
    wait_until("the third file", &mut child, || written(&path("a-3.tusk")) > 0);
    send(&child, Signal::INT);
    child.wait().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    let (older, newer) = (read(&names[0]), read(&names[1]));
    assert!(older.1.is_empty() && newer.1.is_empty(), "each is whole");
    assert!(older.0.last().unwrap().at < newer.0[0].at, "no snapshot is in both");
}

#[test]
fn a_file_that_is_in_the_way_of_the_next_one_is_kept_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a-2.tusk"), "precious").unwrap();
    let mut child = record(&["--max-size", "16k", "-o", path("a.tusk").to_str().unwrap()]).spawn().unwrap();
    wait_until("the third file", &mut child, || written(&path("a-3.tusk")) > 0);
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read(path("a-2.tusk")).unwrap(), b"precious");
    assert!(read(&path("a.tusk")).1.is_empty(), "it is whole");
}

#[test]
fn a_terminal_gets_one_line_that_says_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tusktop"));
    command.args(["record", "--no-php", "-i", "100ms", "-o", path.to_str().unwrap()]);
    let mut terminal = Terminal::start(command, &[], 50, 10);
    terminal.wait_for("progress", |screen| screen.contents().contains(" s   "));
    while written(&path) < 15 {
        std::thread::yield_now();
    }
    terminal.wait_for("a size", |screen| screen.contents().contains(" KiB"));
    let text = terminal.screen.screen().contents().replace(terminal::BEFORE, "");
    assert_eq!(text.trim().lines().count(), 1, "a line that is too long is cut: {text}");
    terminal.press("\u{3}");
    terminal.ends_with(130);
    assert!(read(&path).1.is_empty(), "it is whole");
}

/// A command below a limit for the size of files, in blocks of 512 bytes as `sh` has it.
fn limited(blocks: u32, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_tusktop");
    command.args([
        "-c",
        &format!("ulimit -f {blocks}; exec \"$@\""),
        "sh",
        program,
        "record",
        "--no-php",
        "-i",
        "100ms",
    ]);
    command.args(arguments).env_clear().env("HOME", "/nonexistent").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_file_that_may_not_grow_ends_the_recording_and_what_is_whole_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tusk");
    let output = limited(64, &["-o", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("a.tusk") && stderr(&output).contains("can be read"), "{}", stderr(&output));
    assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    let (snapshots, damage) = read(&path);
    assert!(snapshots.len() > 1 && snapshots.len() == written(&path));
    assert!(damage.iter().all(|text| text.contains("ends within a minute")), "{damage:?}");
}

#[test]
fn a_pipe_gets_each_snapshot_at_once_and_its_reader_may_leave() {
    let mut child = record(&["-o", "-"]).spawn().unwrap();
    let mut stream = Stream::new(BufReader::new(child.stdout.take().unwrap())).unwrap();
    for _ in 0..2 {
        assert!(matches!(stream.next_event(), Ok(Some(Event::Snapshot(_)))));
    }
    drop(stream);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn a_disk_that_is_full_is_said() {
    let output = record(&["-o", "/dev/full"]).output().unwrap();
    assert!(output.status.code() == Some(1) && stderr(&output).contains("a device"), "{}", stderr(&output));
    let mut command = record(&["-o", "-"]);
    let output = command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write standard output"), "{}", stderr(&output));
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
}

/// A recording of a second, and its snapshots as `cat` prints them.
fn recorded(folder: &Path) -> (String, Vec<Snapshot>) {
    let path = folder.join("a.tusk").to_str().unwrap().to_owned();
    assert!(record(&["-d", "1s", "-o", &path]).status().unwrap().success());
    let output = run(&["cat", &path]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let snapshots = stdout(&output).lines().map(|line| Snapshot::read(line.as_bytes()).unwrap()).collect();
    (path, snapshots)
}

#[test]
fn cat_prints_whole_snapshots_and_those_between_two_moments() {
    let folder = tempfile::tempdir().unwrap();
    let (path, all) = recorded(folder.path());
    assert_eq!(all, read(Path::new(&path)).0);
    let (from, to) = (all[1].at.to_string(), all[2].at.to_string());
    let part = run(&["cat", &path, "--from", &from, "--to", &to]);
    assert_eq!(stdout(&part).lines().count(), 2);
    assert_eq!(run(&["cat", &path, "--from", "1h ago"]).stdout, run(&["cat", &path]).stdout);
    let mut piped = tusktop();
    let output = piped.args(["cat", "-"]).stdin(fs::File::open(&path).unwrap()).output().unwrap();
    assert_eq!(output.stdout, run(&["cat", &path]).stdout);
}

#[test]
fn cat_says_what_it_cannot_read_and_prints_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (path, all) = recorded(folder.path());
    let bytes = fs::read(&path).unwrap();
    let torn = folder.path().join("torn.tusk");
    fs::write(&torn, &bytes[..Recording::open(Path::new(&path)).unwrap().minutes()[0].bytes() as usize - 5]).unwrap();
    let output = run(&["cat", torn.to_str().unwrap()]);
    assert_eq!(stdout(&output).lines().count(), all.len());
    assert!(stderr(&output).contains("torn.tusk") && stderr(&output).contains("ends within a minute"));
    let mut damaged = bytes.clone();
    damaged[200] ^= 1;
    fs::write(&torn, damaged).unwrap();
    let output = run(&["cat", torn.to_str().unwrap()]);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty());
    assert!(stderr(&output).contains("at byte 0") && stderr(&output).contains("checksum"), "{}", stderr(&output));
    for (file, said) in [("/nonexistent/x.tusk", "No such file"), (env!("CARGO_BIN_EXE_tusktop"), "no recording")] {
        let output = run(&["cat", file]);
        assert!(output.status.code() == Some(1) && stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert_eq!(run(&["cat", &path, "--from", "noon"]).status.code(), Some(2));
}

#[test]
fn snap_prints_a_moment_of_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let (path, all) = recorded(folder.path());
    let snap = |arguments: &[&str]| run(&[&["snap", &path, "--format", "json"], arguments].concat());
    let snapshot = |arguments: &[&str]| {
        let output = snap(arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
        Snapshot::read(&output.stdout).unwrap()
    };
    assert_eq!(snapshot(&[]), all[all.len() - 1], "its end");
    assert_eq!(snapshot(&["--at", &all[1].at.to_string()]), all[1]);
    let window = snapshot(&["--at", &all[2].at.to_string(), "--window", "10s"]);
    assert_eq!((window.at, window.processes), (all[2].at, all[2].processes.clone()));
    assert!(stdout(&run(&["snap", &path])).contains("\nGROUP "));
    let elsewhere = snap(&["--at", "2001-01-01T00:00:00Z"]);
    assert!(
        elsewhere.status.code() == Some(1) && stderr(&elsewhere).contains("is not in this recording, which is from")
    );
    for arguments in [&["--at", "noon"][..], &["--window", "2m"], &["-d", "1s"], &["--exact"]] {
        assert_eq!(snap(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(&["snap", "--at", "14:05"]).status.code(), Some(2), "it is of a recording");
}

#[test]
fn replay_opens_the_screen_over_a_file_and_over_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = recorded(folder.path());
    let program = env!("CARGO_BIN_EXE_tusktop");
    for script in [format!("exec {program} replay {path}"), format!("cat {path} | {program} replay -")] {
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", &script]);
        let mut terminal = Terminal::start(command, &[], 100, 30);
        terminal.wait_for("the recording", |screen| screen.contents().contains("RECORDING"));
        terminal.press("q");
        terminal.ends_with(0);
    }
}

#[test]
fn replay_says_why_it_cannot_open_a_screen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = recorded(folder.path());
    let output = run(&["replay", &path]);
    assert!(output.status.code() == Some(1) && stderr(&output).contains("needs a terminal"), "{}", stderr(&output));
    let mut terminal = Terminal::start(
        {
            let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tusktop"));
            command.args(["replay", "/nonexistent/x.tusk"]);
            command
        },
        &[],
        100,
        30,
    );
    terminal.wait_for("the reason", |screen| screen.contents().contains("No such file"));
    terminal.ends_with(1);
}

#[test]
fn wrong_usage_of_record_ends_with_2() {
    for arguments in [&["--keep", "2"][..], &["--max-size", "1"], &["-d", "0"], &["--keep", "0", "--max-size", "1M"]] {
        let output = run(&[&["record"], arguments].concat());
        assert!(output.status.code() == Some(2) && stdout(&output).is_empty(), "{arguments:?}");
    }
}
