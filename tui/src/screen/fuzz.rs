//! Snapshots that are read back, drawn: whatever is in a recording, the screen shows it and no cell steers the terminal.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use jiff::tz::TimeZone;
use ratatui::{buffer::Buffer, layout::Rect};

use super::stage::{Options, Stage};
use crate::{
    analysis::flame::Fold,
    fuzz::Target,
    model::Snapshot,
    recording::RingLimits,
    ui::theme::{self, ColorDepth},
    words::printable::printable,
};

/// What is pressed, one after the other: the table, a group, a process, its page, back, further panes, and the flame.
const KEYS: [KeyCode; 15] = [
    KeyCode::Char('t'),
    KeyCode::Enter,
    KeyCode::Down,
    KeyCode::Enter,
    KeyCode::Esc,
    KeyCode::Tab,
    KeyCode::Tab,
    KeyCode::Enter,
    KeyCode::Char('F'),
    KeyCode::Down,
    KeyCode::Down,
    KeyCode::Enter,
    KeyCode::Char('C'),
    KeyCode::Char('V'),
    KeyCode::Esc,
];

#[test]
fn any_snapshot_is_drawn() {
    let target =
        Target { name: "screen", longest: 32 << 10, memory: 16 << 20, words: &["null", "1e308", "[]", "\\u001b"] };
    let options = Options {
        theme: theme::load("dark", None, None).unwrap(),
        depth: ColorDepth::Indexed,
        ascii: false,
        mouse: false,
        keys: BTreeMap::new(),
        time_zone: TimeZone::UTC,
        read_only: None,
        past: RingLimits { span: Duration::ZERO, bytes: 0 },
        fold: Fold::default(),
        folded: false,
    };
    target.run(|bytes| {
        let Ok(snapshot) = Snapshot::read(bytes) else { return };
        let mut stage = Stage::new(&options).unwrap();
        let mut buffer = Buffer::empty(Rect::new(0, 0, 120, 40));
        stage.take(Arc::new(snapshot));
        stage.draw(&mut buffer);
        for key in KEYS {
            stage.event(&Event::Key(KeyEvent::new(key, KeyModifiers::NONE)), Instant::now());
            stage.draw(&mut buffer);
        }
        assert!(buffer.content().iter().all(|cell| printable(cell.symbol()) == cell.symbol()));
    });
}
