//! Claims about the screen over a recording: it is the same screen, moved through by keys and by the line at the bottom.

use std::{io::Write as _, sync::Arc, time::Duration};

use crossterm::event::{Event, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use jiff::SignedDuration;
use tusktop::{
    app::Command,
    model::{Notice, Snapshot},
    recording::{Recording, Writer},
};

use crate::{snapshot::web01, stage::Stage};

/// Three minutes and a half of the busy server; its requests come in waves, and one notice comes after two minutes.
fn recording() -> (tempfile::NamedTempFile, Vec<Snapshot>) {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let snapshots: Vec<Snapshot> = (0..21)
        .map(|step| {
            let mut snapshot = web01();
            snapshot.at += SignedDuration::from_secs(step * 10);
            let mut php = (*snapshot.php).clone();
            php.routes.iter_mut().for_each(|route| route.requests = (step as u64 % 7) * 3);
            snapshot.php = Arc::new(php);
            snapshot.notices.clear();
            if step >= 12 {
                snapshot.notices.push(Notice::processes_refused(3));
            }
            writer.push(&snapshot).unwrap();
            snapshot
        })
        .collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&writer.finish().unwrap()).unwrap();
    (file, snapshots)
}

fn replaying(width: u16, height: u16) -> (Stage, Vec<Snapshot>) {
    let (file, snapshots) = recording();
    let mut stage = Stage::new(width, height);
    stage.replay(Recording::open(file.path()).unwrap());
    stage.draw();
    (stage, snapshots)
}

/// Seconds from the start of the recording to the snapshot that is shown.
fn second(stage: &Stage, snapshots: &[Snapshot]) -> i64 {
    stage.timeline.current().unwrap().at.duration_since(snapshots[0].at).as_secs()
}

#[test]
fn replay_80x24() {
    insta::assert_snapshot!(replaying(80, 24).0.keys(")").text());
}

#[test]
fn replay_150x45() {
    insta::assert_snapshot!(replaying(150, 45).0.keys(")").text());
}

#[test]
fn keys_go_by_a_snapshot_a_minute_and_ten_minutes_and_stop_at_both_ends() {
    let (mut stage, snapshots) = replaying(120, 30);
    for (keys, expected) in
        [(".", 10), (",", 0), (",", 0), (")", 60), (".", 70), ("(", 10), ("}", 200), (".", 200), ("{", 0)]
    {
        stage.press(keys);
        assert_eq!(second(&stage, &snapshots), expected, "{keys}");
    }
}

#[test]
fn keys_go_to_the_notice_that_is_new_and_back() {
    let (mut stage, snapshots) = replaying(120, 30);
    stage.press(";");
    assert_eq!(second(&stage, &snapshots), 120);
    assert!(stage.text().contains("cannot be read"), "{}", stage.text());
    stage.press(";");
    assert_eq!(second(&stage, &snapshots), 120, "there is no other");
    stage.press("}'");
    assert_eq!(second(&stage, &snapshots), 120);
}

#[test]
fn a_typed_moment_is_gone_to_and_a_wrong_one_is_said() {
    let (mut stage, snapshots) = replaying(120, 30);
    let at = snapshots[7].at.strftime("%H:%M:%S").to_string();
    stage.press(&format!(":{at}<enter>"));
    assert_eq!(second(&stage, &snapshots), 70);
    stage.press(":1m ago<enter>");
    assert_eq!(second(&stage, &snapshots), 140);
    stage.press(":noon<enter>");
    assert!(stage.text().contains("expected a time"), "{}", stage.text());
    assert_eq!(second(&stage, &snapshots), 140);
    stage.press("<esc><esc>");
    assert!(!stage.text().contains("expected a time"));
}

#[test]
fn a_click_on_the_line_goes_there() {
    let (mut stage, snapshots) = replaying(120, 30);
    let line = stage.shown.scene.scrub.unwrap();
    let click = |stage: &mut Stage, column| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        stage.event(&Event::Mouse(MouseEvent { kind, column, row: line.y, modifiers: KeyModifiers::NONE }));
    };
    click(&mut stage, line.right() - 1);
    assert_eq!(second(&stage, &snapshots), 200);
    click(&mut stage, line.x);
    assert_eq!(second(&stage, &snapshots), 0);
    click(&mut stage, line.x + line.width / 2);
    assert!((90..=110).contains(&second(&stage, &snapshots)));
}

#[test]
fn it_plays_at_its_speed_and_stops_at_the_end() {
    let (mut stage, snapshots) = replaying(120, 30);
    assert!(!stage.is_playing());
    stage.press("<space>");
    assert!(stage.is_playing());
    assert!(!stage.play(Duration::from_secs(9)), "the next snapshot has not come");
    assert!(stage.play(Duration::from_secs(1)));
    assert_eq!(second(&stage, &snapshots), 10);
    stage.press("++");
    assert!(stage.text().contains("playing 4x"));
    stage.play(Duration::from_secs(5));
    assert_eq!(second(&stage, &snapshots), 30);
    stage.play(Duration::from_secs(600));
    assert_eq!(second(&stage, &snapshots), 200);
    assert!(!stage.is_playing());
}

#[test]
fn signals_and_tracing_say_why_they_do_nothing() {
    let (mut stage, _) = replaying(120, 30);
    stage.app.view.read_only = Some("this is a recording".into());
    stage.press("l");
    stage.press("x");
    assert!(stage.text().contains("signals are off: this is a recording"));
    stage.press("<esc>X");
    assert!(stage.text().contains("nothing runs here that could be traced"));
    stage.press("<enter>");
    assert!(!stage.commands.iter().any(|command| matches!(command, Command::Trace(_) | Command::Signal(_))));
}

#[test]
fn the_panes_are_those_of_the_live_screen() {
    let (mut replayed, snapshots) = replaying(150, 45);
    replayed.press(")");
    let mut live = Stage::new(150, 45);
    snapshots[..=6].iter().cloned().for_each(|snapshot| live.push(snapshot));
    // One line of the recording's screen is the line of the recording.
    live.resize(150, 44);
    let body = |stage: &Stage| -> Vec<String> { stage.text().lines().skip(2).take(40).map(str::to_owned).collect() };
    assert_eq!(body(&live), body(&replayed));
}

#[test]
fn every_size_has_a_screen_and_ascii_is_ascii() {
    let (mut stage, _) = replaying(120, 30);
    stage.ascii = true;
    for (width, height) in [(1, 1), (30, 8), (40, 10), (41, 13), (60, 14), (80, 24), (120, 24), (250, 70)] {
        stage.resize(width, height);
        assert!(stage.text().is_ascii(), "{}", stage.text());
    }
}

#[test]
fn a_live_screen_has_neither_the_line_nor_its_keys() {
    let mut stage = Stage::showing(web01(), 120, 60).keys(".(){};:+-");
    assert!(stage.shown.scene.scrub.is_none());
    assert!(!stage.commands.iter().any(|command| matches!(command, Command::Go(_))));
    stage.press("?");
    assert!(!stage.text().contains("ten-minutes-back"));
}
