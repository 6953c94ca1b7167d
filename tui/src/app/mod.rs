//! The state of the screen and the only place that changes it: `App::update` takes an event and the scene as drawn, changes
//! the [`View`], and says what the terminal has to do. It draws nothing and reads no clock.

mod action;
mod flame;
mod keymap;
mod mouse;
mod navigate;
mod signal;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::keymap::{Key, Meaning};
pub use self::{
    action::{ACTIONS, Action},
    keymap::{Keymap, KeymapError},
};
use crate::{
    exit,
    model::{ExactKind, HotTime, SignalOrder, TraceOrder, TraceRequest, Window},
    view::{Go, HotMode, KeyHint, Overlay, Pane, Shown, Sort, TileColour, View, orders},
    words::times::When,
};

/// Time without any event, and since the window about a signal was drawn, after which a key can confirm it: what is typed without
/// looking, pasted into a terminal that does not say so, or kept back by a slow line comes sooner.
const CALM: Duration = Duration::from_millis(300);

/// Longest filter or search that can be typed.
const MAX_FILTER: usize = 200;

/// What the terminal has to do after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Draw.
    Draw,
    /// Draw every cell again.
    Redraw,
    /// Capture the mouse, or stop it.
    CaptureMouse(bool),
    /// Give the terminal back until the shell continues us.
    Suspend,
    /// Ask for exact tracing, and draw.
    Trace(TraceOrder),
    /// Go to another moment.
    Go(Go),
    /// Record, or stop recording.
    Record,
    /// Send a signal, and tell [`App::signalled`] what became of it.
    Signal(SignalOrder),
    /// Leave with this exit code, of [`exit`].
    Leave(u8),
}

/// The state of the screen.
#[derive(Debug, Clone)]
pub struct App {
    /// What is shown and how.
    pub view: View,
    keymap: Keymap,
    pending: Vec<Key>,
    last_event: Option<Instant>,
    /// Some time went by between the event before and this one, and since the window was drawn: somebody had time to read.
    calm: bool,
    /// When the window about a signal was first on the terminal as it is now; `None` when it is not yet.
    asked_at: Option<Instant>,
}

impl App {
    /// The first state. `keys` are changes to the key map.
    pub(crate) fn new(keys: &BTreeMap<String, String>, mouse: bool) -> Result<Self, KeymapError> {
        let view = View { mouse, ..View::default() };
        Ok(Self {
            view,
            keymap: Keymap::new(keys)?,
            pending: Vec::new(),
            last_event: None,
            calm: false,
            asked_at: None,
        })
    }

    /// What the footer and the help say.
    pub(crate) fn hints(&self) -> Vec<KeyHint> {
        self.keymap.hints()
    }

    /// Takes one event from the terminal, which came at `now`. `shown` is the last drawing. `None` when nothing changed.
    pub(crate) fn update(&mut self, event: &Event, shown: &Shown, now: Instant) -> Option<Command> {
        let calm = |since: Option<Instant>| since.is_some_and(|since| now.saturating_duration_since(since) >= CALM);
        self.calm = calm(self.last_event) && calm(self.asked_at);
        self.last_event = Some(now);
        let command = self.take(event, shown);
        if command.is_some() {
            // The window is another now, or asks something else.
            self.asked_at = None;
        }
        command
    }

    /// Takes the moment when the terminal had all of a drawing.
    pub fn drawn(&mut self, now: Instant) {
        if matches!(self.view.overlay, Some(Overlay::Signal(_))) {
            self.asked_at.get_or_insert(now);
        }
    }

    fn take(&mut self, event: &Event, shown: &Shown) -> Option<Command> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key, shown),
            Event::Mouse(mouse) => self.mouse(mouse, shown),
            Event::Resize(..) => Some(Command::Draw),
            Event::Paste(text) => {
                let typed = text.chars().filter(|c| !c.is_control()).fold(false, |_, c| self.type_character(c));
                typed.then_some(Command::Draw)
            }
            _ => None,
        }
    }

    fn key(&mut self, event: &KeyEvent, shown: &Shown) -> Option<Command> {
        if event.code == KeyCode::Enter && matches!(self.view.overlay, Some(Overlay::Jump { .. })) {
            return Some(self.jump_to_typed());
        }
        if self.takes_text() && self.text_key(event) {
            return Some(Command::Draw);
        }
        if self.signal_key(event) {
            self.pending.clear();
            return Some(Command::Draw);
        }
        let key = Key::of(event);
        self.pending.push(key);
        let mut meaning = self.keymap.meaning(&self.pending);
        if meaning == Meaning::None && self.pending.len() > 1 {
            // The start of another sequence was given up; this key counts by itself.
            self.pending = vec![key];
            meaning = self.keymap.meaning(&self.pending);
        }
        match meaning {
            Meaning::Unfinished => None,
            Meaning::None => {
                self.pending.clear();
                None
            }
            Meaning::Action(action) => {
                self.pending.clear();
                self.act(action, shown)
            }
        }
    }

    fn takes_text(&self) -> bool {
        self.view.typing || matches!(self.view.overlay, Some(Overlay::Help { .. } | Overlay::Jump { .. }))
    }

    /// A key while text is typed. False when the key means an action after all.
    fn text_key(&mut self, event: &KeyEvent) -> bool {
        let help = matches!(self.view.overlay, Some(Overlay::Help { .. }));
        // These windows close when there is no text left to delete.
        let window = help || matches!(self.view.overlay, Some(Overlay::Jump { .. }));
        match event.code {
            KeyCode::Char(c) if (event.modifiers - KeyModifiers::SHIFT).is_empty() => {
                // In the help, which closes by the keys that opened it, those keys are no text until something was typed.
                let search = self.text().is_some_and(|text| !text.is_empty());
                if help && !search && matches!(c, '?' | 'q' | 'j' | 'k' | '<' | '>' | 'G' | ' ') {
                    return false;
                }
                self.type_character(c)
            }
            KeyCode::Backspace => {
                let Some(text) = self.text() else { return false };
                let was_empty = text.pop().is_none();
                if was_empty {
                    self.view.typing = false;
                    return !window;
                }
                true
            }
            KeyCode::Enter => {
                self.view.typing = false;
                true
            }
            KeyCode::Esc => {
                let Some(text) = self.text() else { return false };
                let had_text = !text.is_empty();
                text.clear();
                self.view.typing = false;
                had_text || !window
            }
            _ => false,
        }
    }

    fn type_character(&mut self, c: char) -> bool {
        let Some(text) = self.text() else { return false };
        if text.len() + c.len_utf8() > MAX_FILTER {
            return false;
        }
        text.push(c);
        if let Some(Overlay::Help { scroll, .. }) = &mut self.view.overlay {
            *scroll = 0;
        }
        true
    }

    /// The text that keys go to.
    fn text(&mut self) -> Option<&mut String> {
        let focus = self.view.focus.0;
        let typing = self.view.typing;
        match &mut self.view.overlay {
            Some(Overlay::Help { search, .. }) => Some(search),
            Some(Overlay::Jump { text, .. }) => Some(text),
            _ if !typing => None,
            _ => Some(match &mut self.view.flame {
                Some(flame) => &mut flame.search,
                None => &mut self.view.panes[focus as usize].filter,
            }),
        }
    }

    pub(crate) fn act(&mut self, action: Action, shown: &Shown) -> Option<Command> {
        if matches!(self.view.overlay, Some(Overlay::Signal(_))) {
            return self.signal_action(action, self.calm);
        }
        if self.view.overlay == Some(Overlay::Sort) && self.chosen_sort(action) {
            return Some(Command::Draw);
        }
        if let Some(Overlay::Trace { kind }) = self.view.overlay {
            match self.trace(action, kind, shown) {
                Some(command) => return Some(command),
                None => self.view.overlay = None,
            }
            if matches!(action, Action::Trace | Action::Back | Action::Quit) {
                return Some(Command::Draw);
            }
        }
        if self.view.flame.is_some()
            && self.view.overlay.is_none()
            && let Some(command) = self.flame_action(action, shown)
        {
            return Some(command);
        }
        let before = self.view.clone();
        let view = &mut self.view;
        match action {
            Action::Flame => self.open_flame(&shown.facts),
            Action::Callers => self.open_callers(),
            Action::Fold => view.folded = !view.folded,
            Action::Trace if view.recorded => toggle(view, Overlay::Trace { kind: ExactKind::Functions }),
            Action::Trace => {
                let kind = ExactKind::Functions;
                view.overlay = Some(Overlay::Trace { kind });
                if !shown.facts.tracing {
                    return Some(Command::Trace(TraceOrder::Price(request(kind, shown))));
                }
            }
            Action::HotTime => {
                view.hot_time = match view.hot_time {
                    HotTime::Both => HotTime::Cpu,
                    HotTime::Cpu => HotTime::Wait,
                    HotTime::Wait => HotTime::Memory,
                    HotTime::Memory => HotTime::Both,
                };
            }
            Action::Quit if view.overlay.is_some() => view.overlay = None,
            Action::Quit => return Some(Command::Leave(exit::FINE)),
            Action::Interrupt => return Some(Command::Leave(exit::INTERRUPTED)),
            Action::Suspend => return Some(Command::Suspend),
            Action::Redraw => return Some(Command::Redraw),
            Action::Record if view.recorded => {}
            Action::Record => return Some(Command::Record),
            Action::Mouse => {
                view.mouse = !view.mouse;
                return Some(Command::CaptureMouse(view.mouse));
            }
            Action::Help => toggle(view, Overlay::Help { search: String::new(), scroll: 0 }),
            Action::Notices => toggle(view, Overlay::Notices { scroll: 0 }),
            Action::Signal => self.open_signal(shown),
            Action::Sort => toggle(view, Overlay::Sort),
            Action::Left | Action::Down | Action::Up | Action::Right => self.step(action, &shown.scene),
            Action::First
            | Action::Last
            | Action::PageUp
            | Action::PageDown
            | Action::HalfPageUp
            | Action::HalfPageDown
            | Action::NextMatch
            | Action::PreviousMatch => self.jump(action, &shown.scene),
            Action::Enter => self.enter(shown),
            Action::Back => self.back(),
            Action::Top => self.top(),
            Action::NextPane => self.focus_next(1),
            Action::PreviousPane => self.focus_next(Pane::ALL.len() - 1),
            Action::MapPane => view.focus.0 = Pane::Map,
            Action::HotPane => view.focus.0 = Pane::Hot,
            Action::RoutesPane => view.focus.0 = Pane::Routes,
            Action::RequestsPane => view.focus.0 = Pane::Requests,
            Action::WorkersPane => view.focus.0 = Pane::Workers,
            Action::ProblemsPane => view.focus.0 = Pane::Problems,
            Action::Filter => view.typing = view.overlay.is_none(),
            Action::SortMemory => self.sort(Sort::Memory),
            Action::SortCpu => self.sort(Sort::Cpu),
            Action::SortTime => self.sort(Sort::Time),
            Action::SortRate => self.sort(Sort::Rate),
            Action::SortErrors => self.sort(Sort::Errors),
            Action::SortName => self.sort(Sort::Name),
            Action::SortUser => self.sort(Sort::User),
            Action::SortDisk => self.sort(Sort::Disk),
            Action::Invert => {
                let pane = view.pane_mut(view.focus.0);
                pane.inverted = !pane.inverted;
            }
            Action::Files => {
                view.hot = match view.hot {
                    HotMode::Functions => HotMode::Files,
                    HotMode::Files => HotMode::Calls,
                    HotMode::Calls => HotMode::Functions,
                };
                view.pane_mut(Pane::Hot).selected = None;
            }
            Action::Window => {
                view.window = match view.window {
                    Window::Last => Window::TenSeconds,
                    Window::TenSeconds => Window::Minute,
                    Window::Minute => Window::All,
                    Window::All => Window::Last,
                };
            }
            Action::Cache => view.cache = !view.cache,
            Action::Table => view.table = !view.table,
            Action::Group => self.regroup(),
            Action::Colour => {
                view.tile_colour = match view.tile_colour {
                    TileColour::Group => TileColour::Growth,
                    TileColour::Growth => TileColour::Cpu,
                    TileColour::Cpu => TileColour::Group,
                };
            }
            Action::Pause => view.paused = !view.paused,
            Action::StepBack => return self.go(Go::Step { forward: false }),
            Action::StepForward => return self.go(Go::Step { forward: true }),
            Action::MinuteBack => return self.go(Go::Seconds(-60)),
            Action::MinuteForward => return self.go(Go::Seconds(60)),
            Action::TenMinutesBack => return self.go(Go::Seconds(-600)),
            Action::TenMinutesForward => return self.go(Go::Seconds(600)),
            Action::PreviousEvent => return self.go(Go::Event { forward: false }),
            Action::NextEvent => return self.go(Go::Event { forward: true }),
            Action::Now => return self.go(Go::Now),
            Action::MarkStart => return self.go(Go::Mark { end: false }),
            Action::MarkEnd => return self.go(Go::Mark { end: true }),
            Action::ClearMarks => return self.go(Go::ClearMarks),
            Action::Compare => return self.go(Go::Compare),
            Action::Faster => return self.go(Go::Speed { faster: true }),
            Action::Slower => return self.go(Go::Speed { faster: false }),
            Action::Jump if view.moves => toggle(view, Overlay::Jump { text: String::new(), wrong: None }),
            Action::Jump => {}
        }
        (self.view != before).then_some(Command::Draw)
    }

    /// Another moment, where there are others.
    pub(super) fn go(&self, go: Go) -> Option<Command> {
        self.view.moves.then_some(Command::Go(go))
    }

    /// Goes to the moment that was typed, or says what is wrong with it.
    fn jump_to_typed(&mut self) -> Command {
        let Some(Overlay::Jump { text, wrong }) = &mut self.view.overlay else { return Command::Draw };
        match When::parse(text) {
            Ok(when) => {
                self.view.overlay = None;
                Command::Go(Go::To(when))
            }
            Err(error) => {
                *wrong = Some(error);
                Command::Draw
            }
        }
    }

    /// What a key does in the window about tracing; `None` when it closes the window.
    fn trace(&mut self, action: Action, kind: ExactKind, shown: &Shown) -> Option<Command> {
        if self.view.recorded {
            return None;
        }
        match action {
            Action::Enter if shown.facts.tracing => Some(Command::Trace(TraceOrder::Stop)),
            Action::Enter => {
                self.view.overlay = None;
                self.view.hot = HotMode::Calls;
                self.view.focus.0 = Pane::Hot;
                self.view.pane_mut(Pane::Hot).detail = None;
                Some(Command::Trace(TraceOrder::Start(request(kind, shown))))
            }
            Action::NextPane | Action::PreviousPane | Action::Left | Action::Right if !shown.facts.tracing => {
                let kind = match kind {
                    ExactKind::Functions => ExactKind::Lines,
                    ExactKind::Lines | ExactKind::Other => ExactKind::Functions,
                };
                self.view.overlay = Some(Overlay::Trace { kind });
                Some(Command::Trace(TraceOrder::Price(request(kind, shown))))
            }
            Action::NextPane | Action::PreviousPane | Action::Left | Action::Right => Some(Command::Draw),
            _ => None,
        }
    }

    /// In the choice of an order, the keys of the orders choose and any other key closes it and counts as usual.
    fn chosen_sort(&mut self, action: Action) -> bool {
        self.view.overlay = None;
        matches!(action, Action::Sort | Action::Back | Action::Enter | Action::Quit)
    }

    /// The next grouping. What was selected or entered is a group of the old one.
    fn regroup(&mut self) {
        let view = &mut self.view;
        view.grouping = view.grouping.next();
        view.zoom.clear();
        view.pane_mut(Pane::Map).selected = None;
    }

    /// Takes an order, if the pane has it.
    fn sort(&mut self, sort: Sort) {
        if !orders(&self.view, self.view.focus.0).iter().any(|(has, _)| *has == sort) {
            return;
        }
        // Tiles are by memory, always.
        self.view.table |= self.view.focus.0 == Pane::Map && sort != Sort::Memory;
        let pane = self.view.pane_mut(self.view.focus.0);
        pane.sort = Some(sort);
        pane.inverted = false;
    }
}

/// What would be traced of what is shown.
fn request(kind: ExactKind, shown: &Shown) -> TraceRequest {
    TraceRequest { kind, pool: shown.facts.pool.clone(), pid: None }
}

fn toggle(view: &mut View, overlay: Overlay) {
    let open = view.overlay.as_ref().is_some_and(|o| std::mem::discriminant(o) == std::mem::discriminant(&overlay));
    view.overlay = (!open).then_some(overlay);
}

#[cfg(test)]
mod tests;
