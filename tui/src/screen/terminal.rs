//! The terminal: takes it over, joins `App` and `ui` in one loop over keys, snapshots and signals, and always gives it back.
//! It owns raw mode, the alternate screen and the frame's way out; what is drawn and what keys mean is theirs.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use jiff::tz::TimeZone;
use thiserror::Error;
use tokio::{
    signal::unix::{Signal, SignalKind, signal as listen},
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
        watch,
    },
};

use super::{
    send_signal,
    tty::{self, Tty},
};
use crate::{
    analysis::timeline::Timeline,
    app::{App, Command, KeymapError},
    exit,
    model::{Inspection, InspectionOrder, Snapshot},
    ui::{
        self,
        theme::{ColorDepth, Palette, Theme},
    },
    view::{KeyHint, Scene, SignalOrder, TraceOrder},
};

/// What the screen should look like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Theme, see [`crate::ui::theme::load`].
    pub theme: Theme,
    /// Colours, see [`super::depth`].
    pub depth: ColorDepth,
    /// Only ASCII can be shown, see [`ascii_locale`].
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

/// Where a close look at a process is ordered, and where it comes from.
#[derive(Debug)]
pub struct Inspections {
    /// Orders; `None` while there is none.
    pub orders: watch::Sender<Option<InspectionOrder>>,
    /// The last reading of what was ordered.
    pub readings: watch::Receiver<Option<Arc<Inspection>>>,
}

/// Why the screen ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, of [`exit`]: fine, or that of the signal.
    pub code: u8,
}

/// What stops the screen from working.
#[derive(Debug, Error)]
pub enum TerminalError {
    /// The terminal cannot be set up.
    #[error("cannot set up the terminal; is this a terminal? `tusktop snap` works without one")]
    Setup(#[source] io::Error),
    /// A signal handler cannot be set up.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The key map is wrong.
    #[error(transparent)]
    Keys(#[from] KeymapError),
    /// A part of the program failed; its message is on the screen that was there before.
    #[error("an internal error ended the screen")]
    Panicked,
}

/// Whether the locale says that the terminal cannot show UTF-8. `lookup` reads an environment variable.
/// The first of LC_ALL, LC_CTYPE and LANG that is set and not empty decides; with none of them it is the C locale.
pub fn ascii_locale(lookup: impl Fn(&str) -> Option<String>) -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| lookup(name).filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    !(locale.contains("utf-8") || locale.contains("utf8"))
}

/// Shows snapshots until the user leaves, a signal comes, the terminal goes away or the sender ends.
/// `order` is asked for exact tracing, `inspections` for the process whose detail is open.
pub async fn run(
    options: Options,
    mut snapshots: broadcast::Receiver<Arc<Snapshot>>,
    order: impl Fn(TraceOrder),
    mut inspections: Inspections,
) -> Result<Exit, TerminalError> {
    let mut session = Session::new(&options)?;
    let mut signals = Signals::new().map_err(TerminalError::Signals)?;
    let (panicked, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    session.tty = Some(Tty::take(options.mouse, panicked.clone()).map_err(TerminalError::Setup)?);
    tty::watch_for_hangup(gone.clone()).map_err(TerminalError::Setup)?;
    let mut events = EventStream::new();
    let mut live = true;
    if session.draw(false).is_err() {
        return Ok(HUNG_UP);
    }
    loop {
        let command = tokio::select! {
            biased;
            () = panicked.notified() => return Err(TerminalError::Panicked),
            () = gone.notified() => return Ok(HUNG_UP),
            Some(command) = signals.next() => Some(command),
            event = events.next() => match event {
                Some(Ok(event)) => session.event(&event),
                // The terminal is gone.
                Some(Err(_)) | None => return Ok(HUNG_UP),
            },
            Ok(()) = inspections.readings.changed() => {
                session.inspection.clone_from(&inspections.readings.borrow_and_update());
                Some(Command::Draw)
            }
            snapshot = snapshots.recv(), if live => match snapshot {
                Ok(snapshot) => session.take(snapshot),
                Err(RecvError::Lagged(count)) => {
                    session.missed += count;
                    None
                }
                Err(RecvError::Closed) => {
                    live = false;
                    None
                }
            },
        };
        let drawn = match command {
            None => Ok(()),
            Some(Command::Leave(code)) => return Ok(Exit { code }),
            Some(Command::Draw) => session.draw(false),
            Some(Command::Redraw) => session.draw(true),
            Some(Command::CaptureMouse(on)) => session.capture_mouse(on).and_then(|()| session.draw(false)),
            Some(Command::Trace(what)) => {
                order(what);
                session.draw(false)
            }
            Some(Command::Suspend) => session.suspend(),
            Some(Command::Signal(order)) => {
                session.send(&order);
                session.draw(false)
            }
        };
        let wanted = session.app.view.inspected();
        inspections.orders.send_if_modified(|order| std::mem::replace(order, wanted) != wanted);
        if drawn.is_err() {
            return Ok(HUNG_UP);
        }
    }
}

/// All that the loop changes.
struct Session {
    app: App,
    timeline: Timeline,
    hints: Vec<KeyHint>,
    palette: Palette,
    time_zone: TimeZone,
    ascii: bool,
    /// Snapshots missed since the last that was taken, and before it.
    missed: u64,
    lagged: u64,
    scene: Scene,
    inspection: Option<Arc<Inspection>>,
    tty: Option<Tty>,
}

impl Session {
    fn new(options: &Options) -> Result<Self, KeymapError> {
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
            scene: Scene::default(),
            inspection: None,
            tty: None,
        })
    }

    fn event(&mut self, event: &Event) -> Option<Command> {
        self.app.update(event, &self.scene)
    }

    /// Takes a snapshot, unless the screen is paused.
    fn take(&mut self, snapshot: Arc<Snapshot>) -> Option<Command> {
        if self.app.view.paused {
            self.missed = 0;
            return None;
        }
        self.lagged = std::mem::take(&mut self.missed);
        self.timeline.push(snapshot);
        Some(Command::Draw)
    }

    fn draw(&mut self, everything: bool) -> io::Result<()> {
        let php = self.timeline.window(self.app.view.window);
        let grouping = self.app.view.grouping;
        let snapshot = self.timeline.grouped(grouping);
        let screen = ui::Screen {
            view: &self.app.view,
            snapshot: snapshot.as_deref(),
            php: &php,
            covered: self.timeline.covered(self.app.view.window),
            histories: self.timeline.histories(grouping),
            inspection: self.inspection.as_deref(),
            palette: &self.palette,
            hints: &self.hints,
            time_zone: &self.time_zone,
            ascii: self.ascii,
            lagged: self.lagged,
            previous: Some(&self.scene),
        };
        let Some(tty) = &mut self.tty else { return Ok(()) };
        self.scene = tty.draw(everything, |buffer| ui::draw(buffer, &screen))?;
        Ok(())
    }

    /// Sends a signal. It takes some microseconds for each process.
    fn send(&mut self, order: &SignalOrder) {
        if self.app.view.read_only.is_none() {
            let report = send_signal::send(Path::new("/proc"), order);
            self.app.signalled(order, report);
        }
    }

    fn capture_mouse(&mut self, on: bool) -> io::Result<()> {
        self.tty.as_mut().map_or(Ok(()), |tty| tty.capture_mouse(on))
    }

    /// Gives the terminal back, stops, and takes it again when continued.
    fn suspend(&mut self) -> io::Result<()> {
        if let Some(tty) = &mut self.tty {
            tty.suspend(self.app.view.mouse)?;
        }
        self.draw(true)
    }
}

/// The terminal is gone: nothing can be restored, and nobody reads a message.
const HUNG_UP: Exit = Exit { code: exit::HUNG_UP };

/// The signals that end or stop us.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    stop: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            stop: listen(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?,
        })
    }
}

impl Signals {
    /// Waits for a signal and says what it asks for.
    async fn next(&mut self) -> Option<Command> {
        tokio::select! {
            _ = self.hangup.recv() => Some(Command::Leave(exit::HUNG_UP)),
            _ = self.interrupt.recv() => Some(Command::Leave(exit::INTERRUPTED)),
            _ = self.terminate.recv() => Some(Command::Leave(exit::TERMINATED)),
            _ = self.stop.recv() => Some(Command::Suspend),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_about_utf8() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert!(!ascii_locale(env(&[("LANG", "de_DE.UTF-8")])));
        assert!(!ascii_locale(env(&[("LANG", "C"), ("LC_ALL", "C.utf8")])));
        assert!(ascii_locale(env(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")])));
        assert!(!ascii_locale(env(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "")])));
        assert!(ascii_locale(env(&[])));
    }
}
