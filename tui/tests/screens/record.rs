//! Claims about the recording that a key starts on the live screen.

use tusktop::{app::Command, view::RecordingInProgress};

use crate::{snapshot::web01, stage::Stage};

fn recording(width: u16, state: RecordingInProgress) -> Stage {
    let mut stage = Stage::showing(web01(), width, 30);
    stage.recording = Some(state);
    stage.draw();
    stage
}

#[test]
fn a_key_starts_and_stops_a_recording_and_does_nothing_in_one() {
    let mut stage = Stage::showing(web01(), 120, 30);
    stage.press("R");
    assert!(stage.commands.contains(&Command::Record) && !stage.text().contains("REC "));
    stage.commands.clear();
    stage.app.view.recorded = true;
    stage.press("R");
    assert!(!stage.commands.contains(&Command::Record));
}

#[test]
fn the_header_shows_the_file_its_size_and_what_is_missing() {
    let state = RecordingInProgress { file: "web01.tusk".into(), bytes: 3 << 20, missed: 7, problem: None };
    let text = recording(200, state.clone()).text();
    let header = text.lines().next().unwrap_or_default();
    assert!(["REC 3.0 MiB", "web01.tusk", "7 snapshots missed"].iter().all(|part| header.contains(part)), "{header}");
    let text = recording(80, state).text();
    assert!(text.lines().next().unwrap_or_default().contains("REC 3.0 MiB"), "where there is little room, too: {text}");
}

#[test]
fn a_recording_that_fails_says_why_until_the_key_is_pressed_again() {
    let problem = Some("cannot write web01.tusk: No space left on device".into());
    let text = recording(150, RecordingInProgress { problem, ..RecordingInProgress::default() }).text();
    assert!(text.contains("NOT RECORDED cannot write web01.tusk: No space left"), "{text}");
}
