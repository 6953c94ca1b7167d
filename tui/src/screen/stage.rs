//! The screen without a terminal: snapshots and events go in, cells and commands come out. It joins the state (`app`), the
//! snapshots in time (`analysis`) and the drawing (`ui`). A terminal feeds it, and anything else with events and snapshots can.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crossterm::event::Event;
use jiff::{SignedDuration, tz::TimeZone};
use ratatui::buffer::Buffer;

use crate::{
    analysis::{
        recorded::Recorded,
        timeline::{Moment, Timeline},
    },
    app::{App, Command, KeymapError, REPLAY},
    model::{Inspection, InspectionOrder, Snapshot},
    recording::Recording,
    ui::{
        self,
        theme::{ColorDepth, Palette, Theme},
    },
    view::{Go, KeyHint, Overlay, RecordingInProgress, Scrub, Shown},
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

/// Fastest speed that a recording plays at: an hour in half a minute.
const MAX_SPEED: u32 = 128;

/// All that events and snapshots change.
#[derive(Debug)]
pub struct Stage {
    /// What is shown and how.
    pub app: App,
    /// The snapshots in time.
    pub timeline: Timeline,
    /// The last close look at the process whose page is open.
    pub inspection: Option<Arc<Inspection>>,
    /// The recording that is made beside the screen.
    pub recording: Option<RecordingInProgress>,
    /// The last drawing.
    pub shown: Shown,
    /// Styles.
    pub palette: Palette,
    /// Only ASCII can be shown.
    pub ascii: bool,
    hints: Vec<KeyHint>,
    time_zone: TimeZone,
    /// How a recording is moved through; `None` on the live screen.
    scrub: Option<Scrub>,
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
            hints: app.hints().into_iter().filter(|hint| hint.section != REPLAY).collect(),
            app,
            timeline: Timeline::live(),
            palette: options.theme.palette(options.depth),
            time_zone: options.time_zone.clone(),
            ascii: options.ascii,
            scrub: None,
            missed: 0,
            lagged: 0,
            inspection: None,
            recording: None,
            shown: Shown::default(),
        })
    }

    /// Shows a recording in place of what comes; it stands at its start.
    pub fn replay(&mut self, recording: Recording) {
        let recorded = Recorded::new(recording);
        let span = recorded.span();
        self.scrub =
            Some(Scrub { span, at: span.0, requests: recorded.requests().collect(), speed: 1, ..Scrub::default() });
        self.timeline = Timeline::recorded(recorded);
        (self.app.view.recorded, self.app.view.paused) = (true, true);
        self.hints = self.app.hints();
    }

    /// Whether a recording plays.
    pub fn is_playing(&self) -> bool {
        self.scrub.is_some() && !self.app.view.paused
    }

    /// Lets a recording play on by some time. True when there is something new to draw.
    pub fn play(&mut self, elapsed: Duration) -> bool {
        let Some((scrub, recorded)) = self.scrub.as_mut().zip(self.timeline.recorded.as_ref()) else { return false };
        let by = SignedDuration::try_from(elapsed * scrub.speed).unwrap_or(SignedDuration::ZERO);
        let at = scrub.at.saturating_add(by).unwrap_or(scrub.span.1);
        scrub.at = recorded.after_gap(at).unwrap_or(at).min(scrub.span.1);
        self.app.view.paused |= scrub.at == scrub.span.1;
        let before = self.timeline.current().map(|snapshot| snapshot.at);
        let at = scrub.at;
        self.timeline.go_to(Moment::At(at)) != before || self.app.view.paused
    }

    /// Goes to another moment of a recording.
    fn go(&mut self, go: Go) {
        let shown = self.timeline.current().map(|snapshot| snapshot.at);
        let Some((scrub, recorded)) = self.scrub.as_mut().zip(self.timeline.recorded.as_mut()) else { return };
        let (first, last) = scrub.span;
        let shown = shown.unwrap_or(first);
        let to = match go {
            Go::Speed { faster } => {
                scrub.speed = if faster { (scrub.speed * 2).min(MAX_SPEED) } else { (scrub.speed / 2).max(1) };
                return;
            }
            Go::Step { forward } => recorded.next(shown, forward),
            Go::Notice { forward } => recorded.next_notice(shown, forward),
            Go::Seconds(seconds) => scrub.at.saturating_add(SignedDuration::from_secs(seconds)).ok(),
            Go::To(when) => Some(when.within((first, last), &self.time_zone)),
            Go::Column { column, of } => {
                let share = f64::from(column) / f64::from(of.saturating_sub(1).max(1));
                first.saturating_add(last.duration_since(first).mul_f64(share.clamp(0.0, 1.0))).ok()
            }
        };
        if let Some(at) = to {
            scrub.at = at.clamp(first, last);
            let at = scrub.at;
            self.timeline.go_to(Moment::At(at));
        }
    }

    /// The process whose page is open, which is to be looked at closely.
    pub(crate) fn inspected(&self) -> Option<InspectionOrder> {
        self.app.view.inspected()
    }

    /// Takes an event from the terminal, which came at `now`, and says what the terminal has to do.
    pub fn event(&mut self, event: &Event, now: Instant) -> Option<Command> {
        let command = self.app.update(event, &self.shown, now);
        if let Some(Command::Go(go)) = command {
            self.go(go);
            return Some(Command::Draw);
        }
        if self.scrub.is_some() {
            // What is shown is a fixed moment already, whether it plays or not.
            return command;
        }
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
        if let (Some(scrub), Some(recorded)) = (&mut self.scrub, &self.timeline.recorded) {
            scrub.playing = !self.app.view.paused;
            scrub.trouble.clone_from(&recorded.trouble);
        }
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
            recording: self.recording.as_ref(),
            scrub: self.scrub.as_ref(),
            previous: Some(&self.shown.scene),
        };
        self.shown = ui::draw(buffer, &input);
    }
}
