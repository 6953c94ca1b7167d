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
        flame::Fold,
        profile::Scope,
        recorded::Recorded,
        timeline::{Moment, Timeline, Worked},
    },
    app::{App, Command, KeymapError},
    model::{Contents, ContentsOrder, Grouping, Inspection, InspectionOrder, Snapshot, Window},
    recording::{Recording, Ring, RingLimits},
    ui::{
        self,
        theme::{ColorDepth, Palette, Theme},
    },
    view::{Go, GroupMemory, KeyHint, Overlay, Pane, RecordingInProgress, Scrub, Shown, TIME, TileColour},
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
    /// How much of the session can be gone back to.
    pub past: RingLimits,
    /// What becomes one frame of the flame, and whether it does from the start.
    pub fold: Fold,
    /// See `fold`.
    pub folded: bool,
}

/// Fastest speed that the past plays at: an hour in a minute. A tenth of a second of it is read in less than keys may wait.
const MAX_SPEED: u32 = 64;

/// All that events and snapshots change.
#[derive(Debug)]
pub struct Stage {
    /// What is shown and how.
    pub app: App,
    /// The snapshots in time.
    pub timeline: Timeline,
    /// The last close look at the process whose page is open.
    pub inspection: Option<Arc<Inspection>>,
    /// What is in the part of the machine's memory whose page is open.
    pub contents: Option<Arc<Contents>>,
    /// The recording that is made beside the screen.
    pub recording: Option<RecordingInProgress>,
    /// The last drawing.
    pub shown: Shown,
    /// Styles.
    pub palette: Palette,
    /// Only ASCII can be shown.
    pub ascii: bool,
    hints: Vec<KeyHint>,
    fold: Fold,
    time_zone: TimeZone,
    /// How a recording or the past is moved through; `None` where the screen shows what is now, or stopped.
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
        app.view.folded = options.folded;
        app.view.own_pid = std::process::id();
        let ring = Ring::new(options.past);
        let moves = ring.is_on();
        app.view.moves = moves;
        Ok(Self {
            hints: app.hints().into_iter().filter(|hint| moves || hint.section != TIME).collect(),
            app,
            fold: options.fold.clone(),
            timeline: Timeline::live(ring),
            palette: options.theme.palette(options.depth),
            time_zone: options.time_zone.clone(),
            ascii: options.ascii,
            scrub: None,
            missed: 0,
            lagged: 0,
            inspection: None,
            contents: None,
            recording: None,
            shown: Shown::default(),
        })
    }

    /// Shows a recording in place of what comes; it stands at its start.
    pub fn replay(&mut self, recording: Recording) {
        self.timeline = Timeline::recorded(Recorded::new(recording));
        (self.app.view.recorded, self.app.view.moves, self.app.view.paused) = (true, true, true);
        self.hints = self.app.hints();
        self.scrub = self.scrub_of();
    }

    /// Compares all that is shown with another recording.
    pub fn compare_with(&mut self, recording: Recording) {
        let name = recording.path().file_name().unwrap_or(recording.path().as_os_str());
        self.timeline.compare_with(name.to_string_lossy().into(), Recorded::new(recording));
        self.app.view.tile_colour = TileColour::Growth;
    }

    /// The line for what can be moved through, at the moment that is shown; `None` while there is nothing.
    fn scrub_of(&self) -> Option<Scrub> {
        let span = self.timeline.span()?;
        let at = self.timeline.current()?.at;
        Some(Scrub { span, at, speed: 1, ..Scrub::default() })
    }

    /// Whether the past plays.
    pub fn is_playing(&self) -> bool {
        self.scrub.is_some() && !self.app.view.paused
    }

    /// Lets the past play on by some time. True when there is something new to draw.
    pub fn play(&mut self, elapsed: Duration) -> bool {
        let Some((scrub, stored)) = self.scrub.as_mut().zip(self.timeline.stored.as_ref()) else { return false };
        let by = SignedDuration::try_from(elapsed * scrub.speed).unwrap_or(SignedDuration::ZERO);
        let at = scrub.at.saturating_add(by).unwrap_or(scrub.span.1);
        scrub.at = stored.after_gap(at).unwrap_or(at).min(scrub.span.1);
        if scrub.at == scrub.span.1 {
            if self.timeline.latest().is_some() {
                self.go_to_now();
                return true;
            }
            self.app.view.paused = true;
        }
        let before = self.timeline.current().map(|snapshot| snapshot.at);
        let at = scrub.at;
        self.timeline.go_to(Moment::At(at)) != before || self.app.view.paused
    }

    /// Reads a part of what the moment that is shown still lacks, see [`Timeline::work`].
    pub fn work(&mut self) -> Worked {
        let view = &self.app.view;
        let window = match view.window {
            // The strips of workers are about a minute.
            Window::Last | Window::TenSeconds if view.focus.0 == Pane::Workers => Window::Minute,
            window => window,
        };
        self.timeline.work(window, view.grouping)
    }

    fn go_to_now(&mut self) {
        self.timeline.go_to(Moment::Now);
        self.timeline.look_between(None);
        self.timeline.end_comparison();
        (self.scrub, self.app.view.paused) = (None, false);
    }

    /// Goes to another moment.
    fn go(&mut self, go: Go) {
        if self.scrub.is_none() {
            match go {
                Go::Compare if self.timeline.shows_reference() == Some(false) => {
                    self.timeline.show_reference(true);
                    return;
                }
                Go::Compare | Go::ClearMarks if self.timeline.show_reference(false) => return,
                Go::Now => return self.go_to_now(),
                Go::Speed { .. } | Go::ClearMarks => return,
                _ => {}
            }
            // From now, or from where it was paused, into the past, which stands still until it is told to play.
            if self.timeline.moment() == Moment::Now {
                self.timeline.freeze();
            }
            self.scrub = self.scrub_of();
            self.app.view.paused = true;
        }
        let is_live = self.timeline.latest().is_some();
        let shown = self.timeline.current().map(|snapshot| snapshot.at);
        if let Go::Mark { .. } | Go::ClearMarks | Go::Compare = go {
            return self.mark(go);
        }
        let Some((scrub, stored)) = self.scrub.as_mut().zip(self.timeline.stored.as_mut()) else { return };
        scrub.note = None;
        let (first, last) = scrub.span;
        let shown = shown.unwrap_or(first);
        let at_column = |column: u16, of: u16| {
            let share = f64::from(column) / f64::from(of.saturating_sub(1).max(1));
            first.saturating_add(last.duration_since(first).mul_f64(share.clamp(0.0, 1.0))).ok()
        };
        let mut drags = None;
        let to = match go {
            Go::Mark { .. } | Go::ClearMarks | Go::Compare => None,
            Go::Now if is_live => return self.go_to_now(),
            Go::Now => Some(last),
            Go::Speed { faster } => {
                scrub.speed = if faster { (scrub.speed * 2).min(MAX_SPEED) } else { (scrub.speed / 2).max(1) };
                return;
            }
            Go::Step { forward } => stored.next(shown, forward),
            Go::Event { forward } => stored.next_event(shown, forward),
            Go::Seconds(seconds) => scrub.at.saturating_add(SignedDuration::from_secs(seconds)).ok(),
            Go::To(when) => Some(when.within((first, last), &self.time_zone)),
            Go::Column { column, of } => {
                scrub.clicked = at_column(column, of);
                scrub.clicked
            }
            Go::Drag { column, of } => {
                let at = at_column(column, of);
                drags = scrub.clicked.zip(at);
                at
            }
        };
        if let Some((from, to)) = drags {
            scrub.marks = (Some(from.min(to)), Some(from.max(to)));
        }
        if let Some(at) = to {
            scrub.at = at.clamp(first, last);
            let at = scrub.at;
            self.timeline.go_to(Moment::At(at));
        }
        if drags.is_some() {
            self.look_between_marks();
        }
    }

    /// Marks the moment, or does something with what is marked.
    fn mark(&mut self, go: Go) {
        let Some((scrub, at)) = self.scrub.as_mut().zip(self.timeline.current().map(|snapshot| snapshot.at)) else {
            return;
        };
        scrub.note = None;
        let (from, to) = &mut scrub.marks;
        match go {
            Go::Mark { end: false } => (*from, *to) = (Some(at), to.filter(|&to| at <= to)),
            Go::Mark { end: true } => (*from, *to) = (from.filter(|&from| from <= at), Some(at)),
            Go::Compare if self.timeline.compare() => {
                scrub.baseline = from.zip(*to);
                scrub.marks = (None, None);
                self.app.view.tile_colour = TileColour::Growth;
            }
            Go::Compare if scrub.baseline.is_none() && self.timeline.shows_reference() == Some(false) => {
                self.timeline.show_reference(true);
            }
            Go::Compare if scrub.baseline.is_none() => {
                scrub.note = Some("mark a span first: [ where it begins, ] where it ends".into());
                return;
            }
            _ => {
                if (scrub.marks, scrub.baseline) == ((None, None), None) {
                    self.timeline.show_reference(false);
                }
                (scrub.marks, scrub.baseline) = ((None, None), None);
                self.timeline.end_comparison();
            }
        }
        self.look_between_marks();
    }

    fn look_between_marks(&mut self) {
        let marks = self.scrub.as_ref().and_then(|scrub| scrub.marks.0.zip(scrub.marks.1));
        if let (Some(scrub), Some((from, to))) = (&mut self.scrub, marks)
            && scrub.changes.iter().any(|&change| from < change && change <= to)
        {
            scrub.note = Some("there is more than one machine in this span".into());
        }
        self.timeline.look_between(marks);
    }

    /// The process whose page is open, which is to be looked at closely.
    pub(crate) fn inspected(&self) -> Option<InspectionOrder> {
        self.app.view.inspected().filter(|_| self.scrub.is_none() && !self.app.view.recorded)
    }

    /// The part of the machine's memory whose page is open, which is to be looked into.
    pub(crate) fn looked_into(&self) -> Option<ContentsOrder> {
        self.app.view.looked_into().filter(|_| self.scrub.is_none() && !self.app.view.recorded)
    }

    /// Takes an event from the terminal, which came at `now`, and says what the terminal has to do.
    pub fn event(&mut self, event: &Event, now: Instant) -> Option<Command> {
        let command = self.app.update(event, &self.shown, now);
        if let Some(Command::Go(go)) = command {
            self.go(go);
            return Some(Command::Draw);
        }
        if self.scrub.is_some() {
            // What is shown is a past moment already, whether it plays or not.
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
        // The line of the past says how long ago it was.
        let shows_now = self.scrub.is_some() || matches!(self.app.view.overlay, Some(Overlay::Trace { .. }));
        !self.app.view.paused || shows_now
    }

    /// Counts snapshots that came too fast to be taken.
    pub(crate) fn miss(&mut self, snapshots: u64) {
        self.missed += snapshots;
    }

    /// Draws into all of `buffer`.
    pub fn draw(&mut self, buffer: &mut Buffer) {
        self.update_scrub();
        let view = &self.app.view;
        self.timeline.look_at(view.flame.as_ref().and_then(|flame| flame.of.as_ref()).unwrap_or(&Scope::All));
        let php = self.timeline.window(view.window);
        let before = view.flame.as_ref().and_then(|_| self.timeline.before());
        let lanes = (view.focus.0 == Pane::Workers).then(|| self.timeline.lanes());
        let snapshot = self.timeline.grouped(view.grouping);
        let input = ui::Input {
            view,
            snapshot: snapshot.as_deref(),
            php: &php,
            covered: self.timeline.covered(view.window),
            histories: self.timeline.histories(view.grouping),
            exact: self.timeline.latest().and_then(|snapshot| snapshot.php.exact.as_ref()),
            inspection: self.inspection.as_deref().filter(|_| self.scrub.is_none()),
            contents: self.contents.as_deref().filter(|_| self.scrub.is_none()),
            palette: &self.palette,
            hints: &self.hints,
            time_zone: &self.time_zone,
            ascii: self.ascii,
            lagged: self.lagged,
            recording: self.recording.as_ref(),
            scrub: self.scrub.as_ref(),
            adding: self.timeline.progress(),
            between: self.timeline.between(),
            difference: self.timeline.difference(),
            reference: self.timeline.reference(),
            before: before.as_ref().map(|(php, covered)| (&**php, *covered)),
            lanes: lanes.as_ref(),
            fold: &self.fold,
            previous: Some(&self.shown.scene),
        };
        self.shown = ui::draw(buffer, &input);
    }

    /// What is drawn on the line.
    fn update_scrub(&mut self) {
        let by_rules = self.app.view.grouping == Grouping::Rules;
        let group = self.app.view.group().filter(|_| by_rules).cloned();
        let (Some(scrub), Some(stored)) = (&mut self.scrub, &self.timeline.stored) else { return };
        scrub.playing = !self.app.view.paused;
        scrub.trouble.clone_from(&stored.trouble);
        scrub.span = self.timeline.span().unwrap_or(scrub.span);
        scrub.latest = self.timeline.latest().map(|latest| latest.at);
        scrub.requests.clear();
        scrub.requests.extend(stored.requests().map(|part| (part.from, part.until, part.count)));
        scrub.changes.clear();
        scrub.changes.extend(stored.changes());
        scrub.memory = group.map(|group| {
            let points = self.timeline.memory(&group);
            GroupMemory { group, points }
        });
    }
}
