//! Screens of a group that was entered: its charts, and what they say of growth.

use std::sync::Arc;

use jiff::SignedDuration;
use tusktop::model::Snapshot;

use crate::{snapshot::web01, stage::Stage};

/// Every worker of the first group grows by 256 KiB a second, and one is added each minute.
fn leaking(snapshot: &mut Snapshot, second: i64) {
    let added = second as u64 * (256 << 10);
    snapshot.groups[0].processes += (second / 60) as u32;
    let processes = u64::from(snapshot.groups[0].processes);
    let each = (20_u64 << 20) + added;
    snapshot.groups[0].memory.uss_bytes = Some(each * processes);
    snapshot.groups[0].memory.pss_bytes = Some(each * processes + (50 << 20));
    snapshot.groups[0].cpu_ratio = Some(0.5 + (second % 60) as f64 / 100.0);
}

fn watched(seconds: i64, width: u16, height: u16) -> Stage {
    let mut stage = Stage::new(width, height);
    for second in 0..seconds {
        let mut snapshot = web01();
        snapshot.at += SignedDuration::from_secs(second);
        leaking(&mut snapshot, second);
        stage.timeline.push(Arc::new(snapshot));
    }
    stage.draw();
    stage.keys("1<enter>")
}

#[test]
fn history_150x45() {
    insta::assert_snapshot!(watched(300, 150, 45).text());
}

#[test]
fn history_120x30() {
    insta::assert_snapshot!(watched(90, 120, 30).text());
}

#[test]
fn history_200x50_in_ascii() {
    let mut stage = watched(600, 200, 50);
    stage.ascii = true;
    stage.draw();
    insta::assert_snapshot!(stage.text());
}

#[test]
fn a_small_pane_has_no_room_for_charts() {
    assert!(!watched(90, 80, 24).text().contains("history"));
}

#[test]
fn memory_per_process_that_rises_is_seen_in_the_tile_and_in_the_chart() {
    let stage = watched(120, 150, 45);
    assert!(stage.line_with("USS each").contains("▲ 15 MiB/min"));
    let stage = stage.keys("<esc>");
    assert!(stage.line_with(" each").contains("each ▲"));
}

#[test]
fn the_window_of_all_shows_two_hours() {
    let stage = watched(3000, 150, 45);
    assert!(stage.line_with("history").contains("last 10 m"));
    assert!(stage.keys("ww").line_with("history").contains("last 1 h"));
}

#[test]
fn charts_need_two_points() {
    assert!(!watched(1, 150, 45).text().contains("history"));
}
