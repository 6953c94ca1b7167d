//! The flight recorder as a service runs it: files that begin before what happened, and say what it was.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;
use tusktop::model::{NoticeKind, Snapshot};

use crate::{
    cli::{run, stderr, stdout},
    record::{read, record, send, wait_until, written},
};

/// A flight recorder in a folder. What it says goes to a file there.
fn flight(folder: &Path, arguments: &[&str]) -> Child {
    let said = fs::File::create(folder.join("said")).unwrap();
    record(arguments).current_dir(folder).stdout(Stdio::null()).stderr(said).spawn().unwrap()
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "tusk")).collect();
    paths.sort();
    paths
}

/// Waits until the recorder has said something so often.
fn wait_for_words(child: &mut Child, folder: &Path, words: &str, times: usize) {
    wait_until(words, child, || fs::read_to_string(folder.join("said")).unwrap().matches(words).count() >= times);
}

fn end(mut child: Child) {
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn causes(snapshots: &[Snapshot]) -> Vec<usize> {
    let triggered = |kind| matches!(kind, NoticeKind::RecordingTriggered | NoticeKind::RecordingRequested);
    let has = |snapshot: &Snapshot| snapshot.notices.iter().any(|notice| triggered(notice.kind));
    (0..snapshots.len()).filter(|&at| has(&snapshots[at])).collect()
}

/// A program of a name of its own, which takes as much memory as is written to it.
fn leak(folder: &Path) -> Child {
    let program = folder.join("tuskleak");
    fs::copy("/bin/dd", &program).unwrap();
    let mut command = Command::new(program);
    command.args(["bs=200M", "count=1", "iflag=fullblock", "of=/dev/null"]);
    command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_file_begins_before_the_event_says_its_cause_and_goes_on_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let mut leak = leak(folder.path());
    let condition = "growth of tusk* > 100M in 1m";
    let config = folder.path().join("config.toml");
    fs::write(&config, "[[groups.rules]]\nname = \"tuskleak\"\ncomm = [\"tuskleak\"]\n").unwrap();
    let mut recorder =
        flight(folder.path(), &["--config", config.to_str().unwrap(), "--when", condition, "--after", "1s"]);
    // What is before the event is there when this file is whole.
    send_when_listening(&mut recorder, folder.path());
    wait_for_words(&mut recorder, folder.path(), "is whole", 1);
    leak.stdin.as_mut().unwrap().write_all(&vec![1; 150 << 20]).unwrap();
    wait_for_words(&mut recorder, folder.path(), "is whole", 2);
    end(recorder);
    leak.kill().unwrap();
    leak.wait().unwrap();
    let files = recordings(folder.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let ((requested, _), (snapshots, damage)) = (read(&files[0]), read(&files[1]));
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(requested[0].at, snapshots[0].at, "both begin where the memory does");
    let causes: Vec<usize> = causes(&snapshots).into_iter().filter(|&at| at >= requested.len()).collect();
    let (first, last) = (causes[0], snapshots.len() - 1);
    assert!(first > 0 && snapshots[last].at.duration_since(snapshots[first].at).as_millis() >= 900);
    let notice = snapshots[first].notices.iter().find(|notice| notice.kind == NoticeKind::RecordingTriggered).unwrap();
    assert!(notice.text.contains("tuskleak grew by") && notice.hint.contains(condition), "{notice:?}");
    assert!(fs::read_to_string(folder.path().join("said")).unwrap().contains("tuskleak grew by"));
}

/// Asks for a file as soon as the recorder listens to that, and not before: it would be killed.
fn send_when_listening(child: &mut Child, folder: &Path) {
    let status = format!("/proc/{}/status", child.id());
    wait_until("a handler of SIGUSR1", child, || {
        let status = fs::read_to_string(&status).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & (1 << (Signal::USR1.as_raw() - 1)) != 0
    });
    send(child, Signal::USR1);
    wait_for_words(child, folder, "SIGUSR1", 1);
}

#[test]
fn a_file_is_written_on_request_with_what_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = flight(folder.path(), &["--keep-last", "10m", "--after", "300ms", "-o", "wanted.tusk"]);
    send_when_listening(&mut recorder, folder.path());
    wait_for_words(&mut recorder, folder.path(), "is whole", 1);
    send(&recorder, Signal::USR1);
    wait_for_words(&mut recorder, folder.path(), "is whole", 2);
    end(recorder);
    let (first, second) = (read(&folder.path().join("wanted.tusk")), read(&folder.path().join("wanted-2.tusk")));
    assert!(first.1.is_empty() && second.1.is_empty());
    assert!(second.0.starts_with(&first.0) && second.0.len() > first.0.len());
    assert_eq!((causes(&first.0).len(), causes(&second.0).len()), (1, 2), "the first is in the past of the second");
    let printed = run(&[
        "snap",
        folder.path().join("wanted.tusk").to_str().unwrap(),
        "--at",
        &first.0[causes(&first.0)[0]].at.to_string(),
    ]);
    assert!(stdout(&printed).contains("recorded on request"), "{}", stdout(&printed));
}

#[test]
fn a_condition_that_goes_on_writes_one_file_and_old_files_are_removed_also_those_of_earlier_runs() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("mine-2026-01-01-000000.tusk");
    fs::write(&precious, "precious").unwrap();
    for _ in 0..3 {
        let arguments = ["--when", "memory > 1%", "--after", "100ms", "--keep", "2"];
        let mut recorder = flight(folder.path(), &arguments);
        wait_for_words(&mut recorder, folder.path(), "is whole", 1);
        // One second has one name.
        let begun = recordings(folder.path()).len();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(recordings(folder.path()).iter().filter(|path| name(path).contains("-event-")).count() <= 2);
        end(recorder);
        assert_eq!(recordings(folder.path()).len(), begun, "there is one file for one event");
    }
    let files = recordings(folder.path());
    assert_eq!(files.len(), 3, "{files:?}");
    assert_eq!(fs::read(precious).unwrap(), b"precious");
    for file in files.iter().filter(|file| file.to_str().unwrap().contains("-event-")) {
        let (snapshots, damage) = read(file);
        assert!(damage.is_empty() && !causes(&snapshots).is_empty());
    }
}

#[test]
fn an_end_in_the_middle_of_an_event_leaves_a_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = flight(folder.path(), &["--when", "memory > 1%", "-o", "a.tusk"]);
    wait_until("the file", &mut recorder, || written(&folder.path().join("a.tusk")) >= 3);
    end(recorder);
    let (snapshots, damage) = read(&folder.path().join("a.tusk"));
    assert!(damage.is_empty() && snapshots.len() >= 3, "{damage:?}");
}

#[test]
fn what_cannot_be_watched_is_said_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--when", "p99 > 1s", "--when", "memory > 1%", "--after", "100ms"];
    let mut recorder = flight(folder.path(), &arguments);
    wait_for_words(&mut recorder, folder.path(), "is whole", 1);
    end(recorder);
    let said = fs::read_to_string(folder.path().join("said")).unwrap();
    assert!(said.contains("--when 'p99 > 1s' cannot hold: PHP is not observed"), "{said}");
}

#[test]
fn a_file_that_cannot_be_written_costs_that_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.tusk"), "precious").unwrap();
    let mut recorder = flight(folder.path(), &["--when", "memory > 1%", "--after", "100ms", "-o", "a.tusk"]);
    wait_for_words(&mut recorder, folder.path(), "is whole", 1);
    end(recorder);
    assert_eq!(fs::read(folder.path().join("a.tusk")).unwrap(), b"precious");
    assert!(!read(&folder.path().join("a-2.tusk")).0.is_empty());
    for nowhere in ["/proc/a.tusk", "/nonexistent/a.tusk"] {
        let output = record(&["--when", "oom kill", "-o", nowhere]).output().unwrap();
        assert!(output.status.code() == Some(1) && stderr(&output).contains("cannot write"), "{}", stderr(&output));
    }
}

/// The unit, with this program in place of the one that is installed.
fn unit() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/tusktop-record.service");
    let unit = fs::read_to_string(path).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/tusktop record "));
    unit.replace("ExecStart=/usr/local/bin/tusktop", concat!("ExecStart=", env!("CARGO_BIN_EXE_tusktop")))
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tusktop-record.service");
    fs::write(&path, unit()).unwrap();
    let verify = || {
        Command::new("systemd-analyze").arg("verify").arg(&path).output().expect("systemd-analyze; see .ci/packages")
    };
    let output = verify();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    fs::write(&path, unit().replace("Restart=on-failure", "Restart=sometimes")).unwrap();
    assert!(stderr(&verify()).contains("sometimes"), "it looks at the whole unit");
}

#[test]
fn the_command_of_the_unit_is_understood() {
    let unit = unit().replace("\\\n", " ");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap().replace("%%", "%");
    let mut arguments = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        match at % 2 {
            0 => arguments.extend(part.split_whitespace()),
            _ => arguments.push(part),
        }
    }
    assert!(arguments.iter().filter(|argument| **argument == "--when").count() >= 5, "{arguments:?}");
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(arguments[0]);
    command.args(&arguments[1..]).args(["--no-php", "-d", "200ms", "-i", "100ms"]).current_dir(folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn wrong_conditions_end_with_2_and_say_what_is_possible() {
    for (condition, said) in
        [("p98 > 2s", "`p98` cannot be watched"), ("p99 > 2", "such as 500ms"), ("pool www", "pool NAME full")]
    {
        let output = run(&["record", "--when", condition]);
        assert_eq!(output.status.code(), Some(2), "{condition}");
        assert!(stderr(&output).contains(said) && stderr(&output).contains(condition), "{}", stderr(&output));
    }
    for arguments in [&["--after", "1m"][..], &["--keep", "2"], &["--keep-last", "x"]] {
        assert_eq!(run(&[&["record"], arguments].concat()).status.code(), Some(2), "{arguments:?}");
    }
    assert!(stderr(&run(&["record", "--keep-last", "1m", "-o", "-"])).contains("a file for each event"));
    let help = run(&["record", "--help"]);
    assert!(stdout(&help).contains("oom kill") && stdout(&help).contains("for 30s"), "{}", stdout(&help));
}
