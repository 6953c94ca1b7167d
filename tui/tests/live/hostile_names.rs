//! Real processes whose names and titles try to steer a terminal, through the whole binary: every output, and the screen.

use std::{
    ffi::OsStr,
    fs,
    io::{Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::{Command, Output},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::cast::Cast;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const DEADLINE: Duration = Duration::from_secs(30);

/// A cast with every kind of strange name, and rules that make groups of them.
struct Hostile {
    cast: Cast,
    pids: Vec<u32>,
    rules: std::path::PathBuf,
}

fn hostile() -> Hostile {
    let mut cast = Cast::new();
    let mut pids: Vec<u32> =
        ["\x1b[2J", "\n\r", ") R 1", "\u{9b}1m", "\u{202e}x", "a b"].iter().map(|role| cast.sleeper(role)).collect();
    let tag = cast.tag().to_owned();
    let titles: [Vec<u8>; 4] = [
        format!("{tag}\x1b]0;owned\x07\x1b[31m").into_bytes(),
        [tag.as_bytes(), b"\xff\xfe\x9b2J"].concat(),
        [tag.as_bytes(), &[b'x'; 100_000]].concat(),
        format!("{tag}\n\tline\u{200b}\u{2028}").into_bytes(),
    ];
    pids.extend(titles.iter().map(|title| cast.titled("t", OsStr::from_bytes(title))));
    let rules = cast.folder().join("pe.yml");
    let text = format!("process_names:\n- {{name: '{{{{.Comm}}}} {{{{.ExeFull}}}}', cmdline: ['{tag}']}}\n");
    fs::write(&rules, text).unwrap();
    Hostile { cast, pids, rules }
}

fn tusktop(hostile: &Hostile, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .args(arguments)
        .arg("--process-exporter-config")
        .arg(&hostile.rules);
    command.output().unwrap()
}

/// The first character that a terminal could take for a command, or that hides what is there.
fn harmful(text: &str) -> Option<char> {
    text.chars()
        .find(|&c| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}'))
}

#[test]
fn no_output_has_a_character_that_steers_a_terminal() {
    let hostile = hostile();
    let explain: Vec<String> = hostile.pids.iter().map(ToString::to_string).collect();
    let mut runs = vec![vec!["snap", "--no-php", "-d", "100ms"], vec!["groups"]];
    runs.extend(explain.iter().map(|pid| vec!["groups", "--explain", pid]));
    for run in &runs {
        for format in ["table", "json"] {
            let output = tusktop(&hostile, &[&run[..], &["--format", format]].concat());
            assert!(output.status.success() && output.stderr.is_empty(), "{run:?}: {output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(harmful(&text), None, "{run:?} {format}");
            if format == "table" {
                assert!(text.contains(hostile.cast.tag()), "{run:?}: {text}");
                assert!(text.lines().all(|line| line.chars().count() < 1000), "{run:?}");
            }
        }
    }
    let output = tusktop(&hostile, &["groups"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let tag = hostile.cast.tag();
    for name in [format!("{tag}·[2J "), format!("{tag}·]0;owned··[31m"), format!("{tag}·· "), format!("{tag}) R 1 ")]
    {
        assert!(text.contains(&name), "no {name} in\n{text}");
    }
}

#[test]
fn wrong_settings_are_told_without_what_steers_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = folder.path().join("\x1b[31m.yml");
    for text in [
        "process_names:\n- cmdline: [\"\\e[31m(\"]\n",
        "process_names:\n- {comm: [a], name: \"\\u009b{{x\"}\n",
        "a: [\x1b\n",
    ] {
        fs::write(&yaml, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
            .env_clear()
            .args(["groups", "--process-exporter-config"])
            .arg(&yaml)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), harmful(&said)), (Some(2), None), "{said:?}");
        assert!(said.contains("·[31m.yml:2: ") || said.contains("·[31m.yml:1: "), "{said}");
    }
}

#[test]
fn the_screen_shows_hostile_names_and_obeys_none() {
    let hostile = hostile();
    let pair = native_pty_system().openpty(PtySize { rows: 50, cols: 200, pixel_width: 0, pixel_height: 0 }).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_tusktop"));
    command.env_clear();
    for (name, value) in [("TERM", "xterm-256color"), ("LANG", "C.UTF-8"), ("HOME", "/nonexistent")] {
        command.env(name, value);
    }
    command.cwd("/");
    command.args(["--no-php", "--interval", "200ms", "--process-exporter-config"]);
    command.arg(&hostile.rules);
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut chunk) {
            if sender.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut input = pair.master.take_writer().unwrap();
    // As a table, and only what has the tag, so that there is room for every name.
    input.write_all(format!("t/{}\r", hostile.cast.tag()).as_bytes()).unwrap();
    let shown = format!("{}·[2J", hostile.cast.tag());
    let mut screen = vt100::Parser::new(50.try_into().unwrap(), 200.try_into().unwrap(), 0);
    let mut raw = Vec::new();
    let end = Instant::now() + DEADLINE;
    while !screen.screen().contents().contains(&shown) {
        let chunk = output.recv_timeout(end.saturating_duration_since(Instant::now()));
        let chunk = chunk.unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("no {shown} in\n{}", screen.screen().contents())
        });
        screen.process(&chunk);
        raw.extend(chunk);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for sequence in [&b"\x1b]0;owned"[..], b"\xff", "\u{9b}".as_bytes(), "\u{202e}".as_bytes(), "\u{200b}".as_bytes()] {
        assert!(!raw.windows(sequence.len()).any(|window| window == sequence), "{sequence:?}");
    }
}
