//! A whole screen in memory: snapshots in, keys in, cells out. It is the product's own stage with a buffer in place of a terminal.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use jiff::{SignedDuration, tz::TimeZone};
use ratatui::{buffer::Buffer, layout::Rect};
use tusktop::{
    analysis::{flame::Fold, timeline::Worked},
    app::Command,
    model::Snapshot,
    recording::RingLimits,
    screen::stage,
    ui::theme::{self, ColorDepth},
};

/// A stage, the cells that it drew last, and what it asked the terminal for.
pub struct Stage {
    stage: stage::Stage,
    pub buffer: Buffer,
    pub commands: Vec<Command>,
    /// When the last event came: whoever presses keys here takes his time.
    pub now: Instant,
}

impl Deref for Stage {
    type Target = stage::Stage;

    fn deref(&self) -> &stage::Stage {
        &self.stage
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut stage::Stage {
        &mut self.stage
    }
}

impl Stage {
    /// A screen that has drawn nothing but the start, and that keeps no past.
    pub fn new(width: u16, height: u16) -> Self {
        Self::keeping(RingLimits { span: Duration::ZERO, bytes: 0 }, width, height)
    }

    /// A screen with a past.
    pub fn keeping(past: RingLimits, width: u16, height: u16) -> Self {
        let options = stage::Options {
            theme: theme::load("dark", None, None).expect("a built-in theme"),
            depth: ColorDepth::Indexed,
            ascii: false,
            mouse: false,
            keys: BTreeMap::new(),
            time_zone: TimeZone::UTC,
            read_only: None,
            past,
            fold: Fold::default(),
            folded: false,
        };
        let mut stage = stage::Stage::new(&options).expect("the default keys are good");
        // Fixtures have processes of any pid; none of them is this test.
        stage.app.view.own_pid = 0;
        let mut stage = Self {
            stage,
            buffer: Buffer::empty(Rect::new(0, 0, width, height)),
            commands: Vec::new(),
            now: Instant::now(),
        };
        stage.draw();
        stage
    }

    /// A screen that shows a snapshot.
    pub fn showing(snapshot: Snapshot, width: u16, height: u16) -> Self {
        let mut stage = Self::new(width, height);
        stage.push(snapshot);
        stage
    }

    /// Other colours.
    pub fn theme(mut self, name: &str, depth: ColorDepth) -> Self {
        self.palette = theme::load(name, None, None).expect("a built-in theme").palette(depth);
        self.draw();
        self
    }

    /// The next snapshot.
    pub fn push(&mut self, snapshot: Snapshot) {
        if self.take(Arc::new(snapshot)) {
            self.draw();
        }
    }

    /// `count` snapshots a second apart, changed by their number.
    pub fn push_each(&mut self, base: &Snapshot, count: i64, change: impl Fn(&mut Snapshot, i64)) {
        for second in 0..count {
            let mut snapshot = base.clone();
            snapshot.at += SignedDuration::from_secs(second);
            change(&mut snapshot, second);
            self.push(snapshot);
        }
    }

    /// Reads all that is still to be read of the moment that is shown.
    pub fn settle(&mut self) {
        while self.work() != Worked::Nothing {}
        self.draw();
    }

    /// Another size.
    pub fn resize(&mut self, width: u16, height: u16) {
        self.buffer = Buffer::empty(Rect::new(0, 0, width, height));
        self.draw();
    }

    /// Keys in turn: characters as they are, others as `<enter>`, `<esc>`, `<tab>`, `<ctrl+f>`.
    pub fn keys(mut self, script: &str) -> Self {
        self.press(script);
        self
    }

    /// As [`Stage::keys`].
    pub fn press(&mut self, script: &str) {
        let mut rest = script;
        while let Some(c) = rest.chars().next() {
            let (name, tail) = match rest.strip_prefix('<').and_then(|r| r.split_once('>')) {
                Some((name, tail)) => (name, tail),
                None => rest.split_at(c.len_utf8()),
            };
            rest = tail;
            self.event(&Event::Key(key(name)));
        }
    }

    /// One event.
    pub fn event(&mut self, event: &Event) {
        self.now += Duration::from_secs(1);
        if let Some(command) = self.stage.event(event, self.now) {
            self.commands.push(command);
        }
        self.draw();
    }

    pub fn draw(&mut self) {
        self.buffer.reset();
        self.stage.draw(&mut self.buffer);
        self.stage.app.drawn(self.now);
    }

    /// The characters, line by line, without spaces at the ends.
    pub fn text(&self) -> String {
        let area = self.buffer.area;
        let mut text = String::new();
        for y in area.top()..area.bottom() {
            let mut line = String::new();
            let mut skip = 0;
            for x in area.left()..area.right() {
                let symbol = self.buffer[(x, y)].symbol();
                if skip == 0 {
                    line.push_str(symbol);
                }
                skip = tusktop::words::printable::width(symbol).max(skip + usize::from(skip == 0)).saturating_sub(1);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The line that contains some text.
    pub fn line_with(&self, part: &str) -> String {
        let text = self.text();
        text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in\n{text}")).to_owned()
    }
}

fn key(name: &str) -> KeyEvent {
    let (name, modifiers) = match name.strip_prefix("ctrl+") {
        Some(name) => (name, KeyModifiers::CONTROL),
        None => (name, KeyModifiers::NONE),
    };
    let code = match name {
        "enter" => KeyCode::Enter,
        "esc" => KeyCode::Esc,
        "tab" => KeyCode::Tab,
        "backtab" => KeyCode::BackTab,
        "backspace" => KeyCode::Backspace,
        "space" => KeyCode::Char(' '),
        "end" => KeyCode::End,
        "home" => KeyCode::Home,
        "pgdn" => KeyCode::PageDown,
        name => KeyCode::Char(name.chars().next().expect("a key has a name")),
    };
    KeyEvent::new(code, modifiers)
}
