//! The screen without a terminal: snapshots and events go in, cells and commands come out. It joins the state (`app`), the
//! snapshots in time (`analysis`) and the drawing (`ui`). A terminal feeds it, and anything else with events and snapshots can.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crossterm::event::Event;
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;

use crate::{
    analysis::timeline::{Moment, Timeline},
    app::{App, Command, KeymapError},
    model::{Inspection, InspectionOrder, Snapshot},
    ui::{
        self,
        theme::{ColorDepth, Palette, Theme},
    },
    view::{KeyHint, Overlay, Shown},
};

/// What the screen should look like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Theme, see [`crate::ui::theme::load`].
    pub theme: Theme,
    /// How many colours the terminal has.
    pub depth: ColorDepth,
    /// Only ASCII can be shown, see `terminal::ascii_locale`.
    pub ascii: bool,
    /// Capture the mouse from the start.
    pub mouse: bool,
    /// Changes to the key map: key to action.
    pub keys: BTreeMap<String, String>,
    /// For the clock.
    pub time_zone: TimeZone,
    /// What turned signals off; `None` where they can be sent.
    pub read_only: Option<Arc<str>>,
}

/// All that events and snapshots change.
#[derive(Debug)]
pub struct Stage {
    /// What is shown and how.
    pub app: App,
    /// The snapshots in time.
    pub timeline: Timeline,
    /// The last close look at the process whose page is open.
    pub inspection: Option<Arc<Inspection>>,
    /// The last drawing.
    pub shown: Shown,
    /// Styles.
    pub palette: Palette,
    /// Only ASCII can be shown.
    pub ascii: bool,
    hints: Vec<KeyHint>,
    time_zone: TimeZone,
    /// Snapshots that this listener missed since the last that it took, and before it.
    missed: u64,
    lagged: u64,
}

impl Stage {
    /// A stage that has drawn nothing.
    ///
    /// # Errors
    /// The key map is wrong.
    pub fn new(options: &Options) -> Result<Self, KeymapError> {
        let mut app = App::new(&options.keys, options.mouse)?;
        app.view.read_only.clone_from(&options.read_only);
        app.view.own_pid = std::process::id();
        Ok(Self {
            hints: app.hints(),
            app,
            timeline: Timeline::live(),
            palette: options.theme.palette(options.depth),
            time_zone: options.time_zone.clone(),
            ascii: options.ascii,
            missed: 0,
            lagged: 0,
            inspection: None,
            shown: Shown::default(),
        })
    }

    /// The process whose page is open, which is to be looked at closely.
    pub(crate) fn inspected(&self) -> Option<InspectionOrder> {
        self.app.view.inspected()
    }

    /// Takes an event from the terminal, which came at `now`, and says what the terminal has to do.
    pub fn event(&mut self, event: &Event, now: Instant) -> Option<Command> {
        let command = self.app.update(event, &self.shown, now);
        let frozen = self.timeline.moment() != Moment::Now;
        match self.app.view.paused {
            true if !frozen => self.timeline.freeze(),
            false if frozen => self.timeline.go_to(Moment::Now),
            _ => None,
        };
        command
    }

    /// Takes the next snapshot. True when there is something new to draw: a paused screen stays as it is and loses nothing.
    pub fn take(&mut self, snapshot: Arc<Snapshot>) -> bool {
        self.lagged = std::mem::take(&mut self.missed);
        // A key that comes before the next drawing acts on what is, also on a paused screen.
        self.shown.facts.tracing = ui::is_tracing(snapshot.php.exact.as_ref());
        self.timeline.push(snapshot);
        let shows_now = matches!(self.app.view.overlay, Some(Overlay::Trace { .. }));
        !self.app.view.paused || shows_now
    }

    /// Counts snapshots that came too fast to be taken.
    pub(crate) fn miss(&mut self, snapshots: u64) {
        self.missed += snapshots;
    }

    /// Draws into all of `buffer`.
    pub fn draw(&mut self, buffer: &mut Buffer) {
        let view = &self.app.view;
        let php = self.timeline.window(view.window);
        let snapshot = self.timeline.grouped(view.grouping);
        let input = ui::Input {
            view,
            snapshot: snapshot.as_deref(),
            php: &php,
            covered: self.timeline.covered(view.window),
            histories: self.timeline.histories(view.grouping),
            exact: self.timeline.latest().and_then(|snapshot| snapshot.php.exact.as_ref()),
            inspection: self.inspection.as_deref(),
            palette: &self.palette,
            hints: &self.hints,
            time_zone: &self.time_zone,
            ascii: self.ascii,
            lagged: self.lagged,
            previous: Some(&self.shown.scene),
        };
        self.shown = ui::draw(buffer, &input);
    }
}
