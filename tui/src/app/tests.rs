//! Claims about the state: what keys change, with scenes made by hand.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;

use super::*;
use crate::{
    model::ProcessKey,
    view::{Detail, Facts, List, Row, TileKey, Zoom},
};

/// A moment that is a second later each time, so that no two keys follow each other quickly.
pub(super) fn calmly() -> Instant {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    Instant::now() + Duration::from_secs(SECONDS.fetch_add(1, Ordering::Relaxed))
}

fn app() -> App {
    App::new(&BTreeMap::new(), false).unwrap()
}

fn shown_with_rows(pane: Pane, count: u32) -> Shown {
    let mut shown = Shown::default();
    let rows = (0..count).map(|pid| Row::Tile(TileKey::Process(pid))).collect();
    shown.scene.lists[pane as usize] = List { rows, first: 0, area: Rect::new(0, 0, 40, 10) };
    shown
}

fn press(app: &mut App, shown: &Shown, keys: &str) -> Option<Command> {
    let mut last = None;
    for c in keys.chars() {
        let code = match c {
            '⏎' => KeyCode::Enter,
            '⎋' => KeyCode::Esc,
            '⌫' => KeyCode::Backspace,
            '⇥' => KeyCode::Tab,
            c => KeyCode::Char(c),
        };
        last = app.update(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), shown, calmly());
    }
    last
}

fn selected(app: &App, pane: Pane) -> Option<u32> {
    match app.view.pane(pane).selected {
        Some(Row::Tile(TileKey::Process(pid))) => Some(pid),
        _ => None,
    }
}

#[test]
fn rows_are_selected_by_what_they_are() {
    let (mut app, shown) = (app(), shown_with_rows(Pane::Hot, 50));
    press(&mut app, &shown, "2jjj");
    assert_eq!(selected(&app, Pane::Hot), Some(2), "the first key selects the first row");
    press(&mut app, &shown, "G");
    assert_eq!(selected(&app, Pane::Hot), Some(49));
    press(&mut app, &shown, "<");
    assert_eq!(selected(&app, Pane::Hot), Some(0));
    press(&mut app, &shown, "k");
    assert_eq!(selected(&app, Pane::Hot), Some(0), "there is nothing above the first");
}

#[test]
fn a_page_is_what_is_visible_but_one() {
    let (mut app, shown) = (app(), shown_with_rows(Pane::Hot, 50));
    press(&mut app, &shown, "2j");
    let ctrl = |c| Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
    app.update(&ctrl('f'), &shown, calmly());
    assert_eq!(selected(&app, Pane::Hot), Some(9));
    app.update(&ctrl('u'), &shown, calmly());
    assert_eq!(selected(&app, Pane::Hot), Some(5));
}

#[test]
fn a_key_that_changes_nothing_draws_nothing() {
    let (mut app, shown) = (app(), Shown::default());
    assert_eq!(press(&mut app, &shown, "⎋"), None);
    assert_eq!(press(&mut app, &shown, "j"), None);
    assert_eq!(press(&mut app, &shown, "Y"), None);
    assert_eq!(press(&mut app, &shown, "c"), Some(Command::Draw));
}

#[test]
fn an_unfinished_sequence_is_dropped_and_the_next_key_counts() {
    let (mut app, shown) = (app(), shown_with_rows(Pane::Hot, 9));
    press(&mut app, &shown, "2gG");
    assert_eq!(selected(&app, Pane::Hot), Some(8));
}

#[test]
fn a_filter_takes_every_letter_and_is_kept_by_enter() {
    let (mut app, shown) = (app(), Shown::default());
    press(&mut app, &shown, "2/quit ?⏎");
    assert_eq!(app.view.pane(Pane::Hot).filter, "quit ?");
    assert!(!app.view.typing);
    assert_eq!(press(&mut app, &shown, "⎋"), Some(Command::Draw));
    assert_eq!(app.view.pane(Pane::Hot).filter, "");
}

#[test]
fn escape_while_typing_clears_the_filter() {
    let (mut app, shown) = (app(), Shown::default());
    press(&mut app, &shown, "/php⎋");
    assert_eq!((&*app.view.pane(Pane::Map).filter, app.view.typing), ("", false));
    press(&mut app, &shown, "/a⌫⌫");
    assert!(!app.view.typing, "backspace in an empty filter leaves it");
}

#[test]
fn a_filter_has_a_bound() {
    let (mut app, shown) = (app(), Shown::default());
    press(&mut app, &shown, "/");
    app.update(&Event::Paste("x".repeat(10_000)), &shown, calmly());
    assert_eq!(app.view.pane(Pane::Map).filter.len(), MAX_FILTER);
}

#[test]
fn a_paste_without_a_filter_does_nothing() {
    let (mut app, shown) = (app(), Shown::default());
    assert_eq!(app.update(&Event::Paste("q".into()), &shown, calmly()), None);
}

#[test]
fn leaving_a_group_selects_it_again() {
    let (mut app, mut shown) = (app(), Shown::default());
    let group = Row::Tile(TileKey::Group("www".into()));
    shown.scene.lists[0].rows = vec![group.clone()];
    app.view.pane_mut(Pane::Map).selected = Some(group.clone());
    press(&mut app, &shown, "⏎");
    assert_eq!(app.view.zoom, [Zoom::Group("www".into())]);
    press(&mut app, &shown, "⎋");
    assert!(app.view.zoom.is_empty());
    assert_eq!(app.view.pane(Pane::Map).selected, Some(group));
}

#[test]
fn something_selected_that_is_gone_cannot_be_entered() {
    let (mut app, shown) = (app(), shown_with_rows(Pane::Map, 3));
    app.view.pane_mut(Pane::Map).selected = Some(Row::Tile(TileKey::Process(99)));
    assert_eq!(press(&mut app, &shown, "⏎"), None);
    app.view.pane_mut(Pane::Map).selected = Some(Row::Tile(TileKey::Process(2)));
    press(&mut app, &shown, "⏎");
    assert_eq!(
        app.view.pane(Pane::Map).detail,
        Some((Detail::Process { key: ProcessKey { pid: 2, start_ticks: None }, asked: 0 }, 0))
    );
}

#[test]
fn a_detail_scrolls_no_further_than_its_end() {
    let (mut app, mut shown) = (app(), shown_with_rows(Pane::Map, 3));
    press(&mut app, &shown, "⏎");
    shown.scene.scrollable = 4;
    press(&mut app, &shown, "jjjjjjjjj");
    assert_eq!(app.view.pane(Pane::Map).detail.as_ref().map(|(_, scroll)| *scroll), Some(4));
}

#[test]
fn q_closes_an_overlay_first_and_ctrl_c_always_leaves() {
    let (mut app, shown) = (app(), Shown::default());
    press(&mut app, &shown, "!");
    assert_eq!(press(&mut app, &shown, "q"), Some(Command::Draw));
    press(&mut app, &shown, "?filter");
    let ctrl_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert_eq!(app.update(&ctrl_c, &shown, calmly()), Some(Command::Leave(130)));
}

#[test]
fn the_help_is_searched_and_closed() {
    let (mut app, shown) = (app(), Shown::default());
    press(&mut app, &shown, "?sort");
    assert_eq!(app.view.overlay, Some(Overlay::Help { search: "sort".into(), scroll: 0 }));
    press(&mut app, &shown, "⎋");
    assert_eq!(app.view.overlay, Some(Overlay::Help { search: String::new(), scroll: 0 }));
    press(&mut app, &shown, "⎋");
    assert_eq!(app.view.overlay, None);
    press(&mut app, &shown, "??");
    assert_eq!(app.view.overlay, None);
}

#[test]
fn the_choice_of_an_order_closes_with_the_choice() {
    let (mut app, shown) = (app(), Shown::default());
    press(&mut app, &shown, "2sT");
    assert_eq!((app.view.pane(Pane::Hot).sort, &app.view.overlay), (Some(Sort::Time), &None));
    press(&mut app, &shown, "I");
    assert!(app.view.pane(Pane::Hot).inverted);
    press(&mut app, &shown, "s⎋");
    assert_eq!(app.view.overlay, None);
}

#[test]
fn the_mouse_is_switched_by_the_terminal() {
    let (mut app, shown) = (app(), Shown::default());
    assert_eq!(press(&mut app, &shown, "m"), Some(Command::CaptureMouse(true)));
    assert_eq!(press(&mut app, &shown, "m"), Some(Command::CaptureMouse(false)));
}

#[test]
fn tracing_is_priced_before_it_begins_and_ended_by_the_same_key() {
    let (mut app, mut shown) =
        (app(), Shown { facts: Facts { pool: Some("www".into()), ..Facts::default() }, ..Shown::default() });
    let request = |kind| TraceRequest { kind, pool: Some("www".into()), pid: None };
    let price = |kind| Some(Command::Trace(TraceOrder::Price(request(kind))));
    assert_eq!(press(&mut app, &shown, "X"), price(ExactKind::Functions));
    assert_eq!(press(&mut app, &shown, "⇥"), price(ExactKind::Lines));
    let start = Some(Command::Trace(TraceOrder::Start(request(ExactKind::Lines))));
    assert_eq!(press(&mut app, &shown, "⏎"), start);
    assert_eq!((app.view.overlay.clone(), app.view.hot, app.view.focus.0), (None, HotMode::Calls, Pane::Hot));
    shown.facts.tracing = true;
    assert_eq!(press(&mut app, &shown, "X"), Some(Command::Draw), "no new price while it runs");
    assert_eq!(press(&mut app, &shown, "⏎"), Some(Command::Trace(TraceOrder::Stop)));
    press(&mut app, &shown, "⎋");
    assert_eq!(app.view.overlay, None);
}
